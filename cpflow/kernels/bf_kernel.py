"""The kernel of the brighter-fatter effect from the covariances of flats (spec 3.1-3.3)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cpflow.kernels.bf_area import kernel_from_area
from cpflow.kernels.bf_covariances import AmplifierCovariances, Floats, area_points
from cpflow.kernels.bf_prekernel import (
    Method,
    average_points,
    combine_matrices,
    fit_points,
    modelled_area,
)
from cpflow.kernels.bf_validity import LEAST_SIDE, kernel_fault
from cpflow.kernels.masks import Mask
from cpflow.kernels.statistics import clipped_statistics

__all__ = [
    "AmplifierCovariances",
    "BrighterFatterKernel",
    "average_kernels",
    "image_kernel",
    "solve_bf_kernel",
]


@dataclass(frozen=True, slots=True)
class BrighterFatterKernel:
    """Kernel of an amplifier or a detector, indexed [x, y]: transposed to images.

    Attributes
    ----------
    kernel : array of float64, shape (2r+1, 2r+1)
        1/electron; `image_kernel` turns it to convolve images with. Zero where nothing was usable.
    kernel_errors : array of float64, shape (2r+1, 2r+1)
        Standard errors from those of the pre-kernel, whose lags are independent; NaN if unknown.
    pre_kernel : array of float64, shape (2r+1, 2r+1)
        Laplacian of the kernel: minus the area coefficients. Zero at the outer ring.
    pre_kernel_errors : array of float64, shape (2r+1, 2r+1)
        Standard errors; with the sum forced to zero, that of the centre follows from all others.
    total : float
        Sum of the pre-kernel before it was forced to zero, 1/electron.
    used : tuple of array of bool, shape (pairs,)
        Pairs that were usable, for each amplifier given; none of those ignored.
    valid : bool
    reason : str
        Why it is not valid; empty if it is.
    """

    kernel: Floats
    kernel_errors: Floats
    pre_kernel: Floats
    pre_kernel_errors: Floats
    total: float
    used: tuple[Mask, ...]
    valid: bool
    reason: str


def image_kernel(kernel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Turn a kernel indexed [x, y] into one to convolve images with, which are indexed [y, x].

    Parameters
    ----------
    kernel : array of float64, shape (side, side)

    Returns
    -------
    array of float64, shape (side, side)
        A copy, C-contiguous (spec 8, Q14).
    """
    return np.ascontiguousarray(kernel.T)


def solve_bf_kernel(
    amplifiers: AmplifierCovariances | Sequence[AmplifierCovariances],
    *,
    method: Method = "average",
    side: int | None = None,
    ignored: Collection[int] = (),
    clip: float = 5.0,
    weighted: bool = True,
    model_flux: float = 25_000.0,
    force_zero_sum: bool = True,
    edge_sigma: float = 5.0,
    largest_positive: float = 0.025,
) -> BrighterFatterKernel:
    """Solve for the kernel of one amplifier, or of a detector from all its amplifiers.

    Parameters
    ----------
    amplifiers : AmplifierCovariances or sequence of them
        Several are pooled: they share one kernel, and each pair counts as its error says.
    method : str
        ``"average"``: clipped mean over pairs of covariance over flux squared; ``"quadratic"``:
        slope of the covariance against flux squared; ``"a_matrix"``: coefficients as fitted;
        ``"covariance_model"``: the model at the pair nearest to `model_flux`.
    side : int, optional
        Lags r along each axis; those measured (or fitted, for ``"a_matrix"``) if not given.
    ignored : collection of int
        Positions of amplifiers to leave out.
    clip : float
        In standard deviations, for means over pairs or amplifiers.
    weighted : bool
        Weigh pairs of ``"average"`` by 1/error**2. The reference weighs all alike, so that its
        faintest flats make most of the noise.
    model_flux : float
        Electrons.
    force_zero_sum : bool
        For amplifiers and detectors alike (spec 8, Q12).
    edge_sigma, largest_positive : float
        Of `kernel_fault`.

    Returns
    -------
    BrighterFatterKernel
        Not valid, with zeros, where nothing is usable.

    Raises
    ------
    ValueError
        If there is no amplifier, matrices are missing or too small, only some amplifiers have
        errors, or the kernel would be smaller than 7 pixels.
    """
    amps = [amplifiers] if isinstance(amplifiers, AmplifierCovariances) else list(amplifiers)
    kept = [index for index in range(len(amps)) if index not in ignored]
    lags = _common_side(amps, method, side)
    used = [np.zeros(amp.mask.shape, np.bool_) for amp in amps]
    empty = np.zeros((2 * lags + 1, 2 * lags + 1))
    unknown = np.full(empty.shape, np.nan)
    faults = [_fault_of(amps[index]) for index in kept]
    good = [amps[index] for index, fault in zip(kept, faults, strict=True) if fault is None]
    if not good:
        reason = (faults[0] or "") if faults else "all amplifiers are ignored"
        return BrighterFatterKernel(
            empty, unknown, empty.copy(), unknown.copy(), np.nan, tuple(used), False, reason
        )
    # A fit may have more lags than were measured.
    points = [area_points(amp, min(lags, amp.covariances.shape[1])) for amp in good]
    for index, of_amp in zip([i for i in kept if _fault_of(amps[i]) is None], points, strict=True):
        used[index] = of_amp.used
    given = [amp.covariance_errors is not None for amp in good]
    if any(given) and not all(given):
        raise ValueError("either all amplifiers have covariance errors or none has")
    if method == "average":
        area, errors = average_points(points, clip=clip, weighted=weighted, absolute=all(given))
    elif method == "quadratic":
        area, errors = fit_points(points, absolute=all(given))
    elif method == "a_matrix":
        area, errors = _fitted(good, lags, clip)
    else:
        pairs = zip(good, points, strict=True)
        table = np.stack([modelled_area(amp, p, lags, model_flux) for amp, p in pairs])
        area, errors = combine_matrices(table, None, clip)
    if not np.isfinite(area).all():
        few = "fewer than three pairs" if method == "quadratic" else "no pair of flats"
        reason = "the fitted matrix is not finite" if method == "a_matrix" else f"{few} usable"
        return BrighterFatterKernel(
            empty, unknown, empty.copy(), unknown.copy(), np.nan, tuple(used), False, reason
        )
    solved = kernel_from_area(area, errors, force_zero_sum=force_zero_sum)
    fault = kernel_fault(solved[0], edge_sigma=edge_sigma, largest_positive=largest_positive)
    return BrighterFatterKernel(*solved, tuple(used), fault is None, fault or "")


