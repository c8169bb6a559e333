"""Small pictures of what is left of each exposure, at the places of the detectors."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cpflow.camera import Camera, Detector
from cpflow.kernels.binning import bin_image
from cpflow.registry import DatasetRef
from cpflow.repo import Repository
from cpflow.report.mosaic import detector_corners, mosaic

# Of all pictures of a page together: some 0.8 bytes each, as text.
_PIXELS = 4_000_000
_LEVELS = 62
# Shows where there is nothing; no grey is mistaken for it.
_NOTHING = (214, 232, 240)


@dataclass(frozen=True)
class Picture:
    """What is left of one exposure.

    `extent` is (left, right, bottom, top) in the plane that `detector_corners` spans.
    """

    exposure: int
    png: bytes
    extent: tuple[float, float, float, float]
    shape: tuple[int, int]

    @property
    def source(self) -> str:
        """The picture as an address."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


@dataclass(frozen=True)
class Pictures:
    """Pictures on one scale of grey, from `low` to `high`."""

    pictures: tuple[Picture, ...]
    low: float
    high: float
    units: str
    binning: int


def residual_pictures(
    repository: Repository,
    refs: Sequence[DatasetRef],
    camera: Camera,
    exposures: Sequence[int],
) -> Pictures | None:
    """Draw the residuals of exposures.

    Parameters
    ----------
    repository : Repository
    refs : sequence of DatasetRef
        Verifications of one product, one for each detector. Those without residuals, and those
        that are binned otherwise than most, are left out.
    camera : Camera
    exposures : sequence of int
        In the order in which they are shown.

    Returns
    -------
    Pictures or None
        None if no verification has residuals. Grey goes five standard deviations of what is shown
        to either side of the median, robustly, over all pictures.
    """
    found: dict[int, Any] = {}
    for ref in refs:
        dataset = repository.open_dataset(ref)
        if ref.data_id.detector is not None and "residual" in dataset:
            found[ref.data_id.detector] = dataset["residual"]
    if not found or not exposures:
        return None
    widths = [_binning(one, camera.detector(number)) for number, one in found.items()]
    width = max(set(widths), key=widths.count)
    found = {n: one for (n, one), w in zip(found.items(), widths, strict=True) if w == width}
    cells = sum(math.prod(one.shape[1:]) for one in found.values()) * len(exposures)
    factor = max(1, math.ceil(math.sqrt(cells / _PIXELS)))
    small = {n: _small(one, exposures, factor) for n, one in found.items()}
    units = str(next(iter(found.values())).attrs.get("units", ""))
    middle, sigma = _spread(small)
    low, high = middle - 5 * sigma, middle + 5 * sigma
    pictures = []
    for i, exposure in enumerate(exposures):
        of_exposure = {n: images[i] for n, images in small.items()}
        image, extent = _placed(of_exposure, camera, width * factor)
        if np.isfinite(image).any():
            pictures.append(Picture(exposure, png_of(image, low, high), extent, image.shape))
    return Pictures(tuple(pictures), low, high, units, width * factor)


def _binning(residual: Any, detector: Detector) -> int:
    """Return the side of the blocks that a residual holds the means of."""
    sides = zip(detector.shape, residual.shape[1:], strict=True)
    return int(residual.attrs.get("binning") or max(-(-whole // binned) for whole, binned in sides))


def _small(residual: Any, exposures: Sequence[int], factor: int) -> npt.NDArray[np.float32]:
    """Return the residuals in the order of the exposures, NaN for one that is not there."""
    frames = {int(frame): i for i, frame in enumerate(residual["frame"].values)}
    images = bin_image(np.asarray(residual.values, np.float32), factor)
    nothing = np.full(images.shape[1:], np.nan, np.float32)
    return np.stack([images[frames[e]] if e in frames else nothing for e in exposures])


def _spread(small: Mapping[int, npt.NDArray[np.float32]]) -> tuple[float, float]:
    sampled = (images.ravel()[:: 1 + images.size // 20_000] for images in small.values())
    values = np.concatenate(list(sampled))
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, middle, high = np.percentile(values, [25, 50, 75])
    return float(middle), float(0.7413 * (high - low)) or 1.0


def _placed(
    images: Mapping[int, npt.NDArray[np.float32]], camera: Camera, binning: int
) -> tuple[npt.NDArray[np.float32], tuple[float, float, float, float]]:
    if len(images) == 1:
        ((number, image),) = images.items()
        detector = camera.detector(number)
        _, corners = detector_corners([detector])
        left, right, bottom, _ = corners[0]
        cell = (right - left) / detector.shape[1] * binning
        rows, columns = image.shape
        return image, (left, left + columns * cell, bottom, bottom + rows * cell)
    import xarray as xr

    made = mosaic(
        {
            number: xr.Dataset(
                {
                    "image": (("y", "x"), image, {"units": "1"}),
                    f"image_bin{binning}": (("y", "x"), image),
                }
            )
            for number, image in images.items()
        },
        camera,
        binning,
    )
    half, unit = made.attrs["cell"] / 2, made.attrs["unit"]
    x, y = made[f"x_{unit}"].values, made[f"y_{unit}"].values
    return made["image"].values, (x[0] - half, x[-1] + half, y[0] - half, y[-1] + half)


def png_of(image: npt.NDArray[np.float32], low: float, high: float) -> bytes:
    """Return an image as PNG, grey from `low` to `high`; row 0 is at the bottom.

    So many levels are as good as all to the eye, and noise takes half the bytes.
    """
    from PIL import Image

    level = np.floor((image - low) / (high - low) * _LEVELS)
    index = np.where(np.isnan(level), _LEVELS, np.clip(level, 0, _LEVELS - 1)).astype(np.uint8)
    picture = Image.fromarray(index[::-1])
    grey = np.round(np.linspace(0, 255, _LEVELS)).astype(int)
    picture.putpalette([*np.repeat(grey, 3).tolist(), *_NOTHING])
    buffer = io.BytesIO()
    picture.save(buffer, format="png", optimize=True)
    return buffer.getvalue()
