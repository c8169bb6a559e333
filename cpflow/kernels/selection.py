"""Exact order statistics of large sets of float32 values, without sorting or copying them.

The bits of a float32, with the sign handled, sort as an unsigned integer. A histogram of the upper
16 bits says in which of 65536 bins a rank falls, a second one of the lower 16 bits of that bin's
members says which value it is: two reads of the data for any number of ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

# Below this size a partition costs less than clearing the histograms.
_FEW = 20_000
_BINS = 1 << 16
_EXPONENT = np.uint32(0x7F800000)
_SIGN = np.uint32(0x80000000)
_LOW = np.uint32(0xFFFF)
_SHIFT = np.uint32(16)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _key(bits):  # type: ignore[no-untyped-def]
    """Map the bits of a float32 to an integer that sorts like it."""
    return ~bits if bits & _SIGN else bits | _SIGN


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _count_upper(bits, good, counts):  # type: ignore[no-untyped-def]
    everything = good.shape[0] == 0
    for i in range(bits.shape[0]):
        if (everything or good[i]) and (bits[i] & _EXPONENT) != _EXPONENT:
            counts[_key(bits[i]) >> _SHIFT] += 1


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _count_lower(bits, good, slots, counts):  # type: ignore[no-untyped-def]
    everything = good.shape[0] == 0
    for i in range(bits.shape[0]):
        if (everything or good[i]) and (bits[i] & _EXPONENT) != _EXPONENT:
            key = _key(bits[i])
            slot = slots[key >> _SHIFT]
            if slot >= 0:
                counts[slot, key & _LOW] += 1


def _ranked(
    bits: npt.NDArray[np.uint32],
    good: npt.NDArray[np.bool_],
    upper: npt.NDArray[np.int64],
    ranks: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    ends = np.cumsum(upper)
    bins = np.searchsorted(ends, ranks, side="right")
    wanted, which = np.unique(bins, return_inverse=True)
    slots = np.full(_BINS, -1, np.int16)
    slots[wanted] = np.arange(len(wanted))
    lower = np.zeros((len(wanted), _BINS), np.int64)
    _count_lower(bits, good, slots, lower)
    lower_ends = np.cumsum(lower, axis=1)
    inside = ranks - (ends[bins] - upper[bins])
    low = [
        int(np.searchsorted(lower_ends[w], r, side="right"))
        for w, r in zip(which, inside, strict=True)
    ]
    keys = (bins.astype(np.uint32) << _SHIFT) | np.array(low, np.uint32)
    found = np.where(keys & _SIGN, keys ^ _SIGN, ~keys).astype(np.uint32)
    return found.view(np.float32).astype(np.float64)


def _part(values: npt.NDArray[np.float64], ranks: npt.NDArray[np.int64]) -> None:
    """Put the values of these ascending ranks in their places."""
    start = 0
    for rank in ranks:
        # numpy has vector code for one rank at a time, not for several.
        values[start:].partition(rank - start)
        start = rank + 1


def quantiles(
    values: npt.NDArray[Any], good: npt.NDArray[np.bool_] | None, fractions: Sequence[float]
) -> tuple[int, npt.NDArray[np.float64]]:
    """Count the finite values and interpolate their quantiles.

    Parameters
    ----------
    values : array, any shape
    good : array of bool, same shape, optional
        Which values count; those that are not finite never do.
    fractions : sequence of float
        Between 0 and 1.

    Returns
    -------
    n : int
    quantiles : array of float64, shape (fractions,)
        Interpolated linearly at ``fraction * (n - 1)``, as numpy does; NaN if n is 0.

    Raises
    ------
    ValueError
        If `good` has another shape than `values` or a fraction is outside 0 to 1.

    Notes
    -----
    Spec 3.3. float32 data are not copied; of other types a float64 copy is partitioned.
    """
    wanted = np.asarray(fractions, np.float64)
    if not np.all((wanted >= 0) & (wanted <= 1)):
        raise ValueError(f"quantiles are asked for between 0 and 1, not at {list(fractions)}")
    if good is not None and good.shape != values.shape:
        raise ValueError(f"values have shape {values.shape}, their flags {good.shape}")
    flat = np.ascontiguousarray(values).reshape(-1)
    flags = (
        np.empty(0, np.bool_) if good is None else np.ascontiguousarray(good, np.bool_).reshape(-1)
    )
    if flat.dtype == np.float32 and flat.size >= _FEW:
        bits = flat.view(np.uint32)
        upper = np.zeros(_BINS, np.int64)
        _count_upper(bits, flags, upper)
        n = int(upper.sum())
        position = wanted * (n - 1)
        rank = position.astype(np.int64)
        if n:
            both = np.concatenate([rank, np.minimum(rank + 1, n - 1)])
            low, high = np.split(_ranked(bits, flags, upper, both), 2)
    else:
        kept = (flat if good is None else flat[flags]).astype(np.float64, copy=False)
        finite = np.isfinite(kept)
        if not finite.all():
            kept = kept[finite]
        n = kept.size
        position = wanted * (n - 1)
        rank = position.astype(np.int64)
        if n:
            above = np.minimum(rank + 1, n - 1)
            kept = kept.copy() if kept is flat else kept
            _part(kept, np.unique(np.concatenate([rank, above])))
            low, high = kept[rank], kept[above]
    if n == 0:
        return 0, np.full(wanted.shape, np.nan)
    t = position - rank
    step = high - low
    # Both forms of the interpolation, each exact at its end: numpy does the same.
    return n, np.where(t < 0.5, low + step * t, high - step * (1.0 - t))
