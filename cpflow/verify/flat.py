"""Verification of a flat: what it divides is flat, and as noisy as light is (verification 2.3).

The noise is judged with read noise and with the flat's own; the scatter over the detectors of an
exposure relative to their mean, which the reference forgets to divide by.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cpflow.camera import Detector
from cpflow.exposure import Exposure
from cpflow.stack import Failure, Stack, solve_together
from cpflow.verify.bias import with_previews
from cpflow.verify.limits import Limit, Limits
from cpflow.verify.residuals import (
    RESIDUAL,
    AmplifierResidual,
    ExposureResidual,
    Residuals,
    measure_residuals,
)
from cpflow.verify.rows import Of, Rows, count_rows, tabulated

if TYPE_CHECKING:
    import xarray as xr

DETECTORS = "detector_levels"


class FlatLimits(Limits):
    """Limits of a flat."""

    noise: Limit = Limit(high=0.05, sigma=3.0)
    """NOISE: clipped standard deviation over that of light and read noise, less 1."""
    quiet: Limit = Limit(low=-0.15, severity="informational")
    """QUIET: the same, where it is too small: the brighter-fatter effect takes noise away."""
    response: Limit = Limit(low=-0.01, high=0.01, sigma=5.0)
    """RESPONSE: level of an amplifier over that of its detector, less 1."""
    scatter: Limit = Limit(high=0.05)
    """SCATTER: standard deviation of the levels of the amplifiers over their mean."""
    exposure_scatter: Limit = Limit(high=0.05)
    """EXPOSURE_SCATTER: the same of the detectors of an exposure."""
    flatness: Limit = Limit(high=0.005, sigma=5.0)
    """FLATNESS: scatter of block means beyond noise, over the level: another filter, another
    illumination, dust that moved."""
    saturated: Limit = Limit(high=1e-3)
    """SATURATED: fraction of pixels with SAT or SUSPECT."""
    good: Limit = Limit(low=0.5)
    """GOOD: fraction of pixels that are not masked."""
    alive: Limit = Limit(low=0.5)
    """ALIVE: level of an amplifier over the median of its detector's; and noise in the overscan."""
    column: Limit = Limit(low=-0.02, high=0.02, sigma=6.0)
    """COLUMN: the most deviant column, over the level."""


_TESTS = (*("NOISE", "QUIET", "RESPONSE", "FLATNESS", "SATURATED", "GOOD", "ALIVE", "COLUMN"),)
_RECORDED = ("level", "noise", "expected_noise", "noise_ratio")


@dataclass(frozen=True, slots=True)
class JudgeFlat:
    """Turns what was measured into rows."""

    limits: FlatLimits
    detector: Detector

    def __call__(
        self,
        measured: Sequence[Mapping[str, Any] | None],
        exposures: Sequence[Exposure],
        shared: Mapping[str, Any],
    ) -> dict[str, npt.NDArray[Any]]:
        """Return the table."""
        found = [None if values is None else values[RESIDUAL] for values in measured]
        return self.rows(found, exposures, shared[DETECTORS]).table()

    def rows(
        self,
        found: Sequence[ExposureResidual | None],
        exposures: Sequence[Exposure],
        detectors: Mapping[int, Sequence[float]],
    ) -> Rows:
        """Return the rows; `detectors` are the levels of all detectors of each exposure."""
        rows = Rows(self.limits, self.detector.id)
        for residual, exposure in zip(found, exposures, strict=True):
            levels = self._levels(residual)
            known = levels[np.isfinite(levels)]
            mean = float(known.mean()) if known.size else math.nan
            middle = float(np.median(known)) if known.size else math.nan
            for a, amplifier in enumerate(self.detector.amplifiers):
                of = Of.exposed(exposure, amplifier.name)
                one = None if residual is None else residual.amplifiers[a]
                _amplifier_rows(rows, of, one, float(levels[a]), mean, middle)
            of = Of.exposed(exposure)
            spread = float(known.std(ddof=1)) / mean if known.size > 1 else 0.0
            rows.test(of, "SCATTER", spread if known.size else math.nan, "1")
            rows.record(of, "level", mean, "adu")
            over = np.array(detectors.get(exposure.exposure, ()), float)
            over = over[np.isfinite(over)]
            value = float(over.std() / over.mean()) if over.size else math.nan
            rows.test(of, "EXPOSURE_SCATTER", value, "1")
        return rows

    def _levels(self, residual: ExposureResidual | None) -> npt.NDArray[np.float64]:
        count = len(self.detector.amplifiers)
        if residual is None:
            return np.full(count, np.nan)
        return np.array([one.level for one in residual.amplifiers])


