"""cpflow's side of the registry benchmark: prints seconds as JSON."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from registry_scene import QUERY, Scene, Shot, chains, scene_of_arguments, shots, slices, timed

from cpflow.exposure import Exposure, RawFile
from cpflow.io.instrument import load_instrument
from cpflow.registry import DataId, DatasetRef, DetectorRecord, Registry
from cpflow.repo import Repository
from cpflow.timespan import SECOND, Timespan, from_iso

CAM = "Cam"
LAYOUT = {"hdus": [[i, 2880 * i, 576, 2048] for i in range(16)]}


def tai(when: datetime) -> int:
    return from_iso(when.isoformat(), "tai")


def exposure(shot: Shot) -> Exposure:
    begin = tai(shot.begin)
    return Exposure(
        instrument=CAM,
        exposure=shot.id,
        obs_id=f"C_{shot.id}",
        day_obs=shot.day_obs,
        seq_num=shot.seq_num,
        timespan=Timespan(begin, begin + int(shot.seconds * SECOND)),
        observation_type=shot.kind,
        physical_filter="r_1",
        band="r",
        exposure_time=shot.seconds,
        dark_time=shot.seconds,
        target_name="x",
    )


def raw(of: Exposure, detector: int) -> RawFile:
    path = f"/data/{of.day_obs}/{of.exposure}_{detector}.fits"
    checksum = f"sha256:{of.exposure:056x}{detector:08x}"
    return RawFile(CAM, of.exposure, detector, path, 10_000_000, checksum, LAYOUT)


def bias(run: str, detector: int) -> DatasetRef:
    return DatasetRef(
        str(uuid.uuid4()), "bias", DataId(CAM, detector), run, f"{run}/{detector}", "sha256:0", 1
    )


def add(registry: Registry, pairs: Iterable[tuple[Exposure, list[RawFile]]]) -> None:
    failed = [r for r in registry.add_exposures(pairs, "Cam/raw/all") if r.error]
    assert not failed


def fill(registry: Registry, scene: Scene) -> dict[str, float]:
    registry.register_instrument(
        CAM,
        {"name": CAM},
        "",
        detectors=[DetectorRecord(i, f"D{i}") for i in range(scene.detectors)],
    )
    items = [exposure(shot) for shot in shots(scene)]
    numbers = range(scene.detectors)

    def ingest() -> None:
        pairs = ((one, [raw(one, d) for d in numbers]) for one in items[: scene.raw_exposures])
        add(registry, pairs)

    seconds = {"ingest": timed(ingest) / (scene.raw_exposures * scene.detectors)}
    add(registry, ((one, []) for one in items[scene.raw_exposures :]))
    for i, (begin, end) in enumerate(slices(scene)):
        refs = registry.publish(f"run/{i:02d}", [bias(f"run/{i:02d}", d) for d in numbers])
        span = Timespan(tai(begin), tai(end))
        registry.certify(f"calib/{i:02d}", refs, span, create=True)
    for name, children in chains(scene):
        registry.change_chain(name, children)
    return seconds


def measure(registry: Registry, scene: Scene) -> dict[str, float]:
    exposures = registry.exposures("instrument='Cam'")
    assert len(exposures) == scene.exposures
    top = chains(scene)[-1][0]
    found = registry.lookup_exposures("bias", exposures, 0, top).found
    assert len(found) == scene.exposures
    few = exposures[:: max(1, len(exposures) // scene.one_by_one)][: scene.one_by_one]

    def one_by_one() -> None:
        for one in few:
            assert registry.find("bias", (CAM, 0), top, one.timespan) is not None

    (ref,) = registry.publish("run/many", [bias("run/many", 0)])
    days = [Timespan(i * SECOND, (i + 1) * SECOND) for i in range(scene.certifications)]

    def certify() -> None:
        for day in days:
            registry.certify("calib/many", [ref], day, create=True)

    return {
        "query": timed(lambda: registry.exposures(QUERY), 5),
        "bulk": timed(lambda: registry.lookup_exposures("bias", exposures, 0, top), 5),
        "single": timed(one_by_one, 3) / len(few),
        "flatten": timed(lambda: registry.flatten([top]), 5),
        "certify": timed(certify) / scene.certifications,
    }


def main() -> None:
    scene = scene_of_arguments()
    with Repository.create(Path(scene.root), None) as repository:
        seconds = fill(repository.registry, scene)
        seconds |= measure(repository.registry, scene)
        # What `cpflow collections` is started on.
        repository.register_instrument(load_instrument("latiss"))
    size = (Path(scene.root) / "registry.sqlite").stat().st_size
    print(json.dumps({**seconds, "bytes": size}))


if __name__ == "__main__":
    main()
