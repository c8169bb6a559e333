"""Levels of exposures seen by several chips at once, apart from the chips' response (spec 4.4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components


@dataclass(frozen=True, slots=True)
class FocalPlaneScales:
    """How the levels of a set of flats factor into chips and exposures.

    Attributes
    ----------
    exposures : array of float64, shape (exposures,)
        Level of each exposure, in the unit of the levels: what its pixels are divided by. NaN
        without any measurement.
    chips : array of float64, shape (chips,)
        Response of each chip, with the weighted mean 1; NaN without any measurement.
    residual : float
        Weighted rms of ``ln(level / (chip * exposure))``: 0 if the levels are such products.
    """

    exposures: npt.NDArray[np.float64]
    chips: npt.NDArray[np.float64]
    residual: float


def solve_focal_plane(levels: npt.ArrayLike, weights: npt.ArrayLike) -> FocalPlaneScales:
    """Factor the levels of chips in exposures, ``level = chip * exposure``.

    Parameters
    ----------
    levels : array of float, shape (chips, exposures)
        Clipped mean of each chip (a detector or an amplifier) in each exposure. What is missing is
        NaN; a level that is not finite and positive counts as missing.
    weights : array of float, shape (chips, exposures)
        Pixels behind each level. Zero is missing too.

    Returns
    -------
    FocalPlaneScales

    Raises
    ------
    ValueError
        If shapes differ, a weight is negative or not finite, nothing was measured, or the
        exposures fall into groups that have no chip in common, so that their levels cannot be
        compared.

    Notes
    -----
    Spec 4.4: the least squares of ``ln level - ln chip - ln exposure`` with these weights. The
    reference alternates ten times between chips and exposures; this is what that tends to, solved
    for directly, and a missing pair has no weight where the reference takes it as 0 with weight 1.
    The response of the chips, of mean 1 with all their pixels as weights, stays in the flats.
    """
    measured = np.asarray(levels, np.float64)
    weight = np.array(weights, np.float64)
    if measured.ndim != 2 or weight.shape != measured.shape:
        raise ValueError(f"levels of shape {measured.shape} have weights of {weight.shape}")
    if not np.isfinite(weight).all() or (weight < 0).any():
        raise ValueError("weights have to be finite and not negative")
    weight[~(np.isfinite(measured) & (measured > 0))] = 0.0
    seen_chips, seen_exposures = weight.any(axis=1), weight.any(axis=0)
    if not seen_chips.any():
        raise ValueError("no chip has a level in any exposure")
    used = np.ix_(seen_chips, seen_exposures)
    w = weight[used] / weight.max()
    _refuse_separate_groups(w)
    log = np.log(measured[used], where=w > 0, out=np.zeros(w.shape))
    chips = _log_chips(log, w)
    of_chip, of_exposure = w.sum(axis=1), w.sum(axis=0)
    chips -= np.log(np.sum(of_chip * np.exp(chips)) / of_chip.sum())
    exposures = (w * (log - chips[:, None])).sum(axis=0) / of_exposure
    rest = log - chips[:, None] - exposures
    result = FocalPlaneScales(
        np.full(weight.shape[1], np.nan),
        np.full(weight.shape[0], np.nan),
        float(np.sqrt((w * rest**2).sum() / w.sum())),
    )
    result.exposures[seen_exposures] = np.exp(exposures)
    result.chips[seen_chips] = np.exp(chips)
    return result


def _refuse_separate_groups(weight: npt.NDArray[np.float64]) -> None:
    chips, exposures = np.nonzero(weight)
    size = sum(weight.shape)
    links = csr_array((np.ones(len(chips)), (chips, weight.shape[0] + exposures)), (size, size))
    groups, _ = connected_components(links, directed=False)
    if groups > 1:
        raise ValueError(
            f"the exposures fall into {groups} groups without a chip in common: "
            "their levels cannot be compared"
        )


def _log_chips(
    log: npt.NDArray[np.float64], weight: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Solve the normal equations for the chips, with the exposures eliminated and chip 0 at 0.

    With ``e = sum_c w (L - g) / sum_c w`` put into ``sum_e w (L - g - e) = 0``.
    """
    share = weight / weight.sum(axis=0)
    # Around the means of the exposures, so that levels of any size lose no digits.
    offset = log - (share * log).sum(axis=0)
    matrix = np.diag(weight.sum(axis=1)) - share @ weight.T
    right = (weight * offset).sum(axis=1)
    chips = np.zeros(len(log))
    chips[1:] = np.linalg.solve(matrix[1:, 1:], right[1:])
    return chips
