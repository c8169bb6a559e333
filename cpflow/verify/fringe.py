"""Verification of a fringe frame: how much of the fringes it takes out of exposures (2.5)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cpflow.camera import Detector
from cpflow.errors import RawError
from cpflow.exposure import Exposure
from cpflow.kernels.binning import bin_image
from cpflow.kernels.planes import BAD, NO_DATA, SAT, UNMASKEDNAN
from cpflow.kernels.statistics import clipped_statistics
from cpflow.stack import Context, Frame, Planes, Stack
from cpflow.stack.geometry import assemble_array
from cpflow.steps.fringes import FRINGE, FRINGE_AMPLITUDE, MeasureFringe
from cpflow.verify.bias import with_previews
from cpflow.verify.limits import Limit, Limits
from cpflow.verify.residuals import RESIDUAL, preview_factor
from cpflow.verify.rows import Of, Rows, count_rows, tabulated

if TYPE_CHECKING:
    import xarray as xr

_UNUSABLE = BAD | SAT | NO_DATA | UNMASKEDNAN
_FEWEST = 5
_MAD_TO_SIGMA = 1.482602218505602


class FringeLimits(Limits):
    """Limits of a fringe frame."""

    residual: Limit = Limit(low=-0.1, high=0.1, sigma=5.0)
    """RESIDUAL: amplitude of the fringes after their subtraction, over that before."""
    noise: Limit = Limit(high=0.0, sigma=5.0)
    """NOISE: clipped standard deviation after over that before, less 1: it must not grow."""
    amplitude: Limit = Limit(low=-5.0, high=5.0, severity="informational")
    """AMPLITUDE: over the level of the sky, from the median of all exposures, in robust standard
    deviations; the sky itself varies."""


@dataclass(frozen=True, slots=True)
class FringeResidual:
    """Fringes of one exposure before and after their subtraction, in the unit of the exposure."""

    before: float
    after: float
    error: float
    noise_before: float
    noise_after: float
    pixels: int
    level: float
    preview: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class MeasureFringeResidual:
    """Measure what is left of the fringes in a whole exposure."""

    def __call__(self, frame: Frame, context: Context) -> FringeResidual:
        """Return amplitudes and noise."""
        before = float(context.measured[FRINGE_AMPLITUDE])
        planes: Planes = context.shared[FRINGE].part(frame.rows)
        try:
            after = MeasureFringe()(frame, context)
        except RawError:
            after = math.nan
        usable = np.isfinite(frame.image)
        if frame.mask is not None:
            usable &= (frame.mask & np.uint16(_UNUSABLE)) == 0
        with_fringes = clipped_statistics((frame.image + before * planes.image)[usable])
        without = clipped_statistics(frame.image[usable])
        power = float(np.sum(np.square(planes.image[usable], dtype=np.float64)))
        image = np.where(usable, frame.image - np.float32(without.mean), np.float32(np.nan))
        image = assemble_array(context.detector, image)
        return FringeResidual(
            before,
            after,
            without.stdev / math.sqrt(power) if power > 0 else math.nan,
            with_fringes.stdev,
            without.stdev,
            without.used,
            without.mean,
            bin_image(image, preview_factor(image)),
        )


@dataclass(frozen=True, slots=True)
class JudgeFringe:
    """Turns what was measured into rows."""

    limits: FringeLimits
    detector: Detector

    def __call__(
        self,
        measured: Sequence[Mapping[str, Any] | None],
        exposures: Sequence[Exposure],
        shared: Mapping[str, Any],
    ) -> dict[str, npt.NDArray[Any]]:
        """Return the table."""
        found = [None if values is None else values[RESIDUAL] for values in measured]
        return self.rows(found, exposures).table()

    def rows(self, found: Sequence[FringeResidual | None], exposures: Sequence[Exposure]) -> Rows:
        """Return the rows; those of an exposure that could not be used have no data."""
        rows = Rows(self.limits, self.detector.id)
        relative = np.array([math.nan if one is None else one.before / one.level for one in found])
        deviations = robust_deviations(relative)
        nan = math.nan
        for one, exposure, deviation in zip(found, exposures, deviations, strict=True):
            of = Of.exposed(exposure)
            ratio = error = growth = growth_error = nan
            if one is not None and one.before != 0 and one.noise_before > 0:
                ratio, error = one.after / one.before, abs(one.error / one.before)
                growth = one.noise_after / one.noise_before - 1
                growth_error = 1 / math.sqrt(2 * max(one.pixels, 1))
            rows.test(of, "RESIDUAL", ratio, "1", error)
            rows.test(of, "NOISE", growth, "1", growth_error)
            rows.test(of, "AMPLITUDE", float(deviation), "sigma")
            rows.record(of, "fringes_before", nan if one is None else one.before, "")
            rows.record(of, "fringes_after", nan if one is None else one.after, "")
            rows.record(of, "sky", nan if one is None else one.level, "")
        return rows


def robust_deviations(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return how far each value is from the median, in robust standard deviations.

    Zero with fewer than five values, or without scatter; NaN stays.
    """
    known = values[np.isfinite(values)]
    if known.size < _FEWEST:
        return np.where(np.isfinite(values), 0.0, np.nan)
    middle = float(np.median(known))
    spread = _MAD_TO_SIGMA * float(np.median(np.abs(known - middle)))
    return (values - middle) / spread if spread > 0 else np.where(np.isfinite(values), 0.0, np.nan)


def verify_fringe(exposures: Stack, limits: FringeLimits) -> xr.Dataset:
    """Verify a fringe frame by exposures that it was subtracted from; lazy.

    Parameters
    ----------
    exposures : Stack
        Science exposures, the candidate subtracted as strongly as they need.
    limits : FringeLimits

    Returns
    -------
    xarray.Dataset
        The table of the verification, and small pictures of the exposures about their mean.
    """
    stack = exposures.measure(RESIDUAL, MeasureFringeResidual())
    judge = JudgeFringe(limits, stack.detector)
    nothing: list[FringeResidual | None] = [None] * len(stack.sources)
    count = count_rows(partial(judge.rows, nothing, stack.exposures))
    return with_previews(tabulated(stack.solved(judge, name="verify"), count), stack)
