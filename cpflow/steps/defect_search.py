"""Search of one image for defects, be it an exposure or combined, and the map (spec 4.6, 4.7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from cpflow.camera import Detector
from cpflow.kernels.defect_columns import ColumnRules, fill_blinking_columns, fill_columns
from cpflow.kernels.defects import (
    DefectThresholds,
    DetectorDefects,
    Source,
    edge_frame,
)
from cpflow.kernels.defects import find_defects as find_in_image
from cpflow.kernels.masks import Mask, paint_boxes
from cpflow.stack.geometry import split_array, to_detector_frame
from cpflow.steps.options import Defects

_NO_COLUMNS = ColumnRules(blinking_count=None)


def search_image(
    detector: Detector,
    image: npt.NDArray[np.float32],
    source: Source,
    options: Defects,
    *,
    usable: Mask,
    saturated: Mask | None = None,
    known: Mask | None = None,
    units: str = "adu",
    seconds: float = 1.0,
) -> DetectorDefects:
    """Search an assembled image, and fill the columns that are bad as a whole (spec 4.6).

    Parameters
    ----------
    detector : Detector
    image : array of float32, shape (y, x)
    source : str
        Kind of the image: bias, dark or flat.
    options : Defects
    usable : array of bool, shape (y, x)
        Pixels to look at.
    saturated : array of bool, shape (y, x), optional
    known : array of bool, shape (y, x), optional
        Pixels that are defects whatever their values; they count in columns.
    units : str
        Of the image: thresholds that have a unit are turned into it with the camera's gains.
    seconds : float
        Of dark current in the image: 1 for one that is per second.

    Returns
    -------
    DetectorDefects
    """
    gains = np.array([amplifier.gain for amplifier in detector.amplifiers])
    in_electrons = units.startswith("electron")
    if in_electrons and source == "bias":
        # The limit of a bias is in adu, amplifier by amplifier.
        image = image.copy()
        for amplifier in detector.amplifiers:
            box = amplifier.detector_box
            image[box.rows, box.columns] /= np.float32(amplifier.gain)
    bad = np.zeros(image.shape, np.bool_) if known is None else known.copy()
    if source == "flat" and detector.type == "E2V" and options.midline != "as_found":
        midline = midline_rows(detector, options.midline_rows)
        usable = usable & ~midline
        if options.midline == "always":
            bad |= midline
    boxes = _boxes(detector)
    found = find_in_image(
        image,
        boxes,
        source,
        thresholds(options, source),
        _NO_COLUMNS,
        usable=usable,
        exposure_time=seconds,
        gains=np.ones(len(gains)) if in_electrons else gains,
    )
    rules = column_rules(options)
    mask, blinking = fill_blinking_columns(found.mask | bad, rules)
    mask, filled = fill_columns(mask, boxes, rules, saturated)
    return replace(found, mask=mask, blinking_columns=blinking, filled_columns=filled)


def midline_rows(detector: Detector, rows: int) -> Mask:
    """Flag the rows where amplifiers that are read to opposite sides meet, shape (y, x)."""
    flags = np.zeros(detector.shape, np.bool_)
    for amplifier in detector.amplifiers:
        box = amplifier.detector_box
        meets = box.y0 > 0 if amplifier.flip_y else box.y1 < detector.shape[0]
        if meets:
            # The last rows that it reads.
            part = to_detector_frame(amplifier, flags[box.rows, box.columns])
            part[max(0, box.height - rows) :] = True
    return flags


def thresholds(options: Defects, source: Source) -> DefectThresholds:
    """Return the thresholds that the options mean for a kind of image."""
    own = {
        "bias": options.threshold_bias,
        "dark": options.threshold_dark,
        "flat": options.threshold_flat,
    }[source]
    return DefectThresholds(
        kind=own or options.threshold,
        sigma_bright=options.sigma_bright,
        sigma_dark=options.sigma_dark,
        dark_current=options.dark_current,
        bias=options.bias,
        flat_fraction=options.flat_fraction,
        border_rows=options.border_rows,
        border_columns=options.border_columns,
    )


def column_rules(options: Defects) -> ColumnRules:
    """Return the rules for columns that the options mean."""
    return ColumnRules(
        blinking_count=options.blinking_count,
        blinking_gap=options.blinking_gap,
        bad_count=options.column_bad_count,
        saturated_count=options.column_saturated_count,
        saturated_dilation=options.column_saturated_dilation,
    )


def _boxes(detector: Detector) -> npt.NDArray[np.int64]:
    boxes = [amplifier.detector_box for amplifier in detector.amplifiers]
    return np.array([(b.x0, b.y0, b.width, b.height) for b in boxes], np.int64)


def defect_map(
    detector: Detector,
    mask: Mask,
    manual: Sequence[npt.NDArray[np.int64]],
    options: Defects,
) -> npt.NDArray[np.uint8]:
    """Return merged defects, with those by hand and the edges, as a graph gives them.

    Parameters
    ----------
    detector : Detector
    mask : array of bool, shape (y, x)
        Assembled.
    manual : sequence of array of int64, shape (box, 4)
    options : Defects

    Returns
    -------
    array of uint8, shape (amp, y, x)
        1 where a pixel is bad, in the readout frame.
    """
    bad = mask | edge_frame(detector.shape, options.edge_rows, options.edge_columns)
    for boxes in manual:
        bad |= paint_boxes(detector.shape, boxes)
    return split_array(detector, bad.astype(np.uint8), range(detector.imaging_shape[0]))
