"""Verification of a defect list: what still stands out when it is masked (verification 2.4).

A pixel that stands out in most exposures is a defect, one that does so now and then is a cosmic ray
or blinks. The reference asks that exactly as many pixels stand out as are masked, which its authors
call a bad test; here a list is complete when nothing persistent is left, and sparing when it masks
little.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from cpflow.camera import Detector
from cpflow.exposure import Exposure
from cpflow.kernels.outliers import outliers, times_found
from cpflow.kernels.planes import BAD, NO_DATA, SAT
from cpflow.kernels.residuals import (
    DeviantColumn,
    PixelStatistics,
    deviant_column,
    pixel_statistics,
)
from cpflow.options import Options
from cpflow.stack import Context, Frame, Stack
from cpflow.verify.limits import Limit, Limits
from cpflow.verify.residuals import RESIDUAL, block_size
from cpflow.verify.rows import Of, Rows, count_rows, tabulated

if TYPE_CHECKING:
    import xarray as xr

_FEWEST = 3


class Outliers(Options):
    """How pixels that stand out are found."""

    sigma: float = Field(8.0, gt=0)
    """More than the search for defects asks for: what stands out so much had to be found."""
    block: int = Field(64, ge=2)
    """Side of the blocks whose median a pixel is compared with."""
    fraction: float = Field(0.7, gt=0, lt=1)
    """What stands out in more than this fraction of the exposures of a kind is persistent; as the
    search for defects has it."""


class DefectLimits(Limits):
    """Limits of a defect list."""

    persistent: Limit = Limit(high=1e-5)
    """PERSISTENT: fraction of the unmasked pixels that stand out in most of the biases, of the
    darks, or of the flats."""
    masked: Limit = Limit(high=0.05)
    """MASKED: fraction of an amplifier, and of the detector, that is masked."""
    stdev: Limit = Limit(high=0.0, sigma=5.0)
    """STDEV: clipped standard deviation with the mask over that without, less 1."""
    outliers: Limit = Limit(high=0.0)
    """OUTLIERS: pixels that stand out with the mask, over those without, less 1."""
    column: Limit = Limit(low=-1.0, high=1.0, sigma=6.0)
    """COLUMN: the most deviant column with the mask, electrons."""
    blinking: Limit = Limit(high=1e-4, severity="informational")
    """BLINKING: fraction of unmasked pixels that stand out in two exposures or more, but are not
    persistent."""
    needless: Limit = Limit(high=0.9, severity="informational")
    """NEEDLESS: fraction of the masked pixels that stand out in no exposure: masks grow, and edges
    are masked."""


@dataclass(frozen=True, slots=True)
class AmplifierOutliers:
    """What stands out in one amplifier of one exposure, with the mask and without."""

    with_mask: PixelStatistics
    without_mask: PixelStatistics
    places: npt.NDArray[np.int64]
    """Of all that stands out, masked or not."""
    masked: npt.NDArray[np.int64]
    """Places that are masked."""
    column: DeviantColumn


@dataclass(frozen=True, slots=True)
class MeasureOutliers:
    """Find what stands out in a whole frame whose defects are masked as BAD."""

    options: Outliers

    def __call__(self, frame: Frame, context: Context) -> tuple[AmplifierOutliers, ...]:
        """Return what stands out in each amplifier."""
        mask = frame.writable_mask()
        usable = (mask & np.uint16(SAT | NO_DATA)) == 0
        bad = (mask & np.uint16(BAD)) != 0
        return tuple(
            self._amplifier(frame.image[a], usable[a], bad[a])
            for a in range(len(context.detector.amplifiers))
        )

    def _amplifier(
        self,
        pixels: npt.NDArray[np.float32],
        usable: npt.NDArray[np.bool_],
        bad: npt.NDArray[np.bool_],
    ) -> AmplifierOutliers:
        # An amplifier that is masked as a whole is compared with nothing.
        places, _ = outliers(
            pixels, usable, self.options.sigma, block_size(self.options.block, pixels.shape)
        )
        kept = pixel_statistics(pixels, usable & ~bad)
        return AmplifierOutliers(
            kept,
            pixel_statistics(pixels, usable),
            places,
            np.flatnonzero(bad),
            deviant_column(pixels, usable & ~bad, kept.clipped_stdev),
        )


@dataclass(frozen=True, slots=True)
class JudgeDefects:
    """Turns what stands out into rows."""

    limits: DefectLimits
    options: Outliers
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

    def rows(
        self,
        found: Sequence[tuple[AmplifierOutliers, ...] | None],
        exposures: Sequence[Exposure],
    ) -> Rows:
        """Return the rows; those of an exposure that could not be used have no data."""
        rows = Rows(self.limits, self.detector.id)
        masked = 0
        size = math.prod(self.detector.imaging_shape)
        for a, amplifier in enumerate(self.detector.amplifiers):
            for all_of, exposure in zip(found, exposures, strict=True):
                of = Of.exposed(exposure, amplifier.name)
                _exposure_rows(rows, of, None if all_of is None else all_of[a])
            kinds: dict[str, list[AmplifierOutliers]] = {}
            for all_of, exposure in zip(found, exposures, strict=True):
                if all_of is not None:
                    kinds.setdefault(exposure.observation_type, []).append(all_of[a])
            masked += self._run(rows, Of(amp=amplifier.name), list(kinds.values()), size)
        total = size * len(self.detector.amplifiers)
        measured = any(all_of is not None for all_of in found)
        rows.test(Of(), "MASKED", masked / total if measured else math.nan, "1")
        return rows

    def _run(
        self, rows: Rows, of: Of, kinds: Sequence[Sequence[AmplifierOutliers]], size: int
    ) -> int:
        """Add the rows of an amplifier over all exposures; return how many pixels are masked.

        `kinds` are the exposures of each observation type: a hot pixel is in all darks and no bias.
        """
        nan = math.nan
        known = any(kinds)
        masked, often = np.zeros(size, bool), np.zeros(size, bool)
        times = np.zeros(size, np.int32)
        for of_kind in kinds:
            masked[of_kind[0].masked] = True
            found = times_found([one.places for one in of_kind], size)
            times += found
            # With few exposures nothing can be told from cosmic rays.
            if len(of_kind) >= _FEWEST:
                often |= found > self.options.fraction * len(of_kind)
        count = int(masked.sum())
        free = size - count
        told = any(len(of_kind) >= _FEWEST for of_kind in kinds) and free > 0
        persistent = int((often & ~masked).sum())
        blinking = int(((times >= 2) & ~often & ~masked).sum())
        rows.test(of, "PERSISTENT", persistent / free if told else nan, "1")
        rows.test(of, "BLINKING", blinking / free if told else nan, "1")
        rows.test(of, "MASKED", count / size if known else nan, "1")
        needless = int((masked & (times == 0)).sum())
        rows.test(of, "NEEDLESS", needless / count if count else 0.0 if known else nan, "1")
        rows.record(of, "persistent_pixels", persistent if told else nan, "pixel")
        rows.record(of, "masked_pixels", count if known else nan, "pixel")
        return count


def _exposure_rows(rows: Rows, of: Of, one: AmplifierOutliers | None) -> None:
    if one is None:
        for name in ("STDEV", "OUTLIERS", "COLUMN"):
            rows.test(of, name, math.nan, "1")
        for name in _RECORDED:
            rows.record(of, name, math.nan, "1")
        return
    after, before = one.with_mask, one.without_mask
    error = 1 / math.sqrt(2 * after.n) if after.n else math.nan
    left = np.setdiff1d(one.places, one.masked, assume_unique=True).size
    ratio = after.clipped_stdev / before.clipped_stdev if before.clipped_stdev > 0 else math.nan
    rows.test(of, "STDEV", ratio - 1, "1", error)
    share = left / one.places.size if one.places.size else 1.0
    rows.test(of, "OUTLIERS", share - 1 if after.n else math.nan, "1")
    rows.test(of, "COLUMN", one.column.deviation, "electron", one.column.error)
    for name, value in zip(
        _RECORDED, (one.places.size, left, after.clipped_stdev, before.clipped_stdev), strict=True
    ):
        rows.record(of, name, value, "1")


_RECORDED = ("outliers_without_mask", "outliers_with_mask", "stdev_with_mask", "stdev_without_mask")


def verify_defects(exposures: Stack, options: Outliers, limits: DefectLimits) -> xr.Dataset:
    """Verify a defect list by exposures in which it is masked; lazy.

    Parameters
    ----------
    exposures : Stack
        Signature removed, the candidate masked as BAD, nothing interpolated.
    options : Outliers
    limits : DefectLimits

    Returns
    -------
    xarray.Dataset
        The table of the verification.
    """
    stack = exposures.measure(RESIDUAL, MeasureOutliers(options))
    judge = JudgeDefects(limits, options, stack.detector)
    count = count_rows(partial(judge.rows, [None] * len(stack.sources), stack.exposures))
    return tabulated(stack.solved(judge, name="verify"), count)
