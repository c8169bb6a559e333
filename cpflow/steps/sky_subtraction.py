"""The structure of the sky in exposures: how bright the sky is, and its subtraction (spec 4.10).

A sky frame s says that a sky of level L is ``L (1 + s)``, beside what is smooth over centimetres.
What is subtracted is ``L s``. The level itself, its slope and all else that is smooth belong to the
exposure and stay: nobody wants an instrument's signature to have the sky in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cpflow.camera import Detector
from cpflow.errors import ProductError, RawError
from cpflow.kernels.background import bin_edges, bin_statistics
from cpflow.kernels.bin_interpolation import interpolate_bins
from cpflow.kernels.planes import bits
from cpflow.kernels.statistics import IQR_TO_SIGMA
from cpflow.stack import Context, Frame
from cpflow.stack.geometry import assemble_array, detector_spans, split_spans

if TYPE_CHECKING:
    import xarray as xr

SKY = "sky"
SKY_SCALE = "sky_scale"
# Boxes along each axis of a detector in which the level is measured.
_SAMPLES = 4
_UNUSABLE = bits(("BAD", "SAT", "NO_DATA", "VIGNETTED", "UNMASKEDNAN", "DETECTED"))


@dataclass(frozen=True, slots=True)
class SkyFrame:
    """Bins of a sky frame, and the shape of the detector that they divide."""

    bins: npt.NDArray[np.float64]
    shape: tuple[int, int]

    def evaluate(self, rows: slice | None = None) -> npt.NDArray[np.float32]:
        """Interpolate the bins to pixels with natural splines, shape (rows, columns).

        A row comes out the same whatever rows are asked for.
        """
        y, x = (
            (edges[:-1] + edges[1:]) / 2 - 0.5
            for edges in map(bin_edges, self.shape, self.bins.shape)
        )
        return interpolate_bins(self.bins, y, x, self.shape, "CUBIC", rows)


def sky_frame(product: xr.Dataset) -> SkyFrame:
    """Return what is used of a sky product."""
    sky = product["sky"]
    shape = int(sky.attrs["rows"]), int(sky.attrs["columns"])
    return SkyFrame(np.asarray(sky.values, np.float64), shape)


@dataclass(frozen=True, slots=True)
class MeasureSkyScale:
    """Measure how bright the sky is in a whole exposure.

    The clipped means of 4 x 4 boxes are fitted with one factor of the sky frame and its level,
    ``L (1 + s)``; three times, boxes farther away than three sigma are left out.
    """

    def __call__(self, frame: Frame, context: Context) -> float:
        """Return the level of the sky, in the unit of the frame.

        Raises
        ------
        RawError
            If too few pixels are usable to tell.
        """
        if SKY not in context.shared:
            return 0.0
        detector = context.detector
        known: SkyFrame = _fitting(context.shared[SKY], detector)
        usable = None
        if frame.mask is not None:
            usable = assemble_array(detector, (frame.mask & np.uint16(_UNUSABLE)) == 0)
        boxes = min(_SAMPLES, detector.shape[0]), min(_SAMPLES, detector.shape[1])
        seen = bin_statistics(assemble_array(detector, frame.image), boxes, usable)
        model = known.evaluate()
        starts = seen.y_edges[:-1], seen.x_edges[:-1]
        sums = np.add.reduceat(model.astype(np.float64), starts[0], axis=0)
        sums = np.add.reduceat(sums, starts[1], axis=1)
        sizes = np.diff(seen.y_edges)[:, None] * np.diff(seen.x_edges)
        scale = fit_level(seen.values, 1 + sums / sizes)
        if not np.isfinite(scale):
            raise RawError(
                "too few pixels are usable to tell how bright its sky is", hint="-c isr.sky=false"
            )
        return scale


def fit_level(
    samples: npt.NDArray[np.float64],
    model: npt.NDArray[np.float64],
    *,
    clip: float = 3.0,
    iterations: int = 3,
) -> float:
    """Fit ``samples = level * model`` by least squares, without outliers.

    Parameters
    ----------
    samples, model : array of float64, any shape
        Those that are not finite are left out.
    clip : float
        In 0.741 times the distance of the quartiles of the residuals.
    iterations : int
        How often outliers are left out.

    Returns
    -------
    float
        NaN without any sample.

    Notes
    -----
    Spec 4.10, "Use".
    """
    good = np.isfinite(samples) & np.isfinite(model)
    y, x = samples[good], model[good]
    if len(y) == 0:
        return float("nan")
    for _ in range(iterations):
        residual = y - x * (x @ y) / (x @ x)
        q25, middle, q75 = np.percentile(residual, [25, 50, 75])
        near = np.abs(residual - middle) <= clip * IQR_TO_SIGMA * (q75 - q25)
        y, x = y[near], x[near]
    return float((x @ y) / (x @ x))


def _fitting(frame: SkyFrame, detector: Detector) -> SkyFrame:
    if frame.shape != detector.shape:
        raise ProductError(
            f"the sky frame is for {frame.shape} pixels, detector {detector.id} has "
            f"{detector.shape}"
        )
    return frame


@dataclass(frozen=True, slots=True)
class SubtractSky:
    """Subtract the structure of the sky frame times the level of the sky in the exposure."""

    halo: int = 0

    def __call__(self, frame: Frame, context: Context) -> Frame:
        """Correct a frame in place."""
        scale = context.measured[SKY_SCALE]
        if scale == 0:
            return frame
        sky: SkyFrame = context.shared[SKY]
        parts: list[tuple[int, npt.NDArray[Any]]] = [
            (y0, sky.evaluate(slice(y0, y1)))
            for y0, y1 in detector_spans(context.detector, frame.rows)
        ]
        frame.image -= np.float32(scale) * split_spans(context.detector, frame.rows, parts)
        return frame
