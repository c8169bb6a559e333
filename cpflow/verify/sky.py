"""Verification of a sky frame: what is left of its structure in exposures (verification 2.5)."""

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
from cpflow.kernels.background import bin_statistics
from cpflow.kernels.binning import bin_image
from cpflow.kernels.planes import bits
from cpflow.stack import Context, Frame, Stack
from cpflow.stack.geometry import assemble_array
from cpflow.steps.sky_subtraction import SKY, SKY_SCALE, SkyFrame
from cpflow.verify.bias import with_previews
from cpflow.verify.fringe import robust_deviations
from cpflow.verify.limits import Limit, Limits
from cpflow.verify.residuals import RESIDUAL, preview_factor
from cpflow.verify.rows import Of, Rows, count_rows, tabulated

if TYPE_CHECKING:
    import xarray as xr

# Boxes along each axis of a detector whose levels are compared.
_BOXES = 8
_UNUSABLE = bits(("BAD", "SAT", "NO_DATA", "VIGNETTED", "UNMASKEDNAN", "DETECTED"))


class SkyLimits(Limits):
    """Limits of a sky frame."""

    residual: Limit = Limit(high=0.01)
    """RESIDUAL: scatter of the sky over large boxes about a plane, over its level."""
    improves: Limit = Limit(high=0.0, sigma=3.0)
    """IMPROVES: that scatter over what it was before the subtraction, less 1."""
    scale: Limit = Limit(low=-5.0, high=5.0, severity="informational")
    """SCALE: level of the sky from the median of all exposures, in robust standard deviations."""


@dataclass(frozen=True, slots=True)
class SkyResidual:
    """The sky of one exposure: its level, and how uneven it is with and without the structure."""

    level: float
    before: float
    after: float
    boxes: int
    preview: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class MeasureSkyResidual:
    """Measure how uneven the sky of a whole exposure is."""

    def __call__(self, frame: Frame, context: Context) -> SkyResidual:
        """Return the scatter of large boxes about a plane."""
        detector = context.detector
        level = float(context.measured[SKY_SCALE])
        sky: SkyFrame = context.shared[SKY]
        usable = None
        if frame.mask is not None:
            usable = assemble_array(detector, (frame.mask & np.uint16(_UNUSABLE)) == 0)
        image = assemble_array(detector, frame.image)
        boxes = min(_BOXES, detector.shape[0]), min(_BOXES, detector.shape[1])
        after = bin_statistics(image, boxes, usable).values
        before = bin_statistics(image + np.float32(level) * sky.evaluate(), boxes, usable).values
        seen = np.where(usable, image, np.float32(np.nan)) if usable is not None else image
        return SkyResidual(
            level,
            about_a_plane(before),
            about_a_plane(after),
            int(np.isfinite(after).sum()),
            bin_image(seen - np.float32(level), preview_factor(image)),
        )


def about_a_plane(values: npt.NDArray[np.float64]) -> float:
    """Return the standard deviation of a grid of values about the plane that fits best.

    A level and a slope belong to the sky of an exposure, not to the instrument. Values farther away
    than three of their quartiles' standard deviations, bright stars and galaxies, are left out
    once.
    """
    y, x = (np.asarray(axis, np.float64) for axis in np.indices(values.shape))
    good = np.isfinite(values)
    for _ in range(2):
        if good.sum() < 4:
            return math.nan
        design = np.column_stack([np.ones(int(good.sum())), y[good], x[good]])
        plane, *_ = np.linalg.lstsq(design, values[good], rcond=None)
        residual = values - (plane[0] + plane[1] * y + plane[2] * x)
        q25, q50, q75 = np.percentile(residual[good], [25, 50, 75])
        spread = float(np.sqrt(np.sum(residual[good] ** 2) / max(1, good.sum() - 3)))
        good = good & (np.abs(residual - q50) <= 3 * 0.7413 * (q75 - q25))
    return spread


@dataclass(frozen=True, slots=True)
class JudgeSky:
    """Turns what was measured into rows."""

    limits: SkyLimits
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

    def rows(self, found: Sequence[SkyResidual | None], exposures: Sequence[Exposure]) -> Rows:
        """Return the rows; those of an exposure that could not be used have no data."""
        rows = Rows(self.limits, self.detector.id)
        levels = np.array([math.nan if one is None else one.level for one in found])
        nan = math.nan
        for one, exposure, deviation in zip(
            found, exposures, robust_deviations(levels), strict=True
        ):
            of = Of.exposed(exposure)
            relative = growth = error = nan
            if one is not None and one.level > 0 and one.before > 0:
                relative = one.after / one.level
                growth = one.after / one.before - 1
                error = 1 / math.sqrt(2 * max(one.boxes, 1))
            rows.test(of, "RESIDUAL", relative, "1")
            rows.test(of, "IMPROVES", growth, "1", error)
            rows.test(of, "SCALE", float(deviation), "sigma")
            rows.record(of, "level", nan if one is None else one.level, "")
            rows.record(of, "scatter_before", nan if one is None else one.before, "")
            rows.record(of, "scatter_after", nan if one is None else one.after, "")
        return rows


def verify_sky(exposures: Stack, limits: SkyLimits) -> xr.Dataset:
    """Verify a sky frame by exposures that its structure was subtracted from; lazy.

    Parameters
    ----------
    exposures : Stack
        Science exposures, the structure of the candidate subtracted.
    limits : SkyLimits

    Returns
    -------
    xarray.Dataset
        The table of the verification, and small pictures of the exposures about their level.
    """
    stack = exposures.measure(RESIDUAL, MeasureSkyResidual())
    judge = JudgeSky(limits, stack.detector)
    nothing: list[SkyResidual | None] = [None] * len(stack.sources)
    count = count_rows(partial(judge.rows, nothing, stack.exposures))
    return with_previews(tabulated(stack.solved(judge, name="verify"), count), stack)
