"""Verification of a linearizer: flats that it corrected are in proportion to light (2.9)."""

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
from cpflow.options import Options
from cpflow.stack import Stack
from cpflow.steps.linearity import LEVELS, MeasureAmplifiers
from cpflow.steps.tables import table
from cpflow.verify.limits import Limit, Limits
from cpflow.verify.rows import Of, Rows, count_rows, tabulated

if TYPE_CHECKING:
    import xarray as xr

ENDS = "linear_to"


class Ramp(Options):
    """Which flats count."""

    low_signal: float = Field(2000.0, gt=0)
    """Adu; relative deviations of fainter flats say nothing (the reference divides by zero)."""
    fraction: float = Field(0.9, gt=0, le=1)
    """Of the turnoff of the candidate up to which it has to be straight."""
    fewest: int = Field(4, ge=3)


class LinearityLimits(Limits):
    """Limits of a linearizer."""

    residual: Limit = Limit(low=-0.01, high=0.01, sigma=5.0)
    """RESIDUAL: largest relative deviation of corrected flats from a straight line in time, less
    what all amplifiers share: the lamp."""
    common: Limit = Limit(low=-0.01, high=0.01, sigma=5.0, severity="informational")
    """COMMON: largest deviation that all amplifiers share: the lamp, or the same nonlinearity."""
    correction: Limit = Limit(high=0.1, severity="informational")
    """CORRECTION: largest relative correction of the candidate."""
    kind: Limit = Limit(low=1.0)
    """KIND: 1 where the amplifier has a linearizer that does anything."""


@dataclass(frozen=True, slots=True)
class Ends:
    """Of each amplifier the signal up to which the candidate is good, and whether it has one."""

    turnoff: npt.NDArray[np.float64]
    kind: npt.NDArray[np.int64]


def ends_of(linearizer: xr.Dataset) -> Ends:
    """Return up to which signals a linearizer is good; infinite where it does not say."""
    kind = np.asarray(linearizer["kind"].values, np.int64)
    ends = np.full(kind.shape, np.inf)
    for name in ("turnoff", "fit_high"):
        if name in linearizer:
            values = np.asarray(linearizer[name].values, np.float64)
            ends = np.fmin(ends, np.where(np.isfinite(values) & (values > 0), values, np.inf))
    return Ends(ends, kind)


@dataclass(frozen=True, slots=True)
class JudgeLinearity:
    """Turns levels of corrected flats into rows."""

    limits: LinearityLimits
    options: Ramp
    detector: Detector

    def __call__(
        self,
        measured: Sequence[Mapping[str, Any] | None],
        exposures: Sequence[Exposure],
        shared: Mapping[str, Any],
    ) -> dict[str, npt.NDArray[Any]]:
        """Return the table."""
        shape = len(self.detector.amplifiers)
        levels = np.full((len(exposures), shape), np.nan)
        errors = np.full((len(exposures), shape), np.nan)
        for i, values in enumerate(measured):
            if values is not None:
                mean, variance, pixels = values[LEVELS].T
                levels[i] = mean
                errors[i] = np.sqrt(variance / np.maximum(pixels, 1))
        return self.rows(levels, errors, exposures, shared[ENDS]).table()

    def rows(
        self,
        levels: npt.NDArray[np.float64],
        errors: npt.NDArray[np.float64],
        exposures: Sequence[Exposure],
        ends: Ends | None,
    ) -> Rows:
        """Return the rows.

        Parameters
        ----------
        levels, errors : array of float64, shape (exposure, amp)
            Adu.
        exposures : sequence of Exposure
        ends : Ends, or None
        """
        rows = Rows(self.limits, self.detector.id)
        times = np.array([e.exposure_time if e.exposure_time else np.nan for e in exposures])
        count = len(self.detector.amplifiers)
        turnoff = np.full(count, np.inf) if ends is None else ends.turnoff
        deviations = np.full(levels.shape, np.nan)
        for a in range(count):
            inside = (levels[:, a] >= self.options.low_signal) & (
                levels[:, a] <= self.options.fraction * turnoff[a]
            )
            deviations[:, a] = straight(times, levels[:, a], inside, self.options.fewest)
        known = np.isfinite(deviations).sum(axis=1) >= 2
        common = np.full(len(times), 0.0)
        if count > 2 and known.any():
            common[known] = np.nanmedian(deviations[known], axis=1)
        for a, amplifier in enumerate(self.detector.amplifiers):
            of = Of(amp=amplifier.name)
            own = deviations[:, a] - common
            value, error = _largest(own, errors[:, a] / levels[:, a])
            rows.test(of, "RESIDUAL", value, "1", error)
            kind = math.nan if ends is None else float(ends.kind[a] > 0)
            rows.test(of, "KIND", kind, "1")
            rows.record(of, "turnoff", float(turnoff[a]), "adu")
            rows.record(of, "flats", float(np.isfinite(own).sum()), "1")
        of_all = np.where(known, common, np.nan)
        value, error = _largest(of_all, np.median(errors / levels, axis=1))
        rows.test(Of(), "COMMON", value, "1", error)
        return rows


def straight(
    times: npt.NDArray[np.float64],
    signal: npt.NDArray[np.float64],
    inside: npt.NDArray[np.bool_],
    fewest: int,
) -> npt.NDArray[np.float64]:
    """Return the relative deviations of signals from a straight line in time; NaN outside.

    The line is fitted with weights of one over the signal, so that relative deviations count, and
    may miss the origin: a shutter has a delay.
    """
    out = np.full(signal.shape, np.nan)
    good = inside & np.isfinite(times) & np.isfinite(signal)
    if good.sum() < fewest or np.ptp(times[good]) == 0:
        return out
    slope, offset = np.polyfit(times[good], signal[good], 1, w=1 / signal[good])
    model = slope * times[good] + offset
    out[good] = signal[good] / model - 1
    return out


def _largest(
    values: npt.NDArray[np.float64], errors: npt.NDArray[np.float64]
) -> tuple[float, float]:
    if not np.isfinite(values).any():
        return math.nan, math.nan
    index = int(np.nanargmax(np.abs(values)))
    return float(values[index]), float(errors[index])


def verify_linearity(
    flats: Stack, linearizer: Any, options: Ramp, limits: LinearityLimits
) -> xr.Dataset:
    """Verify a linearizer by flats that it corrected; lazy.

    Parameters
    ----------
    flats : Stack
        A ramp of flats in adu, the candidate applied.
    linearizer : xarray.Dataset, or Delayed of one
    options : Ramp
    limits : LinearityLimits

    Returns
    -------
    xarray.Dataset
        The table of the verification.
    """
    stack = flats.measure(LEVELS, MeasureAmplifiers()).share(ENDS, table(linearizer, ends_of))
    judge = JudgeLinearity(limits, options, stack.detector)
    nothing = np.full((len(stack.sources), len(stack.detector.amplifiers)), np.nan)
    count = count_rows(partial(judge.rows, nothing, nothing, stack.exposures, None))
    return tabulated(stack.solved(judge, name="verify"), count)
