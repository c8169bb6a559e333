"""Objects in one exposure: what stands out of the noise after smoothing (spec 4.9, 4.10)."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from cpflow.kernels.masks import Mask, grow


@dataclass(frozen=True, slots=True)
class DetectionCriteria:
    """How objects are detected. The defaults are those for fringes; for sky sigma 5, threshold 2.5.

    Attributes
    ----------
    sigma : float
        Standard deviation of the smoothing Gaussian, in pixels.
    threshold : float
        In standard deviations of a smoothed pixel.
    width : int or None
        Odd width of the kernel in pixels; None is about 7 sigma.
    grow_factor : float
        What is found grows by a radius of this times sigma, rounded.
    """

    sigma: float = 1.0
    threshold: float = 5.0
    width: int | None = None
    grow_factor: float = 2.4

    def __post_init__(self) -> None:
        """Refuse what is no kernel or no threshold."""
        if not (self.sigma > 0 and self.threshold > 0 and self.grow_factor >= 0):
            raise ValueError("sigma and threshold have to be positive, grow_factor zero or more")
        if self.width is not None and (self.width < 1 or self.width % 2 == 0):
            raise ValueError(f"a kernel is an odd number of pixels wide, not {self.width}")

    @property
    def kernel_width(self) -> int:
        """Pixels of the kernel along either axis: 7 for sigma 1, 35 for sigma 5."""
        return int(self.sigma * 7 + 0.5) // 2 * 2 + 1 if self.width is None else self.width

    @property
    def radius(self) -> int:
        """Pixels by which detections grow: 2 for sigma 1, 12 for sigma 5."""
        return int(self.grow_factor * self.sigma + 0.5)


@dataclass(frozen=True, slots=True)
class Detections:
    """Objects of one exposure.

    Attributes
    ----------
    mask : array of bool, shape (rows, columns)
        Their pixels, grown: for the plane DETECTED.
    edge : array of bool, shape (rows, columns)
        Border pixels that smoothing does not reach and where nothing is looked for: for EDGE.
    peaks : int
        Pixels at or above the threshold.
    """

    mask: Mask
    edge: Mask
    peaks: int


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _smooth_row(line, kernel, out):  # type: ignore[no-untyped-def]
    """Weighted sums of each run of pixels as long as the kernel, in the order of the kernel."""
    size = np.uint64(out.shape[0])
    out[:] = np.float32(0.0)
    for k in range(np.uint64(kernel.shape[0])):
        weight = kernel[k]
        for x in range(size):
            out[x] += weight * line[x + k]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _add_row(line, weight, out):  # type: ignore[no-untyped-def]
    for x in range(np.uint64(out.shape[0])):
        out[x] += weight * line[x]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _clean_row(image, variance, usable, level, line, line_variance):  # type: ignore[no-untyped-def]
    """Copy a row, without weight what is not usable: no signal and no noise."""
    everything = usable.shape[0] == 0
    for x in range(np.uint64(image.shape[0])):
        value = image[x] - level
        noise = variance[x]
        # Infinite minus infinite is NaN, so this says whether both are finite.
        good = (value - value == 0) & (noise - noise == 0) & (noise > 0)
        if not everything:
            good &= usable[x]
        line[x] = value if good else np.float32(0.0)
        line_variance[x] = noise if good else np.float32(0.0)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _detect(image, variance, usable, level, kernel, squares, threshold, found):  # type: ignore[no-untyped-def]
    """Flag the pixels whose smoothed value reaches the threshold; the smoothed rows in a ring."""
    rows, columns = image.shape
    width = kernel.shape[0]
    half = width // 2
    inner = columns - 2 * half
    nothing = np.empty(0, np.bool_)
    line, line_variance = np.empty(columns, np.float32), np.empty(columns, np.float32)
    ring, ring_variance = (
        np.empty((width, inner), np.float32),
        np.empty((width, inner), np.float32),
    )
    total, total_variance = np.empty(inner, np.float32), np.empty(inner, np.float32)
    count = 0
    for y in range(rows):
        row_usable = usable[y] if usable.shape[0] > 0 else nothing
        _clean_row(image[y], variance[y], row_usable, level, line, line_variance)
        _smooth_row(line, kernel, ring[y % width])
        _smooth_row(line_variance, squares, ring_variance[y % width])
        if y < width - 1:
            continue
        total[:] = np.float32(0.0)
        total_variance[:] = np.float32(0.0)
        for k in range(width):
            row = (y - width + 1 + k) % width
            _add_row(ring[row], kernel[k], total)
            _add_row(ring_variance[row], squares[k], total_variance)
        flags = found[y - half, half : half + inner]
        for x in range(np.uint64(inner)):
            limit = threshold * np.sqrt(total_variance[x])
            flags[x] = (total[x] >= limit) & (limit > 0)
        for x in range(inner):
            count += 1 if flags[x] else 0
    return count


def gaussian_kernel(sigma: float, width: int) -> npt.NDArray[np.float64]:
    """Sample a Gaussian at whole pixels, with the sum 1.

    Parameters
    ----------
    sigma : float
        Pixels.
    width : int
        Odd number of pixels.

    Returns
    -------
    array of float64, shape (width,)
    """
    x = np.arange(width) - width // 2
    values = np.exp(-0.5 * (x / sigma) ** 2)
    return np.asarray(values / values.sum())


def detect(
    image: npt.NDArray[np.float32],
    variance: npt.NDArray[np.float32],
    criteria: DetectionCriteria | None = None,
    *,
    usable: Mask | None = None,
    level: float = 0.0,
) -> Detections:
    """Detect what is brighter than the background.

    Parameters
    ----------
    image : array of float32, shape (rows, columns)
        Any unit.
    variance : array of float32, shape (rows, columns)
        In the unit of the image squared.
    criteria : DetectionCriteria, optional
    usable : array of bool, shape (rows, columns), optional
        Pixels that count. Others have no weight, in the sum nor in its variance, and neither have
        those that are not finite or have no positive variance.
    level : float
        Background, in the unit of the image; 0 where it is subtracted.

    Returns
    -------
    Detections

    Raises
    ------
    ValueError
        If the arrays are not float32, differ in shape or are smaller than the kernel.

    Notes
    -----
    Spec 4.9 and 4.10: the image is convolved with a Gaussian and the variance with its square,
    so that the threshold is in standard deviations of a smoothed pixel (`pixel_stdev`). Positive
    detections only; they grow in circles. Sums are float32, in a fixed order.
    """
    chosen = DetectionCriteria() if criteria is None else criteria
    if image.ndim != 2 or variance.shape != image.shape:
        raise ValueError(f"image and variance of {image.shape} and {variance.shape} pixels")
    if usable is not None and usable.shape != image.shape:
        raise ValueError(f"an image of {image.shape} has flags of {usable.shape} pixels")
    if image.dtype != np.float32 or variance.dtype != np.float32:
        raise ValueError("image and variance have to be float32")
    width = chosen.kernel_width
    if min(image.shape) < width:
        raise ValueError(f"a kernel of {width} pixels does not fit in an image of {image.shape}")
    kernel = gaussian_kernel(chosen.sigma, width)
    found = np.zeros(image.shape, np.bool_)
    peaks = _detect(
        np.ascontiguousarray(image),
        np.ascontiguousarray(variance),
        np.empty((0, 0), np.bool_) if usable is None else np.ascontiguousarray(usable, np.bool_),
        np.float32(level),
        kernel.astype(np.float32),
        (kernel**2).astype(np.float32),
        np.float32(chosen.threshold),
        found,
    )
    half = width // 2
    edge = np.ones(image.shape, np.bool_)
    edge[half : image.shape[0] - half, half : image.shape[1] - half] = False
    return Detections(grow(found, chosen.radius, "circular"), edge, int(peaks))
