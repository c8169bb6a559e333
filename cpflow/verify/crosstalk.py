"""Verification of crosstalk: measured again where the candidate was subtracted (verification 2.6).

With 240 pairs of amplifiers a cut at three sigma finds something in most perfect corrections; here
coefficients are judged by what matters, and by their own errors for so many.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cpflow.camera import Detector
from cpflow.stack import Stack
from cpflow.steps.crosstalk import measure_crosstalk
from cpflow.steps.options import CrosstalkMeasure
from cpflow.verify.limits import Limit, Limits
from cpflow.verify.rows import Of, Rows, tabulated

if TYPE_CHECKING:
    import xarray as xr

_SIGNIFICANT = 3.0


class CrosstalkLimits(Limits):
    """Limits of crosstalk."""

    residual: Limit = Limit(low=-1e-5, high=1e-5, sigma=6.0)
    """RESIDUAL: what an amplifier leaves in the target where it leaves most."""
    improves: Limit = Limit(high=0.3, sigma=5.0)
    """IMPROVES: root of the sum of squares of what is left, beyond its errors, over that of the
    candidate."""
    significant: Limit = Limit(high=0.05, sigma=5.0, severity="informational")
    """SIGNIFICANT: fraction of coefficients beyond three errors; 0.003 by chance."""
    counts: Limit = Limit(low=1.0, severity="informational")
    """COUNTS: pairs of amplifiers that could be measured, over all."""


@dataclass(frozen=True, slots=True)
class JudgeCrosstalk:
    """Compares what is left with the candidate."""

    limits: CrosstalkLimits
    detector: Detector
    least_ratios: int = 50
    """With fewer the error of a coefficient cannot be trusted."""

    def __call__(
        self, left: Mapping[str, npt.NDArray[Any]], candidate: xr.Dataset
    ) -> dict[str, npt.NDArray[Any]]:
        """Return the table."""
        return self.rows(
            np.asarray(left["coefficients"], np.float64),
            np.asarray(left["mean_errors"], np.float64),
            np.asarray(left["counts"]) >= self.least_ratios,
            np.where(candidate["valid"].values, candidate["coefficients"].values, 0.0),
        ).table()

    def rows(
        self,
        left: npt.NDArray[np.float64],
        errors: npt.NDArray[np.float64],
        measured: npt.NDArray[np.bool_],
        candidate: npt.NDArray[np.float64],
    ) -> Rows:
        """Return the rows.

        Parameters
        ----------
        left, errors : array of float64, shape (source, target)
            Coefficients that are left, with standard errors.
        measured : array of bool, shape (source, target)
        candidate : array of float64, shape (source, target)
            What was subtracted.
        """
        rows = Rows(self.limits, self.detector.id)
        known = measured & np.isfinite(left) & np.isfinite(errors) & (errors > 0)
        np.fill_diagonal(known, False)
        for a, amplifier in enumerate(self.detector.amplifiers):
            of = Of(amp=amplifier.name)
            value = error = math.nan
            if known[a].any():
                limit = self.limits.limit("RESIDUAL", self.detector.id, amplifier.name)
                worst = np.where(known[a], np.abs(left[a]) - limit.sigma * errors[a], -np.inf)
                index = int(np.argmax(worst))
                value, error = float(left[a, index]), float(errors[a, index])
            rows.test(of, "RESIDUAL", value, "1", error)
        off = ~np.eye(len(left), dtype=bool)
        total = int(known.sum())
        before = math.sqrt(float(np.sum(candidate[known] ** 2)))
        after = error = share = math.nan
        if total and before > 0:
            excess = float(np.sum(left[known] ** 2 - errors[known] ** 2))
            after = math.copysign(math.sqrt(abs(excess)), excess) / before
            # The sum of squares of noise alone scatters by the root of twice its fourth powers.
            error = (2 * float(np.sum(errors[known] ** 4))) ** 0.25 / before
        if total:
            share = float((np.abs(left[known]) > _SIGNIFICANT * errors[known]).mean())
        chance = math.sqrt(0.0027 / total) if total else math.nan
        rows.test(Of(), "IMPROVES", after, "1", error)
        rows.test(Of(), "SIGNIFICANT", share, "1", chance)
        rows.test(Of(), "COUNTS", total / off.sum() if off.any() else math.nan, "1")
        return rows


def verify_crosstalk(
    exposures: Mapping[int, Stack],
    calibrations: Mapping[int, Mapping[str, Any]],
    options: CrosstalkMeasure,
    limits: CrosstalkLimits,
) -> dict[int, xr.Dataset]:
    """Verify crosstalk by exposures that it was subtracted from; lazy.

    Parameters
    ----------
    exposures : mapping of int to Stack
        By detector: exposures with bright stars, the candidate subtracted.
    calibrations : mapping of int to mapping
        With the candidate as "crosstalk".
    options : CrosstalkMeasure
        How what is left is measured.
    limits : CrosstalkLimits

    Returns
    -------
    dict of int to xarray.Dataset
        By detector: the table of the verification.
    """
    from dask.delayed import delayed

    out = {}
    for id_, left in measure_crosstalk(exposures, options).items():
        detector = exposures[id_].detector
        judge = JudgeCrosstalk(limits, detector, options.least_ratios)
        count = len(detector.amplifiers)
        nothing = np.full((count, count), np.nan)
        unknown = np.zeros((count, count), bool)
        rows = len(judge.rows(nothing, nothing, unknown, nothing).rows)
        # As unoptimised blocks: of a dataset Dask would make copies of all tasks behind it.
        wanted = {
            name: left[name].data.to_delayed(optimize_graph=False).item()
            for name in ("coefficients", "mean_errors", "counts")
        }
        value = delayed(judge)(wanted, calibrations[id_]["crosstalk"])
        out[id_] = tabulated(value, rows)
    return out
