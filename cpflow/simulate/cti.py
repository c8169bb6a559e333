"""Serial charge-transfer inefficiency: what a pixel leaves behind for those read after it."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.special import gammaln

from cpflow.options import Options

_TAIL = 8


class SerialCti(Options):
    """Deferred charge of the serial register (Snyder et al. 2021, JATIS 7, 048002)."""

    inefficiency: float = 1e-6
    """Fraction of the charge that each transfer leaves behind."""
    drift_scale: float = 0.0
    """Local offset: fraction of a signal that the output keeps for the next pixels."""
    drift_decay: float = 2.4
    """Pixels in which the local offset decays by a factor e."""
    trap_size: float = 0.0
    """Electrons that the trap at the end of the register holds at most."""
    trap_signal: float = 2e4
    """Electrons in a pixel that fill the trap to 1 - 1/e."""
    trap_decay: float = 2.0
    """Pixels in which the trap releases a fraction 1 - 1/e."""


def defer(signal: NDArray[np.float32], model: SerialCti) -> NDArray[np.float32]:
    """Defer charge along the rows of a raw area in readout order.

    1. Transfers: column i (from 0) is shifted i + 1 times, and each shift leaves a fraction b
       behind. The part that arrives k pixels late is negative binomial,
       ``C(i + k, k) b^k (1 - b)^(i + 1)``; k beyond 8 is left out.
    2. Trap: of occupancy o, it releases ``R = (1 - exp(-1 / trap_decay)) o``, then fills up to
       ``T(u) = trap_size (1 - exp(-u / trap_signal))``.
    3. Local offset: ``drift_scale * max over j >= 0 of u[x - j] exp(-j / drift_decay)`` is added.

    Parameters
    ----------
    signal : ndarray of float32 (row, column)
        Electrons in a whole raw area, overscan included.
    model : SerialCti
        Sizes.

    Returns
    -------
    ndarray of float32 (row, column)
    """
    out = signal.astype(np.float64)
    if model.inefficiency > 0:
        out = _transfer(out, tail_weights(signal.shape[1], model.inefficiency))
    if model.trap_size > 0:
        kept = float(np.exp(-1 / model.trap_decay))
        _trap(out, model.trap_size, model.trap_signal, kept)
    if model.drift_scale > 0:
        _drift(out, model.drift_scale, float(np.exp(-1 / model.drift_decay)))
    return out.astype(np.float32)


def tail_weights(columns: int, inefficiency: float) -> NDArray[np.float64]:
    """Return ``C(i + k, k) b^k (1 - b)^(i + 1)`` as an array (column i, delay k)."""
    i = np.arange(columns)[:, None]
    k = np.arange(_TAIL + 1)[None, :]
    choose = gammaln(i + k + 1) - gammaln(i + 1) - gammaln(k + 1)
    logs = choose + k * np.log(inefficiency) + (i + 1) * np.log1p(-inefficiency)
    return np.asarray(np.exp(logs), np.float64)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _transfer(signal: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    rows, columns = signal.shape
    out = np.zeros_like(signal)
    for y in range(rows):
        for i in range(columns):
            if signal[y, i] != 0.0:
                for k in range(min(weights.shape[1], columns - i)):
                    out[y, i + k] += signal[y, i] * weights[i, k]
    return out


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _trap(signal: NDArray[np.float64], size: float, scale: float, kept: float) -> None:
    for y in range(signal.shape[0]):
        held = 0.0
        for x in range(signal.shape[1]):
            released = (1.0 - kept) * held
            held -= released
            wanted = size * (1.0 - np.exp(-max(signal[y, x], 0.0) / scale))
            caught = max(0.0, wanted - held)
            held += caught
            signal[y, x] += released - caught


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _drift(signal: NDArray[np.float64], scale: float, kept: float) -> None:
    for y in range(signal.shape[0]):
        offset = 0.0
        for x in range(signal.shape[1]):
            offset = max(scale * max(signal[y, x], 0.0), offset * kept)
            signal[y, x] += offset