def _amplifier_rows(
    rows: Rows, of: Of, one: AmplifierResidual | None, level: float, mean: float, middle: float
) -> None:
    if one is None or not math.isfinite(level):
        for name in _TESTS:
            rows.test(of, name, math.nan, "1")
        for name in _RECORDED:
            rows.record(of, name, math.nan, "1")
        return
    pixels, charge = one.pixels, one.pixels.clipped_mean
    noise, expected = pixels.clipped_stdev, math.sqrt(max(one.expected_variance, 0.0))
    ratio = noise / expected if expected > 0 else math.nan
    scatter = math.hypot(1 / math.sqrt(2 * pixels.n), one.expected_error / 2) * ratio
    rows.test(of, "NOISE", ratio - 1, "1", scatter)
    rows.test(of, "QUIET", ratio - 1, "1", scatter)
    error = expected / math.sqrt(pixels.n) / charge if charge > 0 else math.nan
    rows.test(of, "RESPONSE", level / mean - 1, "1", error)
    rows.test(of, "FLATNESS", *_flatness(one))
    rows.test(of, "SATURATED", one.saturated, "1")
    rows.test(of, "GOOD", pixels.n / (pixels.n + pixels.n_masked), "1")
    overscan = one.read_noise / one.nominal_read_noise
    rows.test(of, "ALIVE", float(np.fmin(level / middle, overscan)), "1")
    column = one.column
    rows.test(of, "COLUMN", column.deviation / charge, "1", column.error / abs(charge))
    rows.record(of, "level", level, "adu")
    rows.record(of, "noise", noise, "electron")
    rows.record(of, "expected_noise", expected, "electron")
    rows.record(of, "noise_ratio", ratio**2, "1")


def _flatness(one: AmplifierResidual) -> tuple[float, str, float]:
    """Return the scatter of block means beyond that of light, over the level.

    Its error is what the sampling of so many blocks leaves, at no structure.
    """
    found, charge = one.structure, one.pixels.clipped_mean
    if found.blocks < 2 or not charge > 0:
        return math.nan, "1", math.nan
    # Light in a block is Poisson, whatever the brighter-fatter effect does between its pixels.
    white = max(one.expected_variance - one.row_variance, 0.0) * found.inverse_pixels
    common = one.row_variance * math.sqrt(found.inverse_pixels)
    lines = max(found.lines, 2)
    error = math.sqrt(2 * (white**2 / (found.blocks - 1) + common**2 / (lines - 1)))
    excess = found.variance - white - common
    return (
        math.copysign(math.sqrt(abs(excess)), excess) / charge,
        "1",
        math.sqrt(error) / charge,
    )


def verify_flat(
    flats: Mapping[int, Stack],
    calibrations: Mapping[int, Mapping[str, Any]],
    options: Residuals,
    limits: FlatLimits,
) -> dict[int, xr.Dataset]:
    """Verify the flats of one filter by exposures divided by them; lazy.

    Parameters
    ----------
    flats : mapping of int to Stack
        By detector: flats, the candidate divided out, in adu as the candidate was made.
    calibrations : mapping of int to mapping
        With the candidate as "flat".
    options : Residuals
    limits : FlatLimits

    Returns
    -------
    dict of int to xarray.Dataset
        By detector: the table of the verification, and small pictures of the flats. What is of an
        exposure as a whole is in the table of each of its detectors.
    """
    from dask.delayed import delayed

    measured = {
        id_: measure_residuals(stack, calibrations[id_]["flat"], "flat", "flat", options)
        for id_, stack in flats.items()
    }
    levels = solve_together(
        "verify-flat",
        levels_of_detectors,
        [[[e.exposure for e in stack.exposures] for stack in measured.values()]],
        [
            delayed(_levels_of, pure=False)(
                stack.measurements(), dask_key_name=f"levels-{stack.token[:16]}"
            )
            for stack in measured.values()
        ],
    )
    out = {}
    for id_, stack in measured.items():
        shared = stack.share(DETECTORS, levels)
        judge = JudgeFlat(limits, stack.detector)
        nothing: list[ExposureResidual | None] = [None] * len(stack.sources)
        count = count_rows(partial(judge.rows, nothing, stack.exposures, {}))
        table = tabulated(shared.solved(judge, name="verify"), count)
        out[id_] = with_previews(table, shared)
    return out


def _levels_of(measured: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return the level of a detector in each exposure; NaN for one that cannot be used."""
    levels = []
    for values in measured:
        if any(isinstance(value, Failure) for value in values.values()):
            levels.append(math.nan)
            continue
        known = [one.level for one in values[RESIDUAL].amplifiers if math.isfinite(one.level)]
        levels.append(float(np.mean(known)) if known else math.nan)
    return levels


def levels_of_detectors(
    exposures: Sequence[Sequence[int]], levels: Sequence[Sequence[float]]
) -> dict[int, list[float]]:
    """Return the levels of all detectors of each exposure."""
    found: dict[int, list[float]] = {}
    for ids, values in zip(exposures, levels, strict=True):
        for id_, value in zip(ids, values, strict=True):
            found.setdefault(id_, []).append(value)
    return found
