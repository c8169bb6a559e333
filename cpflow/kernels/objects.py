"""Objects over a background that is not known yet: fit, subtract, detect, again (spec 4.10)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from cpflow.kernels.background import bin_count, bin_statistics
from cpflow.kernels.bin_interpolation import fill_bins, interpolate_bins
from cpflow.kernels.chebyshev import fit_chebyshev
from cpflow.kernels.detection import DetectionCriteria, Detections, detect
from cpflow.kernels.masks import Mask

BackgroundModel = Literal["SPLINE", "CHEBYSHEV"]


@dataclass(frozen=True, slots=True)
class Objects:
    """Objects of one exposure, and what is behind them.

    Attributes
    ----------
    detections : Detections
        Of the last turn.
    background : array of float32, shape (rows, columns)
        Of the last turn, in the unit of the image.
    """

    detections: Detections
    background: npt.NDArray[np.float32]


def fit_background(
    image: npt.NDArray[np.float32],
    usable: Mask | None = None,
    *,
    bin_size: int = 128,
    model: BackgroundModel = "CHEBYSHEV",
    degree: int = 6,
) -> npt.NDArray[np.float32]:
    """Fit a smooth background to clipped means of bins.

    Parameters
    ----------
    image : array of float32, shape (rows, columns)
    usable : array of bool, shape (rows, columns), optional
        Pixels that count.
    bin_size : int
        Pixels of a bin along either axis, at most.
    model : str
        ``"CHEBYSHEV"``: a polynomial of total degree `degree`; ``"SPLINE"``: natural splines
        through the bins, empty ones filled.
    degree : int

    Returns
    -------
    array of float32, shape (rows, columns)
        In the unit of the image.

    Raises
    ------
    ValueError
        If no pixel is usable, the model is unknown, or a number makes no sense.

    Notes
    -----
    Spec 4.9 and 4.10 step 1.
    """
    rows, columns = image.shape
    counts = bin_count(rows, bin_size), bin_count(columns, bin_size)
    bins = bin_statistics(image, counts, usable)
    if model == "CHEBYSHEV":
        return fit_chebyshev(bins, degree).evaluate()
    if model != "SPLINE":
        raise ValueError(f"a background is CHEBYSHEV or SPLINE, not {model!r}")
    values = fill_bins(bins.values)
    return interpolate_bins(values, bins.y_centres, bins.x_centres, image.shape)


def find_objects(
    image: npt.NDArray[np.float32],
    variance: npt.NDArray[np.float32],
    usable: Mask | None = None,
    criteria: DetectionCriteria | None = None,
    *,
    bin_size: int = 128,
    model: BackgroundModel = "CHEBYSHEV",
    iterations: int = 1,
) -> Objects:
    """Detect objects, each time over a background that leaves out those found before.

    Parameters
    ----------
    image, variance : array of float32, shape (rows, columns)
    usable : array of bool, shape (rows, columns), optional
        Pixels that count in background and detection.
    criteria : DetectionCriteria, optional
    bin_size, model
        Of the background (`fit_background`). The defaults are those for fringes; for sky 1024
        pixels and SPLINE, with sigma 5, threshold 2.5 and 3 iterations.
    iterations : int
        Turns, at least 1.

    Returns
    -------
    Objects

    Raises
    ------
    ValueError
        If shapes do not fit, no pixel is usable, or `iterations` is below 1.

    Notes
    -----
    Spec 4.9 and 4.10 step 1: detections of a turn replace the earlier ones, and later backgrounds
    leave out the edge. A later turn fits what the background so far leaves, where the reference
    begins again: the mean of a bin of which objects hide a part is not that of its centre where the
    sky has a gradient, and where the sky is then taken for too faint all of it is detected.
    """
    if iterations < 1:
        raise ValueError(f"objects are not found in {iterations} turns")
    sky = None if usable is None else np.asarray(usable, np.bool_)
    background = np.zeros(image.shape, np.float32)
    for _ in range(iterations):
        background += fit_background(image - background, sky, bin_size=bin_size, model=model)
        detections = detect(image - background, variance, criteria, usable=usable)
        # At the edge nothing is looked for, so stars may be there.
        sky = ~(detections.mask | detections.edge)
        if usable is not None:
            sky &= usable
    return Objects(detections, background)
