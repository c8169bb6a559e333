"""Which flats make pairs (spec 1.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

PairBy = Literal["time", "flux", "id"]

#: Seconds by which two exposure times may differ and be equal; headers are that precise.
TIME_TOLERANCE = 5e-3


@dataclass(frozen=True, slots=True)
class Pairing:
    """Pairs of exposures and what is left.

    Attributes
    ----------
    pairs : tuple of (int, int)
        Ids of the first and second exposure, sorted by the first.
    left_out : tuple of (int, str)
        Ids of other exposures and why, sorted by id.
    """

    pairs: tuple[tuple[int, int], ...]
    left_out: tuple[tuple[int, str], ...]


def pair_exposures(
    ids: Sequence[int] | npt.NDArray[np.integer],
    values: Sequence[float] | npt.NDArray[np.floating] | None = None,
    by: PairBy = "time",
    *,
    relative: float = 1e-5,
    absolute: float | None = None,
) -> Pairing:
    """Find the exposures that make pairs.

    Parameters
    ----------
    ids : sequence of int
        In any order. Larger ids are later exposures.
    values : sequence of float, optional
        Exposure times in seconds or fluxes in any unit, one for each id. Not needed for "id".
    by : {"time", "flux", "id"}
        What two exposures have in common: the time, the flux, or nothing but following each other.
    relative : float
        Relative difference of values that count as equal.
    absolute : float, optional
        Absolute difference, in addition; 0.005 s for times and 0 for fluxes unless given.

    Returns
    -------
    Pairing
        It does not depend on the order of the input.

    Raises
    ------
    ValueError
        If an id is there twice, values are missing, `by` is unknown, or a tolerance is negative.

    Notes
    -----
    Spec 1.1, corrected. All exposures of one value make pairs, in the order of their ids: the first
    with the second, the third with the fourth. They need not follow each other, and more than two
    of a value are more than one pair. A group begins at its smallest value and holds what is within
    the tolerance of that, so that a slow ramp of values does not become one group. An exposure
    without a value, or the last one of an odd number, is left out.
    """
    numbers = [int(i) for i in ids]
    if len(set(numbers)) != len(numbers):
        twice = sorted({i for i in numbers if numbers.count(i) > 1})
        raise ValueError(f"exposures {twice} are there more than once")
    if by not in ("time", "flux", "id"):
        raise ValueError(f"exposures cannot be paired by {by!r}: time, flux or id")
    if absolute is None:
        absolute = TIME_TOLERANCE if by == "time" else 0.0
    if not (relative >= 0 and absolute >= 0):
        raise ValueError(f"tolerances {relative} and {absolute} cannot be negative")
    if by == "id":
        groups, without = [(sorted(numbers), "the last of an odd number of exposures")], []
    else:
        if values is None or len(values) != len(numbers):
            raise ValueError(f"each of the {len(numbers)} exposures needs a {by} to pair by")
        known = [(float(v), i) for v, i in zip(values, numbers, strict=True) if np.isfinite(v)]
        without = [i for v, i in zip(values, numbers, strict=True) if not np.isfinite(v)]
        groups = _groups(sorted(known), by, relative, absolute)
    pairs: list[tuple[int, int]] = []
    left = [(i, f"has no {by}") for i in without]
    for members, reason in groups:
        pairs += zip(members[::2], members[1::2], strict=False)
        if len(members) % 2:
            left.append((members[-1], reason))
    return Pairing(tuple(sorted(pairs)), tuple(sorted(left)))


def _groups(
    known: list[tuple[float, int]], by: str, relative: float, absolute: float
) -> list[tuple[list[int], str]]:
    groups: list[tuple[list[int], str]] = []
    start = 0
    for end in range(1, len(known) + 1):
        smallest = known[start][0]
        if end < len(known) and known[end][0] - smallest <= absolute + relative * abs(smallest):
            continue
        members = sorted(i for _, i in known[start:end])
        of = f"a {by} of {smallest:.6g}{' s' if by == 'time' else ''}"
        reason = (
            f"the only one with {of}"
            if len(members) == 1
            else f"the last of {len(members)} with {of}, an odd number"
        )
        groups.append((members, reason))
        start = end
    return groups
