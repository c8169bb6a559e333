"""From area coefficients of the brighter-fatter effect to its kernel (spec 3.2, 3.3)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cpflow.kernels.poisson import solve_poisson

Floats = npt.NDArray[np.float64]


def kernel_from_area(
    area: npt.NDArray[np.float64],
    errors: npt.NDArray[np.float64] | None = None,
    *,
    force_zero_sum: bool = True,
) -> tuple[Floats, Floats, Floats, Floats, float]:
    """Solve ``laplacian(K) = -a`` on the mirrored lags and one more pixel, with K = 0 outside.

    Parameters
    ----------
    area : array of float64, shape (r, r)
        Area coefficients, 1/electron, indexed [lag x, lag y].
    errors : array of float64, shape (r, r), optional
        Their standard errors, independent.
    force_zero_sum : bool
        Give the centre the value that makes the sum zero: charge moves, none is lost.

    Returns
    -------
    kernel, kernel_errors, pre_kernel, pre_kernel_errors : array of float64, shape (2r+1, 2r+1)
    total : float
        Sum of the pre-kernel before it was forced to zero.

    Notes
    -----
    Spec 3.2 steps 5 and 6, and 3.3. The correlation model of the reference, which acts on kernels
    of more than 100 pixels only, is not there.
    """
    side = area.shape[0]
    sigma = np.full(area.shape, np.nan) if errors is None else errors
    # What each independent lag does to the pre-kernel; all is linear in the lags.
    responses = _responses(side, force_zero_sum)
    pre_kernel = np.tensordot(-area.ravel(), responses, axes=1)
    total = float(-(area * _multiplicity(side)).sum())
    pre_errors = np.sqrt(np.tensordot(sigma.ravel() ** 2, responses**2, axes=1))
    solved = solve_poisson(responses)
    kernel_errors = np.sqrt(np.tensordot(sigma.ravel() ** 2, solved**2, axes=1))
    return solve_poisson(pre_kernel), kernel_errors, pre_kernel, pre_errors, total


def _multiplicity(side: int) -> Floats:
    weights = np.full((side, side), 4.0)
    weights[0, :] = weights[:, 0] = 2.0
    weights[0, 0] = 1.0
    return weights


def _responses(side: int, force_zero_sum: bool) -> Floats:
    """Return the mirrored, padded pre-kernel of each lag by itself, shape (r * r, 2r+1, 2r+1)."""
    out = np.zeros((side * side, 2 * side + 1, 2 * side + 1))
    for index, (i, j) in enumerate(np.ndindex(side, side)):
        for x in (side - i, side + i):
            for y in (side - j, side + j):
                out[index, x, y] = 1.0
    if force_zero_sum:
        out[:, side, side] -= _multiplicity(side).ravel()
    return out
