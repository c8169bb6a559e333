"""Pixels that are doubtful for where they are: near an edge, or behind the vignetting."""

from __future__ import annotations

import numpy as np

from cpflow.camera import Detector
from cpflow.kernels.planes import NO_DATA, SUSPECT, VIGNETTED
from cpflow.stack import Frame
from cpflow.stack.geometry import place, to_detector_frame
from cpflow.steps.options import Isr, Vignette


def flag_edges(frame: Frame, detector: Detector, options: Isr) -> None:
    """Set SUSPECT on the pixels at the border of the detector, or of each amplifier (spec 2.12)."""
    width = options.edge_suspect
    if width == 0:
        return
    rows, columns = detector.shape
    mask = frame.writable_mask()
    for a, amplifier in enumerate(detector.amplifiers):
        box = place(amplifier, frame.rows)
        whole = amplifier.detector_box
        y, x = np.arange(box.y0, box.y1), np.arange(box.x0, box.x1)
        if options.edge_level == "amp":
            near_y = np.minimum(y - whole.y0, whole.y1 - 1 - y) < width
            near_x = np.minimum(x - whole.x0, whole.x1 - 1 - x) < width
        else:
            near_y = np.minimum(y, rows - 1 - y) < width
            near_x = np.minimum(x, columns - 1 - x) < width
        view = to_detector_frame(amplifier, mask[a])
        view[near_y] |= np.uint16(SUSPECT)
        view[:, near_x] |= np.uint16(SUSPECT)


def flag_vignetted(frame: Frame, detector: Detector, vignette: Vignette) -> None:
    """Set NO_DATA and VIGNETTED on pixels whose centre lies outside a circle of the focal plane.

    Spec 2.12; the circle itself, where the reference takes a polygon of 100 points.
    """
    if not vignette.enabled or not reaches(detector, vignette):
        return
    x0, y0 = detector.reference_pixel
    for a, amplifier in enumerate(detector.amplifiers):
        box = place(amplifier, frame.rows)
        y = (np.arange(box.y0, box.y1) - y0) * detector.pixel_size_mm + detector.centre_mm[1]
        x = (np.arange(box.x0, box.x1) - x0) * detector.pixel_size_mm + detector.centre_mm[0]
        distance = (x - vignette.x) ** 2 + (y[:, None] - vignette.y) ** 2
        outside = distance > vignette.radius**2
        if outside.any():
            view = to_detector_frame(amplifier, frame.writable_mask()[a])
            view[outside] |= np.uint16(NO_DATA | VIGNETTED)


def reaches(detector: Detector, vignette: Vignette) -> bool:
    """Whether the vignetting covers any corner of a detector."""
    rows, columns = detector.shape
    x0, y0 = detector.reference_pixel
    for y in (-0.5, rows - 0.5):
        for x in (-0.5, columns - 0.5):
            dx = (x - x0) * detector.pixel_size_mm + detector.centre_mm[0] - vignette.x
            dy = (y - y0) * detector.pixel_size_mm + detector.centre_mm[1] - vignette.y
            if dx * dx + dy * dy > vignette.radius**2:
                return True
    return False
