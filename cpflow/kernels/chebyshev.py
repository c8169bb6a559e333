"""Smooth backgrounds: a two-dimensional Chebyshev polynomial fitted to bins (spec 4.9)."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from cpflow.kernels.background import BinnedImage


@dataclass(frozen=True, slots=True)
class ChebyshevSurface:
    """A sum of products of Chebyshev polynomials over the pixels of an image.

    Attributes
    ----------
    coefficients : array of float64, shape (degree + 1, degree + 1)
        Of ``T_j(v) T_i(u)`` at [j, i], in the unit of the image; u and v go from -1 to 1 between
        the outer edges of the image along x and y. Zero where ``i + j`` exceeds the degree.
    shape : (int, int)
        Rows and columns of the image.
    """

    coefficients: npt.NDArray[np.float64]
    shape: tuple[int, int]

    @property
    def degree(self) -> int:
        """Total degree."""
        return len(self.coefficients) - 1

    def evaluate(self, rows: slice | None = None) -> npt.NDArray[np.float32]:
        """Evaluate the surface at pixel centres.

        Parameters
        ----------
        rows : slice, optional
            Of the image; all by default. A row comes out the same whatever rows are asked for.

        Returns
        -------
        array of float32, shape (rows, columns)
        """
        chosen = range(self.shape[0])[rows or slice(None)]
        y, x = (_polynomials(np.arange(n), n, self.degree) for n in self.shape)
        surface = np.empty((len(chosen), self.shape[1]), np.float32)
        _evaluate(self.coefficients, y[:, chosen], x, surface)
        return surface


def terms(degree: int) -> npt.NDArray[np.int64]:
    """List the powers (j, i) along y and x of a polynomial of a total degree: 28 for 6."""
    return np.array([(j, i) for j in range(degree + 1) for i in range(degree + 1 - j)], np.int64)


def _polynomials(
    pixels: npt.NDArray[np.generic], size: int, degree: int
) -> npt.NDArray[np.float64]:
    """Chebyshev polynomials at pixel positions, shape (degree + 1, pixels)."""
    u = (2.0 * np.asarray(pixels, np.float64) + 1.0) / size - 1.0
    values = [np.ones_like(u), u]
    for _ in range(2, degree + 1):
        values.append(2.0 * u * values[-1] - values[-2])
    return np.ascontiguousarray(values[: degree + 1])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _evaluate(coefficients, y, x, surface):  # type: ignore[no-untyped-def]
    total = np.empty(surface.shape[1])
    size = np.uint64(surface.shape[1])
    for row in range(surface.shape[0]):
        total[:] = 0.0
        for i in range(coefficients.shape[1]):
            factor = 0.0
            for j in range(coefficients.shape[0] - i):
                factor += coefficients[j, i] * y[j, row]
            powers = x[i]
            for column in range(size):
                total[column] += factor * powers[column]
        line = surface[row]
        for column in range(size):
            line[column] = total[column]


def fit_chebyshev(binned: BinnedImage, degree: int = 6) -> ChebyshevSurface:
    """Fit a Chebyshev polynomial of a total degree to the bins of an image.

    Parameters
    ----------
    binned : BinnedImage
        Bins that are not finite are left out. Where a bin has no positive error, as the mean of
        a single pixel or of equal ones, it takes the median of the others' errors.
    degree : int
        Total degree. It is lowered where there are too few bins, along an axis or altogether.

    Returns
    -------
    ChebyshevSurface

    Raises
    ------
    ValueError
        If no bin is finite or the degree is negative.

    Notes
    -----
    Spec 4.9. Least squares of the differences divided by the standard errors; the reference takes
    the errors for variances and weighs by their inverse only.
    """
    if degree < 0:
        raise ValueError(f"a polynomial has no degree {degree}")
    good = np.isfinite(binned.values)
    if not good.any():
        raise ValueError("no bin has any usable pixel: there is no background to fit")
    shape = int(binned.y_edges[-1]), int(binned.x_edges[-1])
    errors = binned.errors[good]
    known = np.isfinite(errors) & (errors > 0)
    typical = float(np.median(errors[known])) if known.any() else 1.0
    weights = 1.0 / np.where(known, errors, typical)
    y_bins, x_bins = np.nonzero(good)
    # More degrees than distinct rows or columns of bins would not be determined.
    degree = min(degree, len(np.unique(y_bins)) - 1, len(np.unique(x_bins)) - 1)
    while True:
        powers = terms(degree)
        y = _polynomials(binned.y_centres[y_bins], shape[0], degree)
        x = _polynomials(binned.x_centres[x_bins], shape[1], degree)
        design = (y[powers[:, 0]] * x[powers[:, 1]]).T
        if len(powers) <= len(weights):
            solution, _, rank, _ = np.linalg.lstsq(
                design * weights[:, None], binned.values[good] * weights, rcond=None
            )
            if rank == len(powers):
                break
        degree -= 1
    coefficients = np.zeros((degree + 1, degree + 1))
    coefficients[powers[:, 0], powers[:, 1]] = solution
    return ChebyshevSurface(coefficients, shape)
