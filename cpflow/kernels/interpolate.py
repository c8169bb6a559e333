"""Replace bad pixels from their neighbours in the row (spec 2.13)."""

from __future__ import annotations

from functools import lru_cache

import numba
import numpy as np
import numpy.typing as npt

# Donors on each side of a run, at most.
_DONORS = 2
# Farther than this from an edge of its run a pixel no longer feels where exactly it is.
_EDGE = 6
# Longer runs are put together from the two halves of one of this length.
_LONGEST = 2 * _EDGE
_DECIMALS = 4


def _kriging(
    donors: npt.NDArray[np.float64], targets: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Weights of ordinary kriging with covariance ``exp(-d**2/4)``, shape (targets, donors).

    The covariance matrix is bordered by the condition that the weights of a target add up to 1.
    """
    n = len(donors)
    system = np.ones((n + 1, n + 1))
    system[n, n] = 0.0
    system[:n, :n] = np.exp(-((donors[:, None] - donors) ** 2) / 4)
    right = np.ones((n + 1, len(targets)))
    right[:n] = np.exp(-((donors[:, None] - targets) ** 2) / 4)
    return np.asarray(np.linalg.solve(system, right)[:n].T)


@lru_cache(maxsize=1)
def interpolation_weights() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Tabulate the weights of the donors of a run of bad pixels.

    Returns
    -------
    near : array of float64, shape (3, 3, 13, 12, 4)
        Indexed by the donors on the left and on the right (0 to 2), the length of the run, and the
        pixel in it, from the left. The last axis is outer left, inner left, inner right, outer
        right; donors that are not there weigh 0.
    far : array of float64, shape (3, 3, 4)
        The same for pixels far from both edges of a longer run.

    Notes
    -----
    Spec 2.13: rounded to 4 decimals, as the reference's tables are. One bad pixel between two and
    two donors: -0.2737, 0.7737, 0.7737, -0.2737.
    """
    near = np.zeros((3, 3, _LONGEST + 1, _LONGEST, 2 * _DONORS))
    far = np.zeros((3, 3, 2 * _DONORS))
    for left in range(_DONORS + 1):
        for right in range(_DONORS + 1):
            if left + right == 0:
                continue
            used = slice(_DONORS - left, _DONORS + right)
            for length in range(1, _LONGEST + 1):
                places = np.array([-2.0, -1.0, length, length + 1.0])[used]
                pixels = np.arange(float(length))
                near[left, right, length, :length, used] = _kriging(places, pixels)
            # Two sides that do not know each other, and a target that knows neither.
            places = np.array([-2.0, -1.0, 1e3, 1e3 + 1])[used]
            far[left, right, used] = _kriging(places, np.array([500.0]))[0]
    near, far = np.round(near, _DECIMALS), np.round(far, _DECIMALS)
    near.setflags(write=False)
    far.setflags(write=False)
    return near, far


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _fill(values, first, stop, left, right, near, far):  # type: ignore[no-untyped-def]
    """Interpolate ``values[first:stop]`` from `left` and `right` donors next to it."""
    length = stop - first
    for i in range(length):
        if length <= _LONGEST:
            weights = near[left, right, length, i]
        elif i < _EDGE:
            weights = near[left, right, _LONGEST, i]
        elif length - i <= _EDGE:
            weights = near[left, right, _LONGEST, _LONGEST - (length - i)]
        else:
            weights = far[left, right]
        total = 0.0
        for donor in range(left):
            total += weights[1 - donor] * np.float64(values[first - 1 - donor])
        for donor in range(right):
            total += weights[2 + donor] * np.float64(values[stop + donor])
        values[first + i] = total


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _repair(image, variance, bad, fallback, near, far):  # type: ignore[no-untyped-def]
    rows, columns = image.shape
    with_variance = variance.shape[0] > 0
    for y in range(rows):
        x = 0
        while x < columns:
            if not bad[y, x]:
                x += 1
                continue
            first = x
            while x < columns and bad[y, x]:
                x += 1
            stop = x
            if first == 0 and stop == columns:
                image[y, :] = fallback[y]
                break
            # What is too far inside from a border takes the fallback, and then is a donor itself.
            begin, end = first, stop
            if first == 0 and stop > _EDGE:
                begin = stop - _EDGE
                image[y, :begin] = fallback[y]
                if with_variance:
                    variance[y, :begin] = variance[y, stop]
            elif stop == columns and columns - first > _EDGE:
                end = first + _EDGE
                image[y, end:] = fallback[y]
                if with_variance:
                    variance[y, end:] = variance[y, first - 1]
            left = min(begin, _DONORS)
            if left == _DONORS and begin == first and bad[y, begin - 2]:
                left = 1
            right = min(columns - end, _DONORS)
            if right == _DONORS and end == stop and bad[y, end + 1]:
                right = 1
            _fill(image[y], begin, end, left, right, near, far)
            if with_variance:
                _fill(variance[y], begin, end, left, right, near, far)


def interpolate_rows(
    image: npt.NDArray[np.float32],
    variance: npt.NDArray[np.float32] | None,
    bad: npt.NDArray[np.bool_],
    fallback: float | npt.NDArray[np.float32],
) -> None:
    """Interpolate bad pixels along the rows, in place.

    Parameters
    ----------
    image : array of float32, shape (rows, columns)
    variance : array of float32, shape (rows, columns), optional
        Interpolated with the same weights, not squared, as the reference does.
    bad : array of bool, shape (rows, columns)
        Pixels to replace; their values do not matter.
    fallback : float or array of float32, shape (rows,)
        What pixels take that are more than 6 from the good side of a run that touches the border,
        and all pixels of a row that is bad throughout. May be NaN, which the 6 pixels next to it
        then become too.

    Raises
    ------
    ValueError
        If the arrays are not float32 or their shapes differ.

    Notes
    -----
    Spec 2.13. The donors of a run are the two nearest pixels on each side, or one where the second
    is bad or off the image; the weights are `interpolation_weights`. Where the image takes the
    fallback, which says nothing of a variance, the variance takes that of the nearest good pixel;
    in a row without any it stays as it is.
    """
    if image.ndim != 2 or bad.shape != image.shape:
        raise ValueError(f"an image of shape {image.shape} has flags of shape {bad.shape}")
    if variance is not None and variance.shape != image.shape:
        raise ValueError(f"an image of shape {image.shape} has a variance of {variance.shape}")
    if image.dtype != np.float32 or (variance is not None and variance.dtype != np.float32):
        raise ValueError("image and variance have to be float32")
    levels = np.broadcast_to(np.asarray(fallback, np.float32), image.shape[:1])
    touched = np.flatnonzero(bad.any(axis=1))
    if len(touched) == 0:
        return
    # Only the rows with bad pixels are copied, so that any memory order will do.
    part = image[touched]
    part_variance = np.empty((0, 0), np.float32) if variance is None else variance[touched]
    _repair(
        part,
        part_variance,
        np.ascontiguousarray(bad[touched], np.bool_),
        levels[touched],
        *interpolation_weights(),
    )
    image[touched] = part
    if variance is not None:
        variance[touched] = part_variance
