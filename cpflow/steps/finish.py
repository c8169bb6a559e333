"""What a combined image needs once all its bands are there: fill, statistics (spec 3.2, 3.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cpflow.camera import Detector
from cpflow.errors import ProductError
from cpflow.kernels.binning import bin_image
from cpflow.kernels.masks import boxes_from_mask
from cpflow.kernels.planes import BAD, NO_DATA
from cpflow.kernels.statistics import percentiles as percentiles_of

if TYPE_CHECKING:
    import xarray as xr

BINNINGS = (8, 64)
# Rows that are masked and binned at once, a multiple of every binning.
_STRIP = 512


def fill_without_data(
    image: npt.NDArray[np.float32],
    variance: npt.NDArray[np.float32],
    mask: npt.NDArray[np.uint16],
) -> int:
    """Fill pixels whose image or variance is NaN, in place, and flag them BAD.

    They take the median of all other pixels of the detector, and the median of their variances.
    Pixels that are known to have no data (NO_DATA: vignetted ones) do not count.

    Parameters
    ----------
    image, variance : array of float32, shape (y, x)
    mask : array of uint16, shape (y, x)

    Returns
    -------
    int
        How many pixels were filled.

    Raises
    ------
    ProductError
        If no pixel has data.

    Notes
    -----
    Spec 3.2 point 4.
    """
    missing = np.isnan(image) | np.isnan(variance)
    count = int(np.count_nonzero(missing))
    if count == 0:
        return 0
    good = ~missing & ((mask & np.uint16(NO_DATA)) == 0)
    if not good.any():
        raise ProductError("no pixel has any good input")
    image[missing] = np.median(image[good])
    variance[missing] = np.median(variance[good])
    mask[missing] |= np.uint16(BAD)
    return count


def bin_good_pixels(
    image: npt.NDArray[np.float32], mask: npt.NDArray[np.uint16], factor: int
) -> npt.NDArray[np.float32]:
    """Average an image over square blocks, without the pixels that hold no measurement.

    Pixels flagged BAD or NO_DATA are left out: they were filled, are dead or hot, or saw no light,
    and would draw blemishes that the detector's response does not have. How many there are is in
    the mask.

    Parameters
    ----------
    image : array of float32, shape (y, x)
    mask : array of uint16, shape (y, x)
    factor : int
        Rows and columns of a block: one of `BINNINGS`. Blocks at the upper borders average what
        is there.

    Returns
    -------
    array of float32, shape (ceil(y / factor), ceil(x / factor))
        In the unit of the image; NaN where a block has no good pixel.

    Raises
    ------
    ValueError
        If the factor is not one of `BINNINGS`.

    Notes
    -----
    Spec 4.1, last point: the plain block mean.
    """
    if factor not in BINNINGS:
        raise ValueError(f"images are binned by {BINNINGS}, not by {factor}")
    rows, columns = image.shape
    means = np.empty((-(-rows // factor), -(-columns // factor)), np.float32)
    for first in range(0, rows, _STRIP):
        left_out = (mask[first : first + _STRIP] & np.uint16(BAD | NO_DATA)) != 0
        strip = np.where(left_out, np.float32(np.nan), image[first : first + _STRIP])
        binned = bin_image(strip, factor)
        start = first // factor
        means[start : start + len(binned)] = binned
    return means


def finish_image(
    product: xr.Dataset, detector: Detector, percentiles: tuple[float, ...]
) -> xr.Dataset:
    """Complete a combined image that is assembled and in memory.

    Fills pixels without data, and adds per amplifier the percentiles of its image
    (`distribution`) and the number of masked pixels (`n_bad`), and means of the image over blocks
    of 8 and 64 pixels a side without BAD and NO_DATA pixels (`image_bin8`, `image_bin64`).

    Parameters
    ----------
    product : xarray.Dataset
        With `image`, `variance` and `mask`, shape (y, x), which are changed in place.
    detector : Detector
    percentiles : tuple of float
        In percent.

    Returns
    -------
    xarray.Dataset

    Raises
    ------
    ProductError
        If no pixel has data.
    """
    image, variance, mask = (product[name].values for name in ("image", "variance", "mask"))
    filled = fill_without_data(image, variance, mask)
    distribution = np.empty((len(detector.amplifiers), len(percentiles)))
    n_bad = np.empty(len(detector.amplifiers), np.int64)
    for a, amplifier in enumerate(detector.amplifiers):
        box = amplifier.detector_box
        part = image[box.rows, box.columns]
        known = (mask[box.rows, box.columns] & np.uint16(NO_DATA)) == 0
        if not known.all():
            part = part[known]
        distribution[a] = percentiles_of(part, percentiles) if part.size else np.nan
        n_bad[a] = np.count_nonzero(mask[box.rows, box.columns])
    out = product.assign_coords(percentile=list(percentiles), amp=list(detector.amplifier_names))
    units = product["image"].attrs["units"]
    out["distribution"] = (("amp", "percentile"), distribution, {"units": units})
    out["n_bad"] = ("amp", n_bad, {"units": "1"})
    for factor in BINNINGS:
        binned = bin_good_pixels(image, mask, factor)
        out[f"image_bin{factor}"] = ((f"y{factor}", f"x{factor}"), binned, {"units": units})
    out.attrs["n_filled"] = filled
    return out


def finish_defects(product: xr.Dataset) -> xr.Dataset:
    """Cut a map of bad pixels into boxes (spec 4.8).

    Parameters
    ----------
    product : xarray.Dataset
        With `defect`, shape (y, x), 1 where a pixel is bad.

    Returns
    -------
    xarray.Dataset
        `x0`, `y0`, `width`, `height` of each box instead, in pixels of the detector.
    """
    boxes = boxes_from_mask(product["defect"].values != 0)
    out = product.drop_vars("defect")
    for column, name in enumerate(("x0", "y0", "width", "height")):
        out[name] = ("box", boxes[:, column].astype(np.int32), {"units": "pixel"})
    return out
