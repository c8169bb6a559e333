"""Tests of biases and darks that a candidate was subtracted from (verification 2.1, 2.2).

What is left of an exposure is noise: of zero mean, of the size that is expected, without structure,
without anything of the candidate, and the same from exposure to exposure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cpflow.camera import Detector
from cpflow.exposure import Exposure
from cpflow.verify.limits import Limit, Limits
from cpflow.verify.residuals import RESIDUAL, AmplifierResidual, ExposureResidual, Residuals
from cpflow.verify.rows import Of, Rows

_OFTEN = 0.2


class SubtractedLimits(Limits):
    """Limits of biases and darks, in the names of the reference where it has the test."""

    mean: Limit = Limit(low=-1.0, high=1.0)
    """MEAN: mean over NOISE; weak, since it is of one pixel's noise (DMTN-101 4.2)."""
    level: Limit = Limit(low=-1.0, high=1.0, sigma=5.0, severity="informational")
    """LEVEL: the mean, electrons."""
    noise: Limit = Limit(high=0.05, sigma=3.0)
    """NOISE: clipped standard deviation over what is expected, less 1 (DMTN-101 4.3)."""
    quiet: Limit = Limit(low=-0.05, severity="informational")
    """QUIET: the same, where it is too small: the camera's read noise may be wrong."""
    alive: Limit = Limit(low=0.4)
    """ALIVE: noise over what is expected, of the image or of the overscan, whichever is smaller; an
    amplifier that is not read out has none in the overscan."""
    cr_noise: Limit = Limit(low=-0.05, high=0.05)
    """CR_NOISE: NOISE over the unclipped standard deviation without cosmic rays, less 1: what is
    neither noise nor a cosmic ray (DMTN-101 4.4)."""
    processing: Limit = Limit(high=1.0)
    """PROCESSING: seeds of cosmic rays over the number that is believed."""
    good: Limit = Limit(low=0.5)
    """GOOD: fraction of pixels that are not masked."""
    structure: Limit = Limit(high=0.02, sigma=5.0)
    """STRUCTURE: variance of the means of blocks beyond that of noise, over the variance of the
    read noise."""
    scale: Limit = Limit(low=-0.1, high=0.1, sigma=5.0)
    """SCALE: how much of the candidate's own structure is left."""
    column: Limit = Limit(low=-1.0, high=1.0, sigma=6.0)
    """COLUMN: the most deviant column, electrons."""
    repeated: Limit = Limit(high=1e-5)
    """REPEATED: fraction of pixels that stand out in several exposures: unmasked defects, which may
    look like cosmic rays in each of them."""
    read_noise: Limit = Limit(low=-0.05, high=0.05, sigma=5.0, severity="informational")
    """READ_NOISE: noise of the overscan over the camera's, less 1."""
    drift: Limit = Limit(low=-1.0, high=1.0, sigma=5.0)
    """DRIFT: change of the mean over the exposures by a straight line in time, electrons."""


@dataclass(frozen=True, slots=True)
class JudgeSubtracted:
    """Turns what was measured into rows."""

    limits: SubtractedLimits
    options: Residuals
    detector: Detector

    def __call__(
        self,
        measured: Sequence[Mapping[str, Any] | None],
        exposures: Sequence[Exposure],
        shared: Mapping[str, Any],
    ) -> dict[str, npt.NDArray[Any]]:
        """Return the table."""
        return self.rows(self.found(measured), exposures).table()

    @staticmethod
    def found(measured: Sequence[Mapping[str, Any] | None]) -> list[ExposureResidual | None]:
        """Return what was measured of each exposure; None for one that could not be used."""
        return [None if values is None else values[RESIDUAL] for values in measured]

    def rows(self, found: Sequence[ExposureResidual | None], exposures: Sequence[Exposure]) -> Rows:
        """Return the rows; those of an exposure that could not be used have no data."""
        rows = Rows(self.limits, self.detector.id)
        for residual, exposure in zip(found, exposures, strict=True):
            seeds = math.nan if residual is None else float(residual.seeds)
            rows.test(
                Of.exposed(exposure), "PROCESSING", seeds / self.options.cosmic_ray_pixels, "1"
            )
            for a, amplifier in enumerate(self.detector.amplifiers):
                one = None if residual is None else residual.amplifiers[a]
                amplifier_rows(rows, Of.exposed(exposure, amplifier.name), one)
        for a, amplifier in enumerate(self.detector.amplifiers):
            means = [
                (math.nan, math.nan) if residual is None else mean_of(residual.amplifiers[a])
                for residual in found
            ]
            times = [Of.exposed(exposure).mjd for exposure in exposures]
            value, error = drift(times, means)
            rows.test(Of(amp=amplifier.name), "DRIFT", value, "electron", error)
            known = [residual.amplifiers[a] for residual in found if residual is not None]
            rows.test(Of(amp=amplifier.name), "REPEATED", repeated(known), "1")
        return rows


