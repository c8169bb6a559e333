"""Verification of gain and read noise by pairs of flats and their overscans (verification 2.8).

The gain of a pair is its mean over its variance, which the brighter-fatter effect makes too small;
what it takes is known from the candidate's own coefficient, where the reference has one number for
each vendor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from cpflow.camera import Detector
from cpflow.exposure import Exposure
from cpflow.stack import Stack, solve_pairs
from cpflow.steps.options import Ptc
from cpflow.steps.ptc import MeasuredPair, MeasurePair, pairs_of
from cpflow.verify.limits import Limit, Limits
from cpflow.verify.rows import Of, Rows, tabulated

if TYPE_CHECKING:
    import xarray as xr


class FlatPairs(Ptc):
    """How pairs of flats are measured; see `Ptc`."""

    max_lag: int = Field(1, ge=1)
    low_signal: float = Field(1000.0, ge=0)
    """Adu; a fainter pair tells little."""
    high_signal: float = Field(30_000.0, gt=0)
    """Adu; in a brighter pair the higher orders of the brighter-fatter effect count."""


class GainLimits(Limits):
    """Limits of gain and read noise."""

    gain: Limit = Limit(low=-0.05, high=0.05, sigma=5.0)
    """GAIN: of flat pairs over the candidate's, less 1 (DMTN-101 6.2)."""
    read_noise: Limit = Limit(low=-0.05, high=0.05, sigma=5.0)
    """READ_NOISE: of the overscan, electrons by the candidate's gain, over the camera's, less 1."""


@dataclass(frozen=True, slots=True)
class Pair:
    """What a pair of flats says of all amplifiers.

    `noise` is in adu; `level_variance` is what the subtraction of a row's level adds to the
    variance of the read noise, as a fraction.
    """

    mean: npt.NDArray[np.float64]
    variance: npt.NDArray[np.float64]
    pixels: npt.NDArray[np.int64]
    noise: npt.NDArray[np.float64]
    level_variance: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class KeepPairs:
    """Takes out of each pair what counts here."""

    def __call__(
        self, values: Sequence[MeasuredPair | None], exposures: Sequence[Exposure], bad: Any
    ) -> list[Pair]:
        """Return the pairs that can be used."""
        return [
            Pair(
                np.array([one.mean for one in pair.amplifiers]),
                np.array([one.variance for one in pair.amplifiers]),
                np.array([one.n_pixels for one in pair.amplifiers]),
                pair.noise,
                pair.level_variance,
            )
            for pair in values
            if pair is not None
        ]


@dataclass(frozen=True, slots=True)
class JudgeGain:
    """Compares pairs of flats with a photon transfer curve."""

    limits: GainLimits
    options: FlatPairs
    detector: Detector

    def __call__(self, pairs: Sequence[Pair], ptc: xr.Dataset) -> dict[str, npt.NDArray[Any]]:
        """Return the table."""
        return self.rows(pairs, ptc["gain"].values, ptc["a"].values[:, 0, 0]).table()

    def rows(
        self,
        pairs: Sequence[Pair],
        gains: npt.NDArray[np.float64],
        a00: npt.NDArray[np.float64],
    ) -> Rows:
        """Return the rows."""
        rows = Rows(self.limits, self.detector.id)
        for a, amplifier in enumerate(self.detector.amplifiers):
            of = Of(amp=amplifier.name)
            gain, error, count = self.gain_of(pairs, a, float(a00[a]))
            known = float(gains[a])
            rows.test(of, "GAIN", gain / known - 1, "1", error / known)
            noises = np.array([pair.noise[a] for pair in pairs], float)
            noises = noises[np.isfinite(noises)]
            noise = float(noises.mean()) * known if noises.size else math.nan
            spread = float(noises.std(ddof=1)) if noises.size > 1 else math.nan
            nominal = amplifier.read_noise
            error = spread * known / math.sqrt(max(noises.size, 1)) / nominal
            known_noise = None if amplifier.serial_overscan.width else Limit(severity="off")
            rows.test(of, "READ_NOISE", noise / nominal - 1, "1", error, limit=known_noise)
            rows.record(of, "gain_of_pairs", gain, "electron/adu")
            rows.record(of, "pairs", float(count), "1")
            rows.record(of, "overscan_noise", noise, "electron")
        return rows

    def gain_of(self, pairs: Sequence[Pair], a: int, a00: float) -> tuple[float, float, int]:
        """Return the mean gain of the pairs of an amplifier, its error, and their number.

        The variance of one exposure is ``F / g + a00 F^2 + n^2`` in adu squared (Astier et al.
        2019, equation 20, first order); read noise is that of the overscan, with what the
        subtraction of the level adds.
        """
        found, weights = [], []
        for pair in pairs:
            mean = float(pair.mean[a])
            if not self.options.low_signal <= mean <= self.options.high_signal:
                continue
            noise = float(pair.noise[a]) ** 2 * (1 + float(pair.level_variance[a]))
            bend = a00 if math.isfinite(a00) else 0.0
            light = float(pair.variance[a]) - noise - bend * mean**2
            if not light > 0:
                continue
            found.append(mean / light)
            # A variance from n differences has a relative error of the root of 2 / n.
            weights.append(float(pair.pixels[a]) / 2)
        if not found:
            return math.nan, math.nan, 0
        gain = float(np.average(found, weights=weights))
        return gain, gain / math.sqrt(sum(weights)), len(found)


def verify_gain(flats: Stack, ptc: Any, options: FlatPairs, limits: GainLimits) -> xr.Dataset:
    """Verify the gains of a photon transfer curve, and the read noise, by pairs of flats; lazy.

    Parameters
    ----------
    flats : Stack
        Flats in adu, signature removed, not divided by a flat.
    ptc : xarray.Dataset, or Delayed of one
        The candidate.
    options : FlatPairs
    limits : GainLimits

    Returns
    -------
    xarray.Dataset
        The table of the verification.

    Raises
    ------
    NoDataError
        If no two exposures make a pair.
    """
    from dask.delayed import delayed

    pairs = pairs_of(flats.exposures, options)
    measured = solve_pairs(flats, "gain", pairs, MeasurePair(options), KeepPairs())
    judge = JudgeGain(limits, options, flats.detector)
    nothing = np.full(len(flats.detector.amplifiers), np.nan)
    count = len(judge.rows([], nothing, nothing).rows)
    return tabulated(delayed(judge)(measured, ptc), count)