def average_kernels(
    kernels: npt.NDArray[np.float64],
    valid: Mask,
    ignored: Collection[int] = (),
    *,
    clip: float = 5.0,
) -> npt.NDArray[np.float64]:
    """Average the kernels of amplifiers, element by element (spec 3.3).

    Parameters
    ----------
    kernels : array of float64, shape (amp, side, side)
    valid : array of bool, shape (amp,)
    ignored : collection of int
        Positions of amplifiers to leave out.
    clip : float
        In standard deviations; 3 passes.

    Returns
    -------
    array of float64, shape (side, side)
        NaN without a valid amplifier.
    """
    chosen = [i for i in np.flatnonzero(valid) if int(i) not in ignored]
    out = np.full(kernels.shape[1:], np.nan)
    for element in np.ndindex(out.shape):
        out[element] = clipped_statistics(kernels[chosen][:, *element], clip=clip).mean
    return out


def _fitted(amps: Sequence[AmplifierCovariances], side: int, clip: float) -> tuple[Floats, Floats]:
    fits = [amp.a_matrix[:side, :side] for amp in amps if amp.a_matrix is not None]
    errors = [amp.a_errors[:side, :side] for amp in amps if amp.a_errors is not None]
    if errors and len(errors) < len(fits):
        raise ValueError("either all amplifiers have errors of the matrix or none has")
    return combine_matrices(np.stack(fits), np.stack(errors) if errors else None, clip)


def _common_side(amps: Sequence[AmplifierCovariances], method: Method, side: int | None) -> int:
    if not amps:
        raise ValueError("there is no amplifier")
    if method not in ("average", "quadratic", "a_matrix", "covariance_model"):
        raise ValueError(f"there is no method {method!r}")
    sides = []
    for amp in amps:
        if method == "a_matrix" and amp.a_matrix is None:
            raise ValueError("an amplifier has no fitted matrix")
        if method == "covariance_model" and amp.model is None:
            raise ValueError("an amplifier has no covariance model")
        if method == "a_matrix" and amp.a_matrix is not None:
            sides.append(amp.a_matrix.shape[0])
        else:
            sides.append(amp.covariances.shape[1])
    wanted = min(sides) if side is None else side
    if wanted > min(sides) or 2 * wanted + 1 < LEAST_SIDE:
        raise ValueError(f"of {min(sides)} lags no kernel of {wanted} can be made")
    return wanted


def _fault_of(amp: AmplifierCovariances) -> str | None:
    if not (np.isfinite(amp.gain) and amp.gain > 0):
        return f"the gain is {amp.gain}"
    if amp.noise_matrix is None and not np.isfinite(amp.noise):
        return f"the read noise is {amp.noise}"
    if amp.noise_matrix is not None and not np.isfinite(amp.noise_matrix).all():
        return "the noise matrix is not finite"
    return None