def amplifier_rows(rows: Rows, of: Of, one: AmplifierResidual | None) -> None:
    """Add the rows of one amplifier of one exposure."""
    nan = math.nan
    if one is None:
        for name in ("MEAN", "LEVEL", "NOISE", "QUIET", "ALIVE", "CR_NOISE", "GOOD"):
            rows.test(of, name, nan, "1")
        for name in ("STRUCTURE", "SCALE", "COLUMN", "READ_NOISE"):
            rows.test(of, name, nan, "1")
        for name in _RECORDED:
            rows.record(of, name, nan, "electron")
        return
    pixels, column = one.pixels, one.column
    noise, expected = pixels.clipped_stdev, math.sqrt(max(one.expected_variance, 0.0))
    ratio = noise / expected if expected > 0 else nan
    scatter = nan
    if pixels.n:
        scatter = ratio * math.hypot(1 / math.sqrt(2 * pixels.n), one.expected_error / 2)
    mean, error = mean_of(one)
    rows.test(of, "MEAN", mean / noise if noise > 0 else nan, "1", error / noise if noise else nan)
    rows.test(of, "LEVEL", mean, "electron", error)
    rows.test(of, "NOISE", ratio - 1, "1", scatter)
    rows.test(of, "QUIET", ratio - 1, "1", scatter)
    overscan = one.read_noise / one.nominal_read_noise if one.nominal_read_noise > 0 else nan
    rows.test(of, "ALIVE", float(np.fmin(ratio, overscan)), "1")
    rows.test(of, "CR_NOISE", noise / one.stdev_without_rays - 1 if noise else nan, "1", scatter)
    rows.test(of, "GOOD", pixels.n / (pixels.n + pixels.n_masked), "1")
    rows.test(of, "STRUCTURE", *structure_of(one))
    rows.test(of, "SCALE", one.template.amplitude if noise > 0 else nan, "1", one.template.error)
    rows.test(of, "COLUMN", column.deviation, "electron", column.error)
    nominal = one.nominal_read_noise
    error = one.read_noise_error / nominal if nominal > 0 else nan
    rows.test(of, "READ_NOISE", overscan - 1, "1", error)
    recorded = {
        "noise": noise,
        "expected_noise": expected,
        "stdev": pixels.stdev,
        "stdev_without_rays": one.stdev_without_rays,
        "median": pixels.median,
        "corner": one.corner,
        "overscan_noise": one.read_noise,
    }
    for name in _RECORDED:
        rows.record(of, name, recorded[name], "electron")


_RECORDED = (
    "noise",
    "expected_noise",
    "stdev",
    "stdev_without_rays",
    "median",
    "corner",
    "overscan_noise",
)


def mean_of(one: AmplifierResidual) -> tuple[float, float]:
    """Return the clipped mean of an amplifier and its error, electrons.

    All pixels of a row have the error of its overscan level in common.
    """
    if one.pixels.n < 2 or one.rows < 1:
        return math.nan, math.nan
    variance = one.pixels.clipped_stdev**2 / one.pixels.n + one.row_variance / one.rows
    return one.pixels.clipped_mean, math.sqrt(variance)


def structure_of(one: AmplifierResidual) -> tuple[float, str, float]:
    """Return the variance of block means beyond noise, over that of the read noise.

    Returns
    -------
    tuple of float, str, float
        Value, units and error: the sampling error of a variance from so many blocks, of which
        those side by side have the noise of their rows in common.
    """
    found = one.structure
    if found.blocks < 2 or not one.nominal_read_noise > 0:
        return math.nan, "1", math.nan
    white = max(one.pixels.clipped_stdev**2 - one.row_variance, 0.0) * found.inverse_pixels
    lines = max(found.lines, 2)
    # A block has as many rows as the square root of its pixels.
    common = one.row_variance * math.sqrt(found.inverse_pixels)
    error = math.sqrt(2 * (white**2 / (found.blocks - 1) + common**2 / (lines - 1)))
    unit = one.nominal_read_noise**2
    return (found.variance - white - common) / unit, "1", error / unit


def repeated(known: Sequence[AmplifierResidual]) -> float:
    """Return the fraction of pixels that stand out in at least three exposures and a fifth of all.

    Cosmic rays do not come back to a pixel that often. NaN without exposures.
    """
    if not known:
        return math.nan
    places = np.concatenate([one.outliers for one in known])
    _, times = np.unique(places, return_counts=True)
    often = int((times >= max(3, _OFTEN * len(known))).sum())
    return often / max(1, max(one.pixels.n for one in known))


def drift(times: Sequence[float], means: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return by how much a straight line changes over all exposures, and the error of that.

    The error is the larger of what the errors of the means and their scatter about the line say.

    Parameters
    ----------
    times : sequence of float
        Days.
    means : sequence of (float, float)
        Means with errors; NaN for none.

    Returns
    -------
    tuple of float
        Infinite error with fewer than three exposures: nothing can be said. NaN without any.
    """
    t, y, e = (np.array(values, float) for values in zip(*_triples(times, means), strict=True))
    known = np.isfinite(t) & np.isfinite(y) & np.isfinite(e)
    t, y, e = t[known], y[known], e[known]
    if t.size == 0:
        return math.nan, math.nan
    span = float(np.ptp(t))
    if t.size < 3 or span == 0:
        return 0.0, math.inf
    x = (t - t.mean()) / span
    slope = float(x @ y / (x @ x))
    residual = y - y.mean() - slope * x
    scatter = math.sqrt(float(residual @ residual) / (t.size - 2) / float(x @ x))
    stated = math.sqrt(float((x * e) @ (x * e))) / float(x @ x)
    return slope, max(scatter, stated)


def _triples(
    times: Sequence[float], means: Sequence[tuple[float, float]]
) -> list[tuple[float, float, float]]:
    return [(t, *m) for t, m in zip(times, means, strict=True)] or [(math.nan,) * 3]
