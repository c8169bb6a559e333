"""The brighter-fatter correction (spec 2.14; reference 3.4)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np
import numpy.typing as npt

from cpflow.kernels.brighter_fatter_pass import correct_rows

Method = Literal["coulton", "flux_conserving"]
Frame = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Convergence:
    """How the passes of a correction went.

    Attributes
    ----------
    iterations : int
        Passes made.
    changes : tuple of float
        Sum over the image of the absolute change, in electrons, of each pass.
    converged : bool
        Whether the last change was below the threshold.
    """

    iterations: int
    changes: tuple[float, ...]
    converged: bool


def halo_rows(kernel: npt.NDArray[np.float64], iterations: int) -> int:
    """Return the rows on each side of a strip that a correction needs to know."""
    return iterations * (int(kernel.shape[0]) // 2 + 1)


def _passes(
    image: Frame,
    kernel: npt.NDArray[np.float64],
    method: Method,
    bottom_is_border: bool,
    top_is_border: bool,
) -> Iterator[tuple[float, Frame]]:
    """Make one pass after the other in the same array, and yield its change."""
    if method not in ("coulton", "flux_conserving"):
        raise ValueError(f"unknown brighter-fatter method {method!r}")
    if kernel.ndim != 2 or not all(size % 2 for size in kernel.shape):
        raise ValueError(f"a brighter-fatter kernel of {kernel.shape} has no central pixel")
    if not np.isfinite(kernel).all():
        raise ValueError("the brighter-fatter kernel has values that are not finite")
    if image.ndim != 2 or image.dtype != np.float32:
        raise ValueError(f"want float32 (rows, columns), not {image.dtype} of {image.shape}")
    if any(size < least for size, least in zip(image.shape, kernel.shape, strict=True)):
        raise ValueError(f"an image of {image.shape} is smaller than its kernel, {kernel.shape}")
    taps = np.ascontiguousarray(kernel[::-1, ::-1], np.float64)
    pixels = np.ascontiguousarray(image)
    correction = np.zeros_like(pixels)
    conserving = method == "flux_conserving"
    step, rows = halo_rows(kernel, 1), image.shape[0]
    margin = 0 if conserving else step
    wrong = 0
    while True:
        wrong += step
        first = margin if bottom_is_border else wrong
        last = rows - (margin if top_is_border else wrong)
        yield correct_rows(pixels, correction, taps, first, last, conserving), correction


def brighter_fatter_correction(
    image: Frame,
    kernel: npt.NDArray[np.float64],
    iterations: int,
    *,
    method: Method = "coulton",
    bottom_is_border: bool = True,
    top_is_border: bool = True,
) -> Frame:
    """Compute what has to be added to an image to undo the brighter-fatter effect.

    Parameters
    ----------
    image : array of float32, shape (rows, columns)
        Electrons, in the detector frame (amplifiers assembled), finite: interpolate bad pixels
        first. NaN spreads by half a kernel in each pass.
    kernel : array of float64, shape (size y, size x)
        K, per electron, negative in the centre, indexed [y, x] like the image (products store
        [x, y], see Q14). Sides are odd; it need not be symmetric.
    iterations : int
        Passes, always as many; see `converge`.
    method : "coulton" or "flux_conserving"
        See Notes.
    bottom_is_border, top_is_border : bool
        Whether row 0, and the last row, are borders of the detector. A strip that ends elsewhere
        needs `halo_rows` more rows on that side; they come back as NaN, all others with the bits
        that the whole image gives.

    Returns
    -------
    array of float32, shape (rows, columns)
        Electrons.

    Raises
    ------
    ValueError
        If the image is not float32 (rows, columns) or smaller than the kernel, the kernel not
        finite or of an even side, `iterations` below 1, or `method` unknown.

    Notes
    -----
    Each pass takes T = image + correction and phi = K (*) T.

    ``"coulton"`` (Coulton et al. 2018, arXiv:1711.06273): the correction is
    ``0.5 * (grad T . grad phi + T * laplacian phi)``, with central first and 3-point second
    differences; 0 within half a kernel and one pixel of the border.

    ``"flux_conserving"``: between neighbours with potentials differing by D, half of D times the
    charge of the one with the smaller potential returns to it. The sum over the image stays. Beyond
    the border charge goes on as in a mirror and no charge crosses it, so all pixels are corrected.
    Unlike the reference phi follows the passes and charges include the mean of the image (Q15).

    Sums are float64: the second differences of phi nearly cancel, and rounding it to float32 would
    change the correction of a flat of 50,000 electrons by 3e-4 of its rms.
    """
    if iterations < 1:
        raise ValueError(f"a brighter-fatter correction of {iterations} passes")
    passes = _passes(image, kernel, method, bottom_is_border, top_is_border)
    *_, (_, correction) = islice(passes, iterations)
    halo = halo_rows(kernel, iterations)
    if not bottom_is_border:
        correction[:halo] = np.nan
    if not top_is_border:
        correction[max(len(correction) - halo, 0) :] = np.nan
    return correction


def converge(
    image: Frame,
    kernel: npt.NDArray[np.float64],
    max_iterations: int = 10,
    threshold: float = 1000.0,
    *,
    method: Method = "coulton",
    least: int = 1,
) -> Convergence:
    """Find how many passes a whole image needs.

    Parameters
    ----------
    image, kernel, method
        As in `brighter_fatter_correction`; both edges are borders.
    max_iterations : int
        Passes at most.
    threshold : float
        Electrons: the passes end when the summed absolute change is smaller.
    least : int
        Passes before the end is looked for. The reference compares its second pass with nothing,
        which makes this 3 (reference 3.4).

    Returns
    -------
    Convergence
        With the iterations for `brighter_fatter_correction`.

    Raises
    ------
    ValueError
        As `brighter_fatter_correction` does.
    """
    if max_iterations < 1:
        raise ValueError(f"a brighter-fatter correction of {max_iterations} passes")
    changes: list[float] = []
    for change, _ in islice(_passes(image, kernel, method, True, True), max_iterations):
        changes.append(float(change))
        if len(changes) >= least and change < threshold:
            return Convergence(len(changes), tuple(changes), True)
    return Convergence(len(changes), tuple(changes), False)
