"""Between the readout frame of amplifiers and the detector frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cpflow.camera import Amplifier, Box, Detector

if TYPE_CHECKING:
    import xarray as xr


def to_detector_frame(amplifier: Amplifier, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Turn ``[..., y, x]`` pixels of an amplifier from readout to detector orientation, or back.

    The flips are their own inverse. The result is a view.
    """
    if amplifier.flip_y:
        pixels = pixels[..., ::-1, :]
    if amplifier.flip_x:
        pixels = pixels[..., ::-1]
    return pixels


def place(amplifier: Amplifier, rows: range) -> Box:
    """Return where imaging `rows` of an amplifier lie in the detector frame."""
    box = amplifier.detector_box
    y0 = box.y1 - rows.stop if amplifier.flip_y else box.y0 + rows.start
    return Box(box.x0, y0, box.width, len(rows))


def assemble_array(detector: Detector, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Assemble whole imaging boxes, shape (..., amp, y, x), into the detector frame (..., y, x)."""
    out = np.empty((*pixels.shape[:-3], *detector.shape), pixels.dtype)
    for i, amplifier in enumerate(detector.amplifiers):
        box = amplifier.detector_box
        out[..., box.rows, box.columns] = to_detector_frame(amplifier, pixels[..., i, :, :])
    return out


def split_array(detector: Detector, pixels: npt.NDArray[Any], rows: range) -> npt.NDArray[Any]:
    """Cut imaging `rows` of every amplifier out of a detector-frame array.

    Parameters
    ----------
    detector : Detector
    pixels : array, shape (..., y, x)
        In the detector frame.
    rows : range
        Imaging rows, in the readout frame.

    Returns
    -------
    array, shape (..., amp, rows, columns), in the readout frame
    """
    columns = detector.imaging_shape[1]
    out = np.empty((*pixels.shape[:-2], len(detector.amplifiers), len(rows), columns), pixels.dtype)
    for i, amplifier in enumerate(detector.amplifiers):
        box = place(amplifier, rows)
        out[..., i, :, :] = to_detector_frame(amplifier, pixels[..., box.rows, box.columns])
    return out


def detector_spans(detector: Detector, rows: range) -> list[tuple[int, int]]:
    """Return the detector rows that imaging `rows` of all amplifiers cover, as merged (y0, y1)."""
    spans: list[tuple[int, int]] = []
    for y0, y1 in sorted(
        (box.y0, box.y1) for box in (place(amplifier, rows) for amplifier in detector.amplifiers)
    ):
        if spans and y0 <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], y1))
        else:
            spans.append((y0, y1))
    return spans


def split_spans(
    detector: Detector, rows: range, parts: list[tuple[int, npt.NDArray[Any]]]
) -> npt.NDArray[Any]:
    """Cut imaging `rows` of every amplifier out of pieces of a detector-frame image.

    Parameters
    ----------
    detector : Detector
    rows : range
        Imaging rows, in the readout frame.
    parts : list of (int, array of shape (rows, x))
        The first detector row of each piece of `detector_spans`, and its pixels.

    Returns
    -------
    array, shape (amp, rows, columns), in the readout frame
    """
    columns = detector.imaging_shape[1]
    out = np.empty((len(detector.amplifiers), len(rows), columns), parts[0][1].dtype)
    for i, amplifier in enumerate(detector.amplifiers):
        box = place(amplifier, rows)
        y0, pixels = next(p for p in parts if p[0] <= box.y0 and box.y1 <= p[0] + len(p[1]))
        out[i] = to_detector_frame(amplifier, pixels[box.y0 - y0 : box.y1 - y0, box.columns])
    return out


@dataclass(frozen=True, slots=True)
class Slab:
    """Detector rows that a band covers without a gap: `y0` up, `parts` from bottom to top.

    A part is a run of amplifiers side by side, as (amplifier index, its box in the detector).
    """

    y0: int
    x0: int
    shape: tuple[int, int]
    parts: tuple[tuple[int, Box], ...]

    def gather(self, detector: Detector, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a copy of the pixels, shape (amp, rows, columns), as rows of the detector."""
        out = np.empty(self.shape, pixels.dtype)
        for i, box in self.parts:
            out[box.y0 - self.y0 : box.y1 - self.y0, box.x0 - self.x0 : box.x1 - self.x0] = (
                to_detector_frame(detector.amplifiers[i], pixels[i])
            )
        return out

    def scatter(self, detector: Detector, rows: npt.NDArray[Any], pixels: npt.NDArray[Any]) -> None:
        """Write rows of the detector back into pixels of shape (amp, rows, columns)."""
        for i, box in self.parts:
            part = rows[box.y0 - self.y0 : box.y1 - self.y0, box.x0 - self.x0 : box.x1 - self.x0]
            pixels[i] = to_detector_frame(detector.amplifiers[i], part)


def slabs(detector: Detector, rows: range) -> Iterator[Slab]:
    """Yield the gapless pieces of the detector that imaging `rows` of all amplifiers cover.

    Amplifiers that read the same detector rows form a strip. Strips that touch, as the two halves
    of a detector do where they meet, are one slab, so that growing a mask crosses the boundary.
    """
    strips: dict[tuple[int, int], list[tuple[int, Box]]] = {}
    for i, amplifier in enumerate(detector.amplifiers):
        box = place(amplifier, rows)
        strips.setdefault((box.y0, box.y1), []).append((i, box))
    groups: list[list[list[tuple[int, Box]]]] = []
    for key in sorted(strips):
        for run in _runs(strips[key]):
            extent = (run[0][1].x0, run[-1][1].x1)
            for group in groups:
                top = group[-1]
                if top[0][1].y1 == key[0] and (top[0][1].x0, top[-1][1].x1) == extent:
                    group.append(run)
                    break
            else:
                groups.append([run])
    for group in groups:
        parts = tuple(part for run in group for part in run)
        first, last = group[0], group[-1]
        x0, x1 = first[0][1].x0, first[-1][1].x1
        y0, y1 = first[0][1].y0, last[0][1].y1
        yield Slab(y0, x0, (y1 - y0, x1 - x0), parts)


def _runs(strip: list[tuple[int, Box]]) -> Iterator[list[tuple[int, Box]]]:
    """Split a strip where its amplifiers do not touch in x."""
    run: list[tuple[int, Box]] = []
    for part in sorted(strip, key=lambda item: item[1].x0):
        if run and run[-1][1].x1 != part[1].x0:
            yield run
            run = []
        run.append(part)
    yield run


def assemble(dataset: xr.Dataset, detector: Detector) -> xr.Dataset:
    """Assemble the variables with dimensions (..., amp, y, x) into the detector frame (..., y, x).

    Other variables stay as they are. Lazy variables stay lazy: only amplifiers that a slice
    touches are computed.

    Parameters
    ----------
    dataset : xarray.Dataset
        Imaging boxes in the readout frame.
    detector : Detector

    Returns
    -------
    xarray.Dataset
    """
    import xarray as xr

    out = xr.Dataset(attrs=dataset.attrs)
    for name, variable in dataset.variables.items():
        if variable.dims[-3:] != ("amp", "y", "x"):
            out[name] = variable
            continue
        data = variable.data
        parts = [
            to_detector_frame(amplifier, data[..., i, :, :])
            for i, amplifier in enumerate(detector.amplifiers)
        ]
        dims = (*variable.dims[:-3], "y", "x")
        out[name] = xr.Variable(dims, _mosaic(detector, parts), variable.attrs)
    return out


def _mosaic(detector: Detector, parts: list[Any]) -> Any:
    strips: dict[tuple[int, int], list[tuple[int, Any]]] = {}
    for amplifier, part in zip(detector.amplifiers, parts, strict=True):
        box = amplifier.detector_box
        strips.setdefault((box.y0, box.y1), []).append((box.x0, part))
    xp: Any = np
    if not isinstance(parts[0], np.ndarray):
        import dask.array

        xp = dask.array
    rows = []
    reached = 0
    for (y0, y1), strip in sorted(strips.items(), key=lambda item: item[0]):
        strip.sort(key=lambda item: item[0])
        width = sum(part.shape[-1] for _, part in strip)
        if y0 != reached or width != detector.shape[1]:
            return _mosaic_irregular(detector, parts, xp)
        reached = y1
        rows.append(xp.concatenate([part for _, part in strip], axis=-1))
    return xp.concatenate(rows, axis=-2)


def _mosaic_irregular(detector: Detector, parts: list[Any], xp: Any) -> Any:
    """Assemble amplifiers that do not form strips, by adding padded images."""
    total = None
    height, width = detector.shape
    for amplifier, part in zip(detector.amplifiers, parts, strict=True):
        box = amplifier.detector_box
        pad = [(0, 0)] * (part.ndim - 2) + [
            (box.y0, height - box.y1),
            (box.x0, width - box.x1),
        ]
        padded = xp.pad(part, pad)
        # Each pixel belongs to one amplifier, and x + 0 is x, also for NaN and for mask bits.
        total = padded if total is None else total + padded
    return total
