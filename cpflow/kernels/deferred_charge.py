"""Charge that the serial register and the output deferred, put back (spec 2.9).

Every row is corrected by itself, from the readout corner on, in electrons. The model is that of
Snyder et al. 2021 (JATIS 7, 048002): each transfer leaves a fraction behind, a trap at the end of
the register takes charge and releases it later, and the output keeps a part of a signal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

#: Pixels that charge left behind by transfers is followed over. What comes later is of the order
#: ``(columns * inefficiency)**9 / 9!``.
TAIL = 8


@dataclass(frozen=True, slots=True)
class SerialTransfer:
    """How one amplifier's register defers charge. A size of 0, or NaN, switches a part off.

    Attributes
    ----------
    inefficiency : float
        Fraction b of the charge that each transfer leaves behind: the global CTI.
    drift_scale : float
        Local offset: fraction A of a signal that the output adds to the pixels after it.
    drift_decay : float
        Pixels in which the local offset decays by a factor e.
    trap_size : float
        Electrons that the trap holds at most.
    trap_signal : float
        Electrons u in a pixel that fill it to 1 - 1/e:
        ``T(u) = trap_size (1 - exp(-u / trap_signal))``.
    trap_decay : float
        Pixels in which the trap releases 1 - 1/e of what it holds.
    """

    inefficiency: float = 0.0
    drift_scale: float = 0.0
    drift_decay: float = np.nan
    trap_size: float = 0.0
    trap_signal: float = np.nan
    trap_decay: float = np.nan


def transfer_weights(columns: int, inefficiency: float, first: int = 0) -> npt.NDArray[np.float64]:
    """Return where the charge of each column arrives: on time, or 1, 2 ... pixels late.

    Parameters
    ----------
    columns : int
    inefficiency : float
        Fraction b left behind by each transfer.
    first : int
        Columns that are read out before the first of these, prescan included.

    Returns
    -------
    array of float64, shape (columns, 9)
        ``C(i + k, k) b**k (1 - b)**(i + 1)`` for the raw column ``i = first + x``, which is
        transferred i + 1 times, and a delay of k pixels: negative binomial.
    """
    i = np.arange(first, first + columns, dtype=np.float64)
    out = np.empty((columns, TAIL + 1))
    out[:, 0] = (1 - inefficiency) ** (i + 1)
    for k in range(1, TAIL + 1):
        # By ratios and not by logarithms, so that a fit may step to a negative b.
        out[:, k] = out[:, k - 1] * (i + k) / k * inefficiency
    return out


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _correct(image, gain, weights, drift, size, signal, kept, shared, put_back):  # type: ignore[no-untyped-def]
    rows, columns = image.shape
    row = np.empty(columns)
    held = np.empty(columns)
    for y in range(rows):
        for x in range(columns):
            value = np.float64(image[y, x]) * gain
            row[x] = value if np.isfinite(value) else 0.0
        if drift.shape[0] > 0:
            # From the end, so that each pixel sees those before it as they were read.
            for x in range(columns - 1, -1, -1):
                offset = 0.0
                for j in range(min(drift.shape[0], x + 1)):
                    offset = max(offset, drift[j] * row[x - j])
                row[x] -= offset
        if size > 0.0:
            for x in range(columns):
                held[x] = size * -np.expm1(-max(row[x], 0.0) / signal)
            ratio = kept[1]
            for x in range(columns):
                occupancy = 0.0
                for j in range(min(kept.shape[0] - 1, x)):
                    occupancy = max(occupancy, held[x - j - 1] * kept[j])
                captured = max(0.0, held[x] - ratio * occupancy)
                row[x] -= shared * ((1.0 - ratio) * occupancy - captured)
        if put_back:
            # The transfers are a triangular system: each row of it gives one pixel.
            for x in range(columns):
                value = row[x]
                for k in range(1, min(weights.shape[1], x + 1)):
                    value -= weights[x - k, k] * row[x - k]
                row[x] = value / weights[x, 0]
        for x in range(columns):
            if np.isfinite(image[y, x]):
                image[y, x] = np.float32(row[x] / gain)


def restore_deferred_charge(
    image: npt.NDArray[np.float32],
    registers: Sequence[SerialTransfer],
    first: int = 0,
    gains: npt.ArrayLike = 1.0,
    *,
    transfers: bool = True,
    offset_pixels: int = 15,
    trap_pixels: int = 6,
) -> None:
    """Put deferred charge back where it was collected, in place.

    Parameters
    ----------
    image : array of float32, shape (amp, rows, columns)
        Imaging columns in readout order, the readout corner at [0, 0]; changed. Any band of rows.
    registers : sequence of SerialTransfer
        One for each amplifier.
    first : int
        Columns that are read out before the first imaging column: the prescan. They hold no charge.
    gains : array of float, shape (amp,), or float
        Electron per unit of the image: 1 for electrons.
    transfers : bool
        Put back what the transfers left behind. The reference does not: its global CTI b only
        enters as a factor 1 - b of the trap.
    offset_pixels, trap_pixels : int
        How many pixels the local offset and the trap are followed over.

    Raises
    ------
    ValueError
        If the image is not float32 (amp, rows, columns), there is not one register and one positive
        gain for each amplifier, or a number of pixels is not positive.

    Notes
    -----
    Spec 2.9, reference 5. With u in electrons, A the drift scale, tau the drift decay, T(u) what
    the trap takes, ``r = exp(-1 / trap_decay)`` and b the inefficiency, in this order:

    1. ``u -= max over j = 0..14 of A max(0, u[x-j]) exp(-j/tau)``;
    2. ``o = max over j = 0..5 of T(u[x-j-1]) r**j``, ``C = max(0, T(u) - r o)``,
       ``R = (1 - r) o``, ``u -= (1 - b) (R - C)``;
    3. the transfers are solved for exactly (`transfer_weights`). A negative b, which a fit may
       find for none, is taken for 0.

    Steps 1 and 2 take the pixels as they were read for what was collected; the error is of the
    order of A**2. Pixels that are not finite stay, and count as empty.
    """
    if image.ndim != 3 or image.dtype != np.float32:
        raise ValueError(f"want float32 (amp, rows, columns), not {image.dtype} of {image.shape}")
    factors = np.broadcast_to(np.asarray(gains, np.float64), (len(image),))
    if len(registers) != len(image) or not (np.isfinite(factors) & (factors > 0)).all():
        raise ValueError(
            f"{len(image)} amplifiers need as many registers ({len(registers)}) and positive gains"
        )
    if min(offset_pixels, trap_pixels) < 1:
        raise ValueError("local offset and trap are followed over one pixel or more")
    for area, register, gain in zip(image, registers, factors, strict=True):
        b = register.inefficiency if register.inefficiency > 0 else 0.0
        drift = np.zeros(0)
        if register.drift_scale > 0 and register.drift_decay > 0:
            steps = np.exp(-np.arange(offset_pixels) / register.drift_decay)
            drift = register.drift_scale * steps
        trapped = register.trap_size > 0 and register.trap_signal > 0 and register.trap_decay > 0
        kept = np.exp(-np.arange(trap_pixels + 1) / register.trap_decay) if trapped else np.zeros(2)
        if b == 0 and len(drift) == 0 and not trapped:
            continue
        _correct(
            area,
            float(gain),
            transfer_weights(image.shape[2], b, first),
            drift,
            register.trap_size if trapped else 0.0,
            register.trap_signal,
            kept,
            1.0 - b,
            transfers and b > 0,
        )
