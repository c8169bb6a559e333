"""Subtraction of crosstalk between the amplifiers of a detector (spec 2.7; reference 4.3).

All arrays are (amp, y, x) in readout order, the readout corner of each amplifier at [0, 0]: what
was read at the same time is at the same place, and nothing is flipped. Coefficients are indexed
[source, target].
"""

from __future__ import annotations

from typing import Literal

import numba
import numpy as np
import numpy.typing as npt

from cpflow.kernels.masks import Mask

# Columns treated at once: 16 amplifiers of them as float64 stay in the second level cache.
_BLOCK = 512


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _subtrahend(image, background, linear, quadratic, out, subtract):  # type: ignore[no-untyped-def]
    amps, rows, columns = image.shape
    source = np.empty((amps, _BLOCK))
    total = np.empty(_BLOCK)
    for y in range(rows):
        for start in range(0, columns, _BLOCK):
            n = min(_BLOCK, columns - start)
            for s in range(amps):
                level, pixels, row = background[s], image[s, y, start : start + n], source[s]
                for x in range(n):
                    value = np.float64(pixels[x]) - level
                    row[x] = value if np.isfinite(value) else 0.0
            for t in range(amps):
                for x in range(n):
                    total[x] = 0.0
                # Always in the order of sources, and each pixel by itself: no sum depends on how
                # many rows there are.
                for s in range(amps):
                    c, q, row = linear[s, t], quadratic[s, t], source[s]
                    if c == 0.0:
                        continue
                    if q == 0.0:
                        for x in range(n):
                            total[x] += c * row[x]
                    else:
                        for x in range(n):
                            total[x] += (c + q * row[x]) * row[x]
                pixels = out[t, y, start : start + n]
                if subtract:
                    for x in range(n):
                        pixels[x] -= np.float32(total[x])
                else:
                    for x in range(n):
                        pixels[x] = np.float32(total[x])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _bright(image, least, used, out):  # type: ignore[no-untyped-def]
    amps, rows, columns = image.shape
    for y in range(rows):
        for s in range(amps):
            pixels, level = image[s, y], least[s]
            if not (pixels >= level).any():
                continue
            for t in range(amps):
                if used[s, t]:
                    for x in range(columns):
                        out[t, y, x] |= pixels[x] >= level


