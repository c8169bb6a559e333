"""Pixels between the three frames of a detector: trimmed image, readout order, file.

`cpflow.camera` defines the frames. A stack of raw areas is ``(amp, row, column)`` in readout order.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cpflow.camera import Amplifier, Detector

T = TypeVar("T", bound=np.generic)


def flip(pixels: NDArray[T], flip_x: bool, flip_y: bool) -> NDArray[T]:
    """Return a view of an image ``(..., y, x)`` with its axes reversed as asked."""
    return pixels[..., :: -1 if flip_y else 1, :: -1 if flip_x else 1]


def imaging_pixels(image: NDArray[T], amplifier: Amplifier) -> NDArray[T]:
    """Return an amplifier's part of a detector image as a view in readout order.

    Parameters
    ----------
    image : ndarray (y, x)
        A trimmed detector image.
    amplifier : Amplifier
        The amplifier that reads it.

    Returns
    -------
    ndarray (imaging row, imaging column)
    """
    place = amplifier.detector_box
    return flip(image[place.rows, place.columns], amplifier.flip_x, amplifier.flip_y)


def to_readout(image: NDArray[np.float32], detector: Detector) -> NDArray[np.float32]:
    """Spread a detector image over the raw areas of its amplifiers, zero outside imaging boxes.

    Returns
    -------
    ndarray of float32 (amp, raw row, raw column)
    """
    raw = np.zeros((len(detector.amplifiers), *detector.raw_shape), np.float32)
    for area, amplifier in zip(raw, detector, strict=True):
        box = amplifier.imaging
        area[box.rows, box.columns] = imaging_pixels(image, amplifier)
    return raw


def to_detector(raw: NDArray[T], detector: Detector) -> NDArray[T]:
    """Assemble the imaging boxes of raw areas ``(amp, row, column)`` into a detector image."""
    image = np.empty(detector.shape, raw.dtype)
    for area, amplifier in zip(raw, detector, strict=True):
        box = amplifier.imaging
        imaging_pixels(image, amplifier)[...] = area[box.rows, box.columns]
    return image


def to_file(raw: NDArray[T], detector: Detector) -> dict[int, NDArray[T]]:
    """Lay raw areas out as the camera stores them.

    Parameters
    ----------
    raw : ndarray (amp, raw row, raw column)
        Raw areas in readout order.
    detector : Detector
        Where each one goes: HDU, box and flips of its `Source`.

    Returns
    -------
    dict of int to ndarray (row, column)
        The image of each HDU; pixels that belong to no amplifier are zero.
    """
    images: dict[int, NDArray[T]] = {}
    for hdu in sorted({amplifier.source.hdu for amplifier in detector}):
        boxes = [a.source.box for a in detector if a.source.hdu == hdu]
        shape = max(box.y1 for box in boxes), max(box.x1 for box in boxes)
        images[hdu] = np.zeros(shape, raw.dtype)
    for area, amplifier in zip(raw, detector, strict=True):
        source = amplifier.source
        part = images[source.hdu][source.box.rows, source.box.columns]
        part[...] = flip(area, source.flip_x, source.flip_y)
    return images
