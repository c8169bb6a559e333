"""What exposures have in common is no scatter between them: the errors of their calibrations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cpflow.stack import BandStack, Context, Planes
from cpflow.stack.choice import chosen
from cpflow.steps.electronics import GAINS, gains_of
from cpflow.steps.images import in_units

Array = npt.NDArray[np.float32]


def common_variance(
    band: BandStack,
    image: Array,
    scale: npt.NDArray[np.float64] | None,
    units: str,
    averaged: npt.NDArray[np.uint16] | None = None,
) -> Array | None:
    """Return the variance that the calibrations of a combined band bring along.

    The scatter of N exposures tells the error of their mean, but not of what was subtracted from
    all of them alike: a dark from biases of which there were as many is off by sqrt(2) of that.

    Parameters
    ----------
    band : BandStack
    image : array of float32, shape (amp, rows, columns)
        The combined band.
    scale : array of float64, shape (exposure,), or None
        What the exposures were divided by.
    units : str
        Of the exposures before scaling.
    averaged : array of uint16, shape (amp, rows, columns), optional
        How many exposures each pixel is made of, if its variance comes from theirs and not from
        their scatter.

    Returns
    -------
    array of float32, shape (amp, rows, columns), or None
        In the unit of the combined image, squared; None if there are no such calibrations.

    Notes
    -----
    An error b of a calibration moves the mean by ``b sum w_e``. With ``u_e = 1 / (N scale_e)`` and
    flats F_e, w_e is ``u_e / F_e`` for a bias, ``u_e t_e / F_e`` for a dark and ``I / (N F_e)`` for
    a flat, and 0 for exposures that take another one. Of ``V (sum w_e)^2`` the variance of the
    image has a part already, which is left out here: ``V (N / n) sum w_e^2`` if it comes from the
    variances of n exposures, ``V (N sum w_e^2 - (sum w_e)^2) / (N - 1)`` if it comes from their
    scatter, which is nothing where all w_e are equal.
    """
    count = len(band.exposures)
    weights = np.full(count, 1 / count) if scale is None else 1 / (count * scale)
    taken = [chosen(band.shared, i) for i in band.indices]
    seconds = np.array([e.dark_time or 0.0 for e in band.exposures])
    parts: list[tuple[Array, Array]] = []
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = (("bias", units, weights), ("dark", f"{units}/s", weights * seconds))
        for name, expected, weight in terms:
            for takers in _groups(taken, name):
                planes = taken[takers[0]].get(name)
                if planes is not None and planes.variance is not None:
                    parts.append(_of_subtracted(band, taken, takers, name, expected, weight))
        for takers in _groups(taken, "flat"):
            planes = taken[takers[0]].get("flat")
            if planes is not None and planes.variance is not None:
                flat: Planes = planes.part(band.rows)
                each = (image / flat.image / count) ** 2 * np.asarray(flat.variance)
                parts.append((each * len(takers) ** 2, each * len(takers)))
        return _sum_beyond(parts, count, averaged)


def _of_subtracted(
    band: BandStack,
    taken: Sequence[Mapping[str, Any]],
    takers: Sequence[int],
    name: str,
    expected: str,
    weight: npt.NDArray[np.float64],
) -> tuple[Array, Array]:
    """Return ``V (sum w_e)^2`` and ``V sum w_e^2`` of one bias or dark."""
    error: Array = np.zeros((1, 1, 1), np.float32)
    apart = error
    # Mostly a single group: the same gains and the same flat for all.
    for alike in _groups([taken[e] for e in takers], GAINS, "flat"):
        some = [takers[e] for e in alike]
        shared = taken[some[0]]
        gains = None
        if expected.startswith("electron"):
            gains = gains_of(Context(band.detector, band.exposures[some[0]], shared=shared))
        known = in_units(name, shared[name], expected, gains).part(band.rows).variance
        assert known is not None
        if "flat" in shared:
            known = known / shared["flat"].part(band.rows).image ** 2
        error = error + np.sqrt(known) * np.float32(weight[some].sum())
        apart = apart + known * np.float32((weight[some] ** 2).sum())
    return error**2, apart


def _sum_beyond(
    parts: Sequence[tuple[Array, Array]], count: int, averaged: npt.NDArray[np.uint16] | None
) -> Array | None:
    """Add up what the variance of a combined image does not have already."""
    total: Array | None = None
    for alike, apart in parts:
        if averaged is None:
            known = (count * apart - alike) / np.float32(max(count - 1, 1))
        else:
            known = apart * (np.float32(count) / np.maximum(averaged, 1))
        term = np.maximum(alike - np.maximum(known, 0), 0)
        total = term if total is None else total + term
    return total


def _groups(taken: Sequence[Mapping[str, Any]], *names: str) -> list[list[int]]:
    """Group exposures by the calibrations of these names that they take, or lack."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for e, shared in enumerate(taken):
        groups.setdefault(tuple(id(shared.get(name)) for name in names), []).append(e)
    return list(groups.values())