def _used(
    coefficients: npt.NDArray[np.float64],
    quadratic: npt.NDArray[np.float64] | None,
    valid: Mask | None,
    amps: int,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return linear and quadratic coefficients, zero where they are not used."""
    linear = np.array(coefficients, np.float64)
    square = np.zeros_like(linear) if quadratic is None else np.array(quadratic, np.float64)
    for name, matrix in (("coefficients", linear), ("quadratic", square), ("valid", valid)):
        if matrix is not None and matrix.shape != (amps, amps):
            raise ValueError(f"{name} of {matrix.shape} for {amps} amplifiers")
    unused = ~np.isfinite(linear) | (linear == 0) | np.eye(amps, dtype=bool)
    if valid is not None:
        unused |= ~valid
    linear[unused] = 0.0
    square[unused | ~np.isfinite(square)] = 0.0
    return linear, square


def _scalars(values: npt.ArrayLike, amps: int, name: str) -> npt.NDArray[np.float64]:
    levels = np.asarray(values, np.float64)
    if levels.shape not in ((), (amps,)):
        raise ValueError(f"{name} of {levels.shape} for {amps} amplifiers")
    return np.ascontiguousarray(np.broadcast_to(levels, (amps,)))


def _check(image: npt.NDArray[np.float32]) -> int:
    if image.ndim != 3 or image.dtype != np.float32:
        raise ValueError(f"want float32 (amp, y, x), not {image.dtype} of {image.shape}")
    return int(image.shape[0])


def crosstalk_subtrahend(
    image: npt.NDArray[np.float32],
    coefficients: npt.NDArray[np.float64],
    quadratic: npt.NDArray[np.float64] | None = None,
    valid: Mask | None = None,
    background: npt.ArrayLike = 0.0,
) -> npt.NDArray[np.float32]:
    """Compute what `subtract_crosstalk` subtracts.

    Parameters are those of `subtract_crosstalk`, and ``image - subtrahend`` is its result, bit for
    bit.

    Returns
    -------
    array of float32, shape (amp, y, x)
        In the unit of the image.
    """
    amps = _check(image)
    linear, square = _used(coefficients, quadratic, valid, amps)
    out = np.empty(image.shape, np.float32)
    _subtrahend(image, _scalars(background, amps, "background"), linear, square, out, False)
    return out


def subtract_crosstalk(
    image: npt.NDArray[np.float32],
    coefficients: npt.NDArray[np.float64],
    quadratic: npt.NDArray[np.float64] | None = None,
    valid: Mask | None = None,
    background: npt.ArrayLike = 0.0,
) -> None:
    """Subtract crosstalk in place.

    Parameters
    ----------
    image : array of float32, shape (amp, y, x)
        In readout order; changed. Any band of rows.
    coefficients : array of float64, shape (source amp, target amp)
        For the unit of the image, see `convert_coefficients`. Those that are zero or not finite
        are not used, nor is the diagonal.
    quadratic : array of float64, shape (source amp, target amp), optional
        Coefficients of the square, 1 over the unit of the image. Used where the linear one is.
    valid : array of bool, shape (source amp, target amp), optional
        Coefficients that may be used.
    background : array of float, shape (amp,), or float
        Subtracted from the sources before they are multiplied, in the unit of the image.

    Raises
    ------
    ValueError
        If the image is not float32 (amp, y, x), or a shape does not fit it.

    Notes
    -----
    ``I_t -= sum_s c[s, t] J_s + q[s, t] J_s**2`` with ``J_s = I_s - background_s``, all sources
    from the image as it was (spec 2.7, reference 4.3). Sources that are not finite add nothing.
    The sum is float64 in the order of sources, so a pixel does not depend on the rows around it.
    """
    amps = _check(image)
    linear, square = _used(coefficients, quadratic, valid, amps)
    _subtrahend(image, _scalars(background, amps, "background"), linear, square, image, True)


def mask_bright_sources(
    image: npt.NDArray[np.float32],
    coefficients: npt.NDArray[np.float64],
    level: float,
    valid: Mask | None = None,
    median: npt.ArrayLike = 0.0,
) -> Mask:
    """Find the pixels onto which a bright pixel of another amplifier leaks.

    Parameters
    ----------
    image : array of float32, shape (amp, y, x)
        As it was before the subtraction, in readout order.
    coefficients : array of float64, shape (source amp, target amp)
    level : float
        How bright, above the median of the amplifier (`minPixelToMask`), in the unit of the image.
    valid : array of bool, shape (source amp, target amp), optional
        As in `subtract_crosstalk`: only coefficients that are used count.
    median : array of float, shape (amp,), or float
        Of each amplifier; of the whole of it, if `image` is a band.

    Returns
    -------
    array of bool, shape (amp, y, x)
        True at the targets of sources at or above ``level + median``. NaN never is.

    Raises
    ------
    ValueError
        As `subtract_crosstalk` does.

    Notes
    -----
    Spec 2.7, ``doSubtrahendMasking`` off.
    """
    amps = _check(image)
    linear, _ = _used(coefficients, None, valid, amps)
    found = np.zeros(image.shape, np.bool_)
    _bright(image, level + _scalars(median, amps, "median"), linear != 0, found)
    return found


def mask_large_subtrahends(
    subtrahend: npt.NDArray[np.float32], level: float, median: npt.ArrayLike = 0.0
) -> Mask:
    """Find the pixels where much is subtracted.

    Parameters
    ----------
    subtrahend : array of float32, shape (amp, y, x)
        From `crosstalk_subtrahend`.
    level : float
        How much (`minPixelToMask`), in the unit of the subtrahend.
    median : array of float, shape (amp,), or float
        Median of each amplifier's subtrahend.

    Returns
    -------
    array of bool, shape (amp, y, x)
        Where ``abs(subtrahend - median) >= level``.

    Raises
    ------
    ValueError
        If the subtrahend is not float32 (amp, y, x) or there is not one median for each amplifier.

    Notes
    -----
    Spec 2.7, ``doSubtrahendMasking`` on.
    """
    amps = _check(subtrahend)
    found = np.empty(subtrahend.shape, np.bool_)
    for a, middle in enumerate(_scalars(median, amps, "median")):
        # Two comparisons in float64 limits, so that no array of differences is needed.
        found[a] = (subtrahend[a] >= middle + level) | (subtrahend[a] <= middle - level)
    return found


def convert_coefficients(
    coefficients: npt.NDArray[np.float64],
    quadratic: npt.NDArray[np.float64] | None,
    gains: npt.ArrayLike,
    to: Literal["adu", "electron"],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64] | None]:
    """Convert coefficients that relate electrons into those that relate adu, or the reverse.

    Parameters
    ----------
    coefficients : array of float64, shape (source amp, target amp)
    quadratic : array of float64, shape (source amp, target amp), optional
    gains : array of float, shape (amp,)
        Electron/adu. Where not finite or not positive the median of the others is taken.
    to : "adu" or "electron"
        The unit wanted; the coefficients given are for the other one.

    Returns
    -------
    coefficients, quadratic
        New arrays, or None if there is no `quadratic`.

    Raises
    ------
    ValueError
        If no gain is good, there is not one gain for each amplifier, or `to` is no unit.

    Notes
    -----
    A ghost of c_e g_s S_s + q_e (g_s S_s)**2 electrons, S_s in adu, is one of that over g_t adu:
    ``c_adu[s, t] = c_e[s, t] g_s / g_t`` (reference 4.3) and
    ``q_adu[s, t] = q_e[s, t] g_s**2 / g_t``.
    """
    gain = np.array(gains, np.float64)
    if coefficients.ndim != 2 or any(
        matrix is not None and matrix.shape != gain.shape * 2
        for matrix in (coefficients, quadratic)
    ):
        raise ValueError(f"coefficients of {coefficients.shape} and gains of {gain.shape}")
    good = np.isfinite(gain) & (gain > 0)
    if not good.any():
        raise ValueError("no gain is finite and positive, so coefficients cannot be converted")
    gain[~good] = np.median(gain[good])
    if to not in ("adu", "electron"):
        raise ValueError(f"crosstalk is in adu or electron, not in {to!r}")
    source = gain[:, None] if to == "adu" else 1 / gain[:, None]
    target = gain[None, :] if to == "adu" else 1 / gain[None, :]
    square = None if quadratic is None else quadratic * source**2 / target
    return coefficients * source / target, square
