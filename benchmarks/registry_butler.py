"""The reference's side of the registry benchmark (lsst-daf-butler): prints seconds as JSON."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from itertools import pairwise

from astropy.time import Time, TimeDelta
from lsst.daf.butler import (
    Butler,
    CollectionType,
    DataCoordinate,
    DatasetType,
    DimensionRecord,
    Timespan,
)
from registry_scene import QUERY, Scene, chains, scene_of_arguments, shots, slices, timed

CAM = "Cam"
BATCH = 500


def tai(when: datetime) -> Time:
    return Time(when, scale="tai")


def records(butler: Butler, scene: Scene) -> list[DimensionRecord]:
    """Insert instrument, detectors and exposures; return the exposure records."""
    registry, universe = butler.registry, butler.dimensions
    registry.insertDimensionData(
        "instrument",
        {"name": CAM, "detector_max": 1000, "exposure_max": 2**62, "visit_max": 2**62,
         "class_name": "x"},
    )  # fmt: skip
    registry.insertDimensionData("physical_filter", {"instrument": CAM, "name": "r_1", "band": "r"})
    registry.insertDimensionData(
        "detector",
        *[{"instrument": CAM, "id": i, "full_name": f"D{i}"} for i in range(scene.detectors)],
    )
    all_shots = list(shots(scene))
    days = sorted({shot.day_obs for shot in all_shots})
    registry.insertDimensionData("day_obs", *[{"instrument": CAM, "id": day} for day in days])
    registry.insertDimensionData(
        "group", *[{"instrument": CAM, "name": str(shot.id)} for shot in all_shots]
    )
    begins = Time([shot.begin for shot in all_shots], scale="tai")
    ends = Time([s.begin + timedelta(seconds=s.seconds) for s in all_shots], scale="tai")
    made = [
        universe["exposure"].RecordClass(
            instrument=CAM, id=shot.id, obs_id=f"C_{shot.id}", day_obs=shot.day_obs,
            seq_num=shot.seq_num, seq_start=shot.seq_num, seq_end=shot.seq_num,
            group=str(shot.id), physical_filter="r_1", observation_type=shot.kind,
            observation_reason=shot.kind, exposure_time=shot.seconds, dark_time=shot.seconds,
            target_name="x", science_program="x", has_simulated=False, can_see_sky=True,
            timespan=Timespan(begins[i], ends[i]),
        )
        for i, shot in enumerate(all_shots)
    ]  # fmt: skip
    registry.insertDimensionData("exposure", *made)
    return made


def fill(butler: Butler, scene: Scene) -> tuple[dict[str, float], list[DimensionRecord]]:
    registry, universe = butler.registry, butler.dimensions
    raw = DatasetType("raw", ("instrument", "exposure", "detector"), "StructuredDataDict",
                      universe=universe)  # fmt: skip
    bias = DatasetType("bias", ("instrument", "detector"), "StructuredDataDict",
                       universe=universe, isCalibration=True)  # fmt: skip
    registry.registerDatasetType(raw)
    registry.registerDatasetType(bias)
    registry.registerRun("Cam/raw/all")
    made: list[DimensionRecord] = []
    some = Scene(**{**vars(scene), "exposures": scene.raw_exposures})
    seconds = {"exposures": timed(lambda: made.extend(records(butler, scene)))}

    def ingest() -> None:
        # One call per exposure with all its detectors, as raw ingest does.
        for record in made[: some.exposures]:
            ids = [
                DataCoordinate.standardize(
                    instrument=CAM, exposure=record.id, detector=d, universe=universe
                )
                for d in range(scene.detectors)
            ]
            registry.insertDatasets(raw, ids, "Cam/raw/all", expand=False)

    per_exposure = seconds.pop("exposures") / scene.exposures
    seconds["ingest"] = timed(ingest) / (scene.raw_exposures * scene.detectors)
    seconds["ingest"] += per_exposure / scene.detectors
    numbers = range(scene.detectors)
    for i, (begin, end) in enumerate(slices(scene)):
        registry.registerRun(f"run/{i:02d}")
        ids = [
            DataCoordinate.standardize(instrument=CAM, detector=d, universe=universe)
            for d in numbers
        ]
        refs = registry.insertDatasets(bias, ids, f"run/{i:02d}", expand=False)
        registry.registerCollection(f"calib/{i:02d}", CollectionType.CALIBRATION)
        registry.certify(f"calib/{i:02d}", refs, Timespan(tai(begin), tai(end)))
    for name, children in chains(scene):
        registry.registerCollection(name, CollectionType.CHAINED)
        registry.setCollectionChain(name, children)
    return seconds, made


def measure(butler: Butler, scene: Scene, made: list[DimensionRecord]) -> dict[str, float]:
    registry, universe = butler.registry, butler.dimensions
    top = chains(scene)[-1][0]
    few = made[:: max(1, len(made) // scene.one_by_one)][: scene.one_by_one]
    bias = registry.getDatasetType("bias")

    def one_by_one() -> None:
        for record in few:
            found = butler.find_dataset(
                "bias", {"instrument": CAM, "detector": 0}, collections=top,
                timespan=record.timespan,
            )  # fmt: skip
            assert found is not None

    def bulk() -> None:
        # The range of every certification with every exposure that it overlaps, in one query: the
        # quickest way that the reference has, and it does not say which collection comes first.
        with butler.query() as query:
            query = query.where(instrument=CAM, detector=0).join_dataset_search("bias", [top])
            rows = query.join_dimensions(["exposure"]).general(
                ["exposure", "detector"],
                dataset_fields={"bias": {"dataset_id", "collection", "timespan"}},
                find_first=False,
            )
            count = sum(1 for _ in rows)
        assert count == len(made), count

    registry.registerRun("run/many")
    coordinate = DataCoordinate.standardize(instrument=CAM, detector=0, universe=universe)
    (ref,) = registry.insertDatasets(bias, [coordinate], "run/many", expand=False)
    registry.registerCollection("calib/many", CollectionType.CALIBRATION)
    base = tai(datetime(2001, 1, 1))
    edges = [base + TimeDelta(i, format="sec") for i in range(scene.certifications + 1)]

    def certify() -> None:
        for begin, end in pairwise(edges):
            registry.certify("calib/many", [ref], Timespan(begin, end))

    return {
        "query": timed(
            lambda: list(
                butler.query_dimension_records("exposure", where=QUERY, limit=None, explain=False)
            ),
            3,
        ),
        "bulk": timed(bulk, 3),
        "single": timed(one_by_one) / len(few),
        "flatten": timed(lambda: list(butler.collections.query([top], flatten_chains=True)), 3),
        "certify": timed(certify) / scene.certifications,
    }


def main() -> None:
    scene = scene_of_arguments()
    Butler.makeRepo(scene.root)
    butler = Butler.from_config(scene.root, writeable=True)
    seconds, made = fill(butler, scene)
    print(json.dumps({**seconds, **measure(butler, scene, made)}))


if __name__ == "__main__":
    main()
