"""Verifications of made-up statistics that are judged as real ones, of any number of detectors."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr
from verifications import publish_table

from cpflow.registry import DataId, DatasetRef, Lineage, RawUse
from cpflow.repo import Repository
from cpflow.verify import BiasLimits
from cpflow.verify.rows import Of, Rows

FIRST = 2021012100001
_RECORDED = ("noise", "expected_noise", "stdev", "median", "corner", "overscan_noise", "saturated")
_TESTS = ("MEAN", "LEVEL", "QUIET", "ALIVE", "CR_NOISE", "GOOD", "STRUCTURE", "SCALE", "COLUMN")
_IDEAL = {"ALIVE": 1.0, "GOOD": 1.0}

# Detector, exposure, amplifier: how much the noise is above what is expected.
Excess = Callable[[int, int, str], float]


def build_biases(
    repository: Repository, detectors: Sequence[int], raws: Sequence[int], run: str = "u/me/biasGen"
) -> list[DatasetRef]:
    """Register biases, which have no files, that were made from exposures."""
    instrument = repository.instrument().name
    refs = [
        DatasetRef(
            str(uuid.uuid4()),
            "bias",
            DataId(instrument, detector),
            run,
            repository.store.relative(run, f"bias_{detector}.zarr"),
            f"sha256:{uuid.uuid4().hex * 2}",
        )
        for detector in detectors
    ]
    lineages = {
        ref.id: Lineage(
            tuple(RawUse(instrument, e, ref.data_id.detector or 0, "sha256:0") for e in raws)
        )
        for ref in refs
    }
    return list(repository.registry.publish(run, refs, lineages=lineages))


def measured(
    detector: int,
    amplifiers: Sequence[str],
    exposures: Sequence[int],
    excess: Excess,
    shape: tuple[int, int] | None = (32, 40),
) -> xr.Dataset:
    """A table as a verification of a bias has it, and residuals unless `shape` is None."""
    rng = np.random.default_rng(detector)
    rows = Rows(BiasLimits(), detector)
    for i, exposure in enumerate(exposures):
        of = {"exposure": exposure, "day_obs": 20210121, "mjd": 59235.5 + i / 1000}
        rows.test(Of(**of), "PROCESSING", 0.01, "1")
        for amp in amplifiers:
            own = Of(**of, amp=amp)
            rows.test(
                own, "NOISE", excess(detector, exposure, amp) + rng.normal(0, 4e-3), "1", 4e-3
            )
            for test in _TESTS:
                rows.test(own, test, _IDEAL.get(test, 0.0) + rng.normal(0, 4e-3), "1", 4e-3)
            for name in _RECORDED:
                rows.record(own, name, 9 + rng.normal(0, 0.1), "electron")
    for amp in amplifiers:
        rows.test(Of(amp=amp), "DRIFT", rng.normal(0, 0.1), "electron", 0.1)
    dataset = xr.Dataset({name: ("row", values) for name, values in rows.table().items()})
    if shape is not None:
        images = rng.normal(0, 3, (len(exposures), *shape)).astype(np.float32)
        dataset["residual"] = (
            ("frame", "y_binned", "x_binned"), images, {"units": "electron"},
        )  # fmt: skip
        dataset = dataset.assign_coords(frame=list(exposures))
    return dataset


def verify_biases(
    repository: Repository,
    biases: Sequence[DatasetRef],
    exposures: Sequence[int],
    excess: Excess = lambda detector, exposure, amp: 0.0,
    shape: tuple[int, int] | None = (32, 40),
    run: str = "u/me/verify",
) -> list[DatasetRef]:
    """Publish verifications of biases in one run."""
    found = []
    for bias in biases:
        number = bias.data_id.detector or 0
        names = repository.detector(bias.data_id.instrument, number).amplifier_names
        dataset = measured(number, names, exposures, excess, shape)
        found.append(publish_table(repository, bias, dataset, run))
    return found
