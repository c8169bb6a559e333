"""A repository of the whole LSSTCam without a pixel: records of raw frames, and products of zeros.

Planning reads the registry and the headers of calibrations, nothing else; the files that are
recorded do not exist. Chunks of zarr that are not there are zeros, so that a bias of 16 million
pixels is a few kilobytes.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from cpflow.camera import Detector
from cpflow.exposure import Exposure, RawFile
from cpflow.io.instrument import load_instrument
from cpflow.registry import DataId, DatasetRef
from cpflow.session import Repo
from cpflow.timespan import SECOND, Timespan, from_iso

CAMERA = "LSSTCam"
TYPES = ("bias", "dark", "flat")
# Bytes of a raw frame of 16 amplifiers, 2048 x 576 at 4 bytes (uncompressed) and its headers.
_RAW_BYTES = 16 * (2048 * 576 * 4 + 5760) + 28800


def _exposure(kind: str, number: int) -> Exposure:
    begin = datetime(2025, 3, 1, 13) + timedelta(seconds=60 * (number + 200 * TYPES.index(kind)))
    start = from_iso(begin.isoformat(), "tai")
    seq_num = 1 + number + 1000 * TYPES.index(kind)
    seconds = {"bias": 0.0, "dark": 30.0, "flat": 10.0}[kind]
    return Exposure(
        instrument=CAMERA,
        exposure=20250301_00000 + seq_num,
        obs_id=f"MC_O_20250301_{seq_num:06d}",
        day_obs=20250301,
        seq_num=seq_num,
        timespan=Timespan(start, start + int((seconds + 1) * SECOND)),
        observation_type=kind,
        physical_filter="r_57" if kind == "flat" else "empty",
        band="r" if kind == "flat" else None,
        exposure_time=seconds,
        dark_time=seconds,
    )


def _raw(exposure: Exposure, detector: Detector) -> RawFile:
    # As ingest describes 16 plain image HDUs, each with the lengths of its rows.
    rows, columns = detector.raw_shape
    step = rows * columns * 4 + 5760
    layout = {
        "version": 1,
        "hdus": [
            {
                "hdu": 1 + i, "offset": 28800 + i * step, "shape": [rows, columns], "bitpix": 32,
                "bzero": 0, "bscale": 1,
            }
            for i in range(len(detector.amplifiers))
        ],
    }  # fmt: skip
    path = f"/data/{CAMERA}/{exposure.day_obs}/{exposure.obs_id}/{detector.name}.fits"
    checksum = f"sha256:{exposure.exposure:056x}{detector.id:08x}"
    return RawFile(CAMERA, exposure.exposure, detector.id, path, _RAW_BYTES, checksum, layout)


def make(root: Path, exposures: int, detectors: int = 189) -> Repo:
    """Make the repository: so many exposures of each type, biases and darks certified.

    Parameters
    ----------
    root : pathlib.Path
        Must not exist.
    exposures : int
        Of each of bias, dark and flat.
    detectors : int
        The first so many of the camera.
    """
    repo = Repo.create(root, CAMERA.lower())
    repo.close()
    repo = Repo(root)
    chosen = load_instrument(CAMERA.lower()).camera.detectors[:detectors]

    def raws() -> Iterator[tuple[Exposure, list[RawFile]]]:
        for kind in TYPES:
            for number in range(exposures):
                exposure = _exposure(kind, number)
                yield exposure, [_raw(exposure, detector) for detector in chosen]

    refused = [r for r in repo.registry.add_exposures(raws(), f"{CAMERA}/raw/all") if r.error]
    assert not refused, refused[0]
    for kind in ("bias", "dark"):
        _certify(repo, kind, chosen)
    return repo


def _certify(repo: Repo, kind: str, detectors: tuple[Detector, ...]) -> None:
    templates: dict[tuple[int, int], Path] = {}
    run = f"u/bench/{kind}"
    refs = []
    for detector in detectors:
        path = repo.store.relative(run, f"{kind}_{CAMERA}_{detector.id}.zarr")
        target = repo.store.absolute(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if detector.shape in templates:
            shutil.copytree(templates[detector.shape], target)
        else:
            _zeros(target, detector.shape)
            templates[detector.shape] = target
        checksum = f"sha256:{kind}{detector.id}"
        refs.append(
            DatasetRef(
                str(uuid.uuid4()), kind, DataId(CAMERA, detector.id), run, path, checksum, 10_000
            )
        )
    repo.registry.publish(run, refs)
    repo.certify(run, f"{CAMERA}/calib", kind, begin="2025-01-01")


def _zeros(target: Path, shape: tuple[int, int]) -> None:
    import xarray as xr
    import zarr

    from cpflow.products import mask_attributes

    units = "adu"
    xr.Dataset(attrs={"product": "bias"}).to_zarr(target, zarr_format=3, consolidated=False)
    group = zarr.open_group(target, mode="a")
    rows = 4 * 1024 * 1024 // (shape[1] * 4)
    for name, dtype, attributes in (
        ("image", "float32", {"units": units}),
        ("variance", "float32", {"units": f"{units}^2"}),
        ("mask", "uint16", mask_attributes()),
    ):
        plain = {k: np.asarray(v).tolist() if not isinstance(v, str) else v
                 for k, v in attributes.items()}  # fmt: skip
        group.create_array(
            name, shape=shape, chunks=(rows, shape[1]), dtype=dtype, fill_value=0,
            dimension_names=("y", "x"), attributes=plain,
        )  # fmt: skip
