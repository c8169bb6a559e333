"""Verification of a dark: darks that it is subtracted from, and the dark itself."""

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
from cpflow.kernels.planes import BAD, NO_DATA
from cpflow.kernels.residuals import block_scatter, pixel_statistics
from cpflow.stack import Stack
from cpflow.stack.geometry import split_array
from cpflow.steps.electronics import GAINS
from cpflow.verify.bias import with_previews
from cpflow.verify.limits import Limit
from cpflow.verify.residuals import Residuals, block_size, measure_residuals
from cpflow.verify.rows import Of, Rows, count_rows, tabulated
from cpflow.verify.subtracted import JudgeSubtracted, SubtractedLimits

if TYPE_CHECKING:
    import xarray as xr

INSPECTED = "inspected"
_HOT_SIGMA = 10.0


class DarkLimits(SubtractedLimits):
    """Limits of a dark."""

    level: Limit = Limit(low=-1.0, high=1.0, sigma=5.0)
    """LEVEL: the mean, electrons: light, or a wrong dark time."""
    rate: Limit = Limit(low=-0.02, high=1.0, sigma=5.0)
    """RATE: median of the dark itself, electrons a second."""
    gradient: Limit = Limit(high=0.05, sigma=5.0)
    """GRADIENT: scatter of block means of the dark itself beyond its noise, electrons a second:
    light leaks and glow have structure."""
    hot: Limit = Limit(high=0.02, severity="informational")
    """HOT: fraction of pixels of the dark far above the others."""


@dataclass(frozen=True, slots=True)
class DarkAmplifier:
    """One amplifier of a dark, in electrons a second."""

    rate: float
    rate_error: float
    gradient: float
    gradient_error: float
    hot: float


@dataclass(frozen=True, slots=True)
class InspectDark:
    """Inspects a dark as a whole; runs on a worker."""

    options: Residuals
    detector: Detector

    def __call__(self, dark: xr.Dataset, gains: Any = None) -> tuple[DarkAmplifier, ...]:
        """Return what each amplifier is like."""
        detector = self.detector
        rows = range(detector.imaging_shape[0])
        image, variance, mask = (
            split_array(detector, dark[name].values, rows) for name in ("image", "variance", "mask")
        )
        known = [a.gain for a in detector.amplifiers] if gains is None else list(gains)
        adu = str(dark["image"].attrs.get("units", "adu/s")).startswith("adu")
        found = []
        for a in range(len(detector.amplifiers)):
            gain = float(known[a]) if adu else 1.0
            good = (mask[a] & np.uint16(BAD | NO_DATA)) == 0
            found.append(self._amplifier(image[a] * gain, variance[a] * gain**2, good))
        return tuple(found)

    def _amplifier(
        self,
        pixels: npt.NDArray[np.float32],
        variance: npt.NDArray[np.float32],
        good: npt.NDArray[np.bool_],
    ) -> DarkAmplifier:
        pixels = np.asarray(pixels, np.float32)
        found = pixel_statistics(pixels, good, clip=3.0)
        if found.n < 2:
            return DarkAmplifier(math.nan, math.nan, math.nan, math.nan, math.nan)
        noise = found.clipped_stdev
        quiet = good & (np.abs(pixels - found.median) <= 5 * noise)
        block = block_size(self.options.block, pixels.shape)
        blocks = block_scatter(pixels, quiet, block)
        rate_error = 1.2533 * noise / math.sqrt(found.n)
        gradient = gradient_error = math.nan
        if blocks.blocks > 1:
            white = noise**2 * blocks.inverse_pixels
            common = row_variance(pixels, quiet, noise) * math.sqrt(blocks.inverse_pixels)
            excess = blocks.variance - white - common
            gradient = math.copysign(math.sqrt(abs(excess)), excess)
            lines = max(blocks.lines, 2)
            sampling = 2 * (white**2 / (blocks.blocks - 1) + common**2 / (lines - 1))
            gradient_error = sampling**0.25
        return DarkAmplifier(
            found.median,
            rate_error,
            gradient,
            gradient_error,
            float((good & (pixels - found.median > _HOT_SIGMA * noise)).sum()) / found.n,
        )


def row_variance(
    pixels: npt.NDArray[np.float32], good: npt.NDArray[np.bool_], noise: float
) -> float:
    """Return the variance of the noise that all pixels of a row have in common; zero or more.

    Of the differences between rows side by side, which know nothing of a gradient.
    """
    count = good.sum(axis=1)
    enough = count * 2 >= pixels.shape[1]
    if enough.sum() < 3:
        return 0.0
    means = np.where(good, pixels, 0).sum(axis=1, dtype=np.float64)[enough] / count[enough]
    steps = np.diff(means)
    return max(0.0, float(np.mean(steps**2)) / 2 - noise**2 * float(np.mean(1 / count[enough])))


@dataclass(frozen=True, slots=True)
class JudgeDark:
    """Turns what was measured of residuals and of the dark into rows."""

    residuals: JudgeSubtracted

    def __call__(
        self,
        measured: Sequence[Mapping[str, Any] | None],
        exposures: Sequence[Exposure],
        shared: Mapping[str, Any],
    ) -> dict[str, npt.NDArray[Any]]:
        """Return the table."""
        found = self.residuals.found(measured)
        return self.rows(found, exposures, shared[INSPECTED]).table()

    def rows(
        self,
        found: Sequence[Any],
        exposures: Sequence[Exposure],
        inspected: Sequence[DarkAmplifier] | None,
    ) -> Rows:
        """Return the rows."""
        rows = self.residuals.rows(found, exposures)
        nan = math.nan
        for a, amplifier in enumerate(self.residuals.detector.amplifiers):
            of = Of(amp=amplifier.name)
            one = DarkAmplifier(nan, nan, nan, nan, nan) if inspected is None else inspected[a]
            rows.test(of, "RATE", one.rate, "electron/s", one.rate_error)
            rows.test(of, "GRADIENT", one.gradient, "electron/s", one.gradient_error)
            rows.test(of, "HOT", one.hot, "1")
        return rows


def verify_dark(
    residuals: Stack, calibrations: Mapping[str, Any], options: Residuals, limits: DarkLimits
) -> xr.Dataset:
    """Verify a dark by darks that it was subtracted from, and by itself; lazy.

    Parameters
    ----------
    residuals : Stack
        Darks with the candidate subtracted, in electrons.
    calibrations : mapping
        With the candidate as "dark".
    options : Residuals
    limits : DarkLimits

    Returns
    -------
    xarray.Dataset
        The table of the verification, and small pictures of the residuals.
    """
    stack = measure_residuals(residuals, calibrations["dark"], "dark", "dark", options)
    inspected = inspect(stack, calibrations["dark"], InspectDark(options, stack.detector))
    stack = stack.share(INSPECTED, inspected)
    judge = JudgeDark(JudgeSubtracted(limits, options, stack.detector))
    unmeasured = [None] * len(stack.sources)
    count = count_rows(partial(judge.rows, unmeasured, stack.exposures, None))
    return with_previews(tabulated(stack.solved(judge, name="verify"), count), stack)


def inspect(stack: Stack, candidate: Any, inspection: Any) -> Any:
    """Return what an inspection finds of a candidate, delayed; in the gains of the stack."""
    from dask.delayed import delayed

    return delayed(inspection)(candidate, stack.shared.get(GAINS))
