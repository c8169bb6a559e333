"""One pass of a brighter-fatter correction over rows (reference 3.4).

The potential is a direct convolution, summed for each pixel in the order of the kernel's rows and
columns: a Fourier transform would let all pixels take part in the rounding of each.
"""

from __future__ import annotations

import numba
import numpy as np

# Columns at once: the sums and the pixels of a few taps stay in the first level cache.
_BLOCK = 512


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _mirror(i, n):  # type: ignore[no-untyped-def]
    return -i if i < 0 else (2 * (n - 1) - i if i >= n else i)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _load(image, correction, y, half, row):  # type: ignore[no-untyped-def]
    columns = image.shape[1]
    inner, pixels, added = row[half : half + columns], image[y], correction[y]
    for x in range(columns):
        inner[x] = np.float64(pixels[x]) + np.float64(added[x])
    for k in range(1, half + 1):
        row[half - k] = inner[k]
        row[half + columns - 1 + k] = inner[columns - 1 - k]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _convolve(charge, y, rows, taps, out):  # type: ignore[no-untyped-def]
    size_y, size_x = taps.shape
    for start in range(0, out.shape[0], _BLOCK):
        n = min(_BLOCK, out.shape[0] - start)
        total = out[start : start + n]
        for x in range(n):
            total[x] = 0.0
        for j in range(size_y):
            row = charge[_mirror(y + j - size_y // 2, rows) % charge.shape[0]]
            i = 0
            # Four taps for each load and store of the sum; the order of additions is that of one
            # tap after the other.
            while i + 4 <= size_x:
                k0, k1, k2, k3 = taps[j, i], taps[j, i + 1], taps[j, i + 2], taps[j, i + 3]
                a = row[start + i : start + i + n]
                b = row[start + i + 1 : start + i + 1 + n]
                c = row[start + i + 2 : start + i + 2 + n]
                d = row[start + i + 3 : start + i + 3 + n]
                for x in range(n):
                    total[x] = (((total[x] + k0 * a[x]) + k1 * b[x]) + k2 * c[x]) + k3 * d[x]
                i += 4
            while i < size_x:
                k0 = taps[j, i]
                a = row[start + i : start + i + n]
                for x in range(n):
                    total[x] += k0 * a[x]
                i += 1


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _divergence(below, charge, above, phi_below, phi, phi_above, out):  # type: ignore[no-untyped-def]
    for x in range(1, out.shape[0] - 1):
        gradients = (charge[x + 1] - charge[x - 1]) * (phi[x + 1] - phi[x - 1])
        gradients += (above[x] - below[x]) * (phi_above[x] - phi_below[x])
        second = (phi[x + 1] + phi[x - 1]) + (phi_above[x] + phi_below[x]) - 4.0 * phi[x]
        out[x] = 0.5 * (0.25 * gradients + charge[x] * second)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _moved(lower, upper, phi_lower, phi_upper):  # type: ignore[no-untyped-def]
    step = phi_upper - phi_lower
    return 0.5 * step * (lower if step > 0.0 else upper)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _exchange(below, charge, above, phi_below, phi, phi_above, out, start, end):  # type: ignore[no-untyped-def]
    columns = out.shape[0]
    for x in range(columns):
        back = 0.0
        if x < columns - 1:
            back += _moved(charge[x], charge[x + 1], phi[x], phi[x + 1])
        if x > 0:
            back -= _moved(charge[x - 1], charge[x], phi[x - 1], phi[x])
        if not end:
            back += _moved(charge[x], above[x], phi[x], phi_above[x])
        if not start:
            back -= _moved(below[x], charge[x], phi_below[x], phi[x])
        out[x] = back


@numba.njit(cache=True, nogil=True, error_model="numpy")
def correct_rows(image, correction, taps, first, last, conserving):  # type: ignore[no-untyped-def]
    """Replace the correction of rows `first` to `last` - 1 by the next one.

    Parameters
    ----------
    image, correction : array of float32, shape (rows, columns)
        Their sum is the charge that the new correction is computed from. Beyond the edges charge
        goes on as in a mirror.
    taps : array of float64, shape (size y, size x)
        The kernel turned by 180 degrees. Both sizes are odd, and no larger than the image.
    first, last : int
        Rows.
    conserving : bool
        Exchange charge across faces of pixels, up to the edges, rather than differentiate, which
        leaves out half a kernel and one pixel at the left and the right.

    Returns
    -------
    float
        Sum over the rows of the absolute change.
    """
    rows, columns = image.shape
    half_y, half = taps.shape[0] // 2, taps.shape[1] // 2
    # A row is corrected only when all rows that its neighbours' potentials need have been copied
    # from `correction`, so that one array is enough.
    depth = taps.shape[0] + 2
    charges = np.empty((depth, columns + 2 * half))
    potentials = np.empty((3, columns))
    new = np.zeros(columns)
    margin = 0 if conserving else half + 1
    total = 0.0
    potential_row = max(first - 1, 0)
    charge_row = max(potential_row - half_y, 0)
    for y in range(first, last):
        while potential_row <= min(y + 1, rows - 1):
            while charge_row <= min(potential_row + half_y, rows - 1):
                _load(image, correction, charge_row, half, charges[charge_row % depth])
                charge_row += 1
            _convolve(charges, potential_row, rows, taps, potentials[potential_row % 3])
            potential_row += 1
        before, after = _mirror(y - 1, rows), _mirror(y + 1, rows)
        below = charges[before % depth, half : half + columns]
        charge = charges[y % depth, half : half + columns]
        above = charges[after % depth, half : half + columns]
        phi_below, phi, phi_above = (
            potentials[before % 3],
            potentials[y % 3],
            potentials[after % 3],
        )
        if conserving:
            start, end = y == 0, y == rows - 1
            _exchange(below, charge, above, phi_below, phi, phi_above, new, start, end)
        else:
            _divergence(below, charge, above, phi_below, phi, phi_above, new)
        stored = correction[y]
        for x in range(margin, columns - margin):
            value = np.float32(new[x])
            total += abs(np.float64(value) - np.float64(stored[x]))
            stored[x] = value
    return total
