"""Instrument signature removal: the order of corrections, in one place (spec 2.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cpflow.camera import Detector
from cpflow.errors import ConfigurationError, RawError
from cpflow.kernels.interpolate import interpolate_rows
from cpflow.kernels.masks import grow, widen_trails
from cpflow.kernels.planes import BAD, INTRP, SAT, UNMASKEDNAN
from cpflow.kernels.readout import subtract_overscan
from cpflow.kernels.variance import variance_plane
from cpflow.stack import Context, Frame, Planes, Stack
from cpflow.stack.geometry import place, slabs
from cpflow.steps.images import check_units, divide, subtract
from cpflow.steps.options import Isr
from cpflow.steps.readout import MeasureReadout, Readout, saturation_levels

READOUT = "readout"
DEFECTS = "defects"


def isr(raw: Stack, calibrations: Mapping[str, Any], options: Isr) -> Stack:
    """Remove the instrument signature from every exposure of a stack; lazy.

    Parameters
    ----------
    raw : Stack
        Raw exposures.
    calibrations : mapping of str to xarray.Dataset
        Those found, by product name; only the ones that `options` ask for are used.
    options : Isr

    Returns
    -------
    Stack
        Overscan-subtracted, trimmed, masked and corrected exposures, adu.

    Raises
    ------
    ConfigurationError
        If a calibration that `options` ask for is missing, or the signature is removed already.
    """
    if any(isinstance(operation, RemoveSignature) for operation in raw.operations):
        raise ConfigurationError("the instrument signature of these exposures is removed already")
    stack = raw.measure(READOUT, MeasureReadout(options))
    for name in ("bias", "dark", "flat"):
        if getattr(options, name):
            if name not in calibrations:
                raise ConfigurationError(
                    f"isr.{name} is on, but there is no {name}",
                    hint=f"build one and put its collection into -i, or -c isr.{name}=false",
                )
            stack = stack.apply(name, calibrations[name])
    if options.defect and DEFECTS in calibrations:
        stack = stack.share(DEFECTS, defect_boxes(calibrations[DEFECTS]))
    return stack.then(RemoveSignature(options))


def defect_boxes(defects: Any) -> Any:
    """Return a defect product as lazy boxes, shape (box, 4): x0, y0, width, height."""
    from dask.delayed import delayed

    columns = [defects[name].data for name in ("x0", "y0", "width", "height")]
    return delayed(np.column_stack)(columns)


@dataclass(frozen=True, slots=True)
class RemoveSignature:
    """All corrections on one frame, in order; what needs a whole frame was measured before."""

    options: Isr

    @property
    def halo(self) -> int:
        """Rows needed on each side: a saturated pixel is grown before it is interpolated."""
        return self.options.grow_saturation if self.options.interpolate else 0

    def __call__(self, frame: Frame, context: Context) -> Frame:
        """Correct raw rows of one exposure and trim them to the imaging columns."""
        options, detector = self.options, context.detector
        readout: Readout = context.measured[READOUT]
        box = detector.amplifiers[0].imaging
        first, stop = max(frame.rows.start, box.y0), min(frame.rows.stop, box.y1)
        rows = range(first - box.y0, stop - box.y0)
        raw = frame.image[:, first - frame.rows.start : stop - frame.rows.start]
        image, mask = _subtract(raw, rows, readout, detector, options)
        out = Frame(image, rows, mask, trimmed=True, units=frame.units)
        _flag_bad(out, readout, context)
        if options.bias:
            subtract(out, _planes("bias", context, out.units))
        if options.variance and context.want_variance:
            variance = _variance(out, readout, detector, options)
            bias = context.shared["bias"].part(rows) if options.bias else None
            if bias is not None and bias.variance is not None:
                variance += bias.variance
            out.variance = variance
        if options.dark:
            subtract(out, _planes("dark", context, f"{out.units}/s"), _dark_time(context))
        if options.flat:
            divide(out, _planes("flat", context, "1"))
        if options.nan_mask and (raw.dtype.kind == "f" or options.flat):
            unknown = ~np.isfinite(image)
            if unknown.any():
                out.writable_mask()[unknown] |= np.uint16(UNMASKEDNAN)
        if out.mask is not None:
            _repair(out, detector, options)
        return out


def _planes(name: str, context: Context, units: str) -> Planes:
    planes: Planes = context.shared[name]
    check_units(name, planes, units)
    return planes


def _dark_time(context: Context) -> float:
    """Return the seconds of dark current (spec 2.10)."""
    time = context.exposure.dark_time
    if time is None or not np.isfinite(time):
        raise RawError(
            "it has no dark time, so its dark current is unknown",
            hint="mend DARKTIME in its header, or -c isr.dark=false",
        )
    return time


def _subtract(
    raw: npt.NDArray[Any], rows: range, readout: Readout, detector: Detector, options: Isr
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint16] | None]:
    saturation, suspect = saturation_levels(detector, options)
    return subtract_overscan(
        raw,
        readout.level[:, rows.start : rows.stop],
        readout.columns,
        detector.amplifiers[0].imaging.x0,
        saturation,
        suspect,
        test_subtracted=options.saturation_stage == "overscan_subtracted",
    )


def _flag_bad(frame: Frame, readout: Readout, context: Context) -> None:
    if readout.bad.any():
        frame.writable_mask()[readout.bad] |= np.uint16(BAD)
    boxes = context.shared.get(DEFECTS)
    if boxes is None or len(boxes) == 0:
        return
    mask = frame.writable_mask()
    for a, amplifier in enumerate(context.detector.amplifiers):
        area = place(amplifier, frame.rows)
        x0 = np.maximum(boxes[:, 0], area.x0)
        y0 = np.maximum(boxes[:, 1], area.y0)
        x1 = np.minimum(boxes[:, 0] + boxes[:, 2], area.x1)
        y1 = np.minimum(boxes[:, 1] + boxes[:, 3], area.y1)
        view = mask[a]
        if amplifier.flip_y:
            view = view[::-1]
        if amplifier.flip_x:
            view = view[:, ::-1]
        for i in np.flatnonzero((x0 < x1) & (y0 < y1)):
            view[y0[i] - area.y0 : y1[i] - area.y0, x0[i] - area.x0 : x1[i] - area.x0] |= np.uint16(
                BAD
            )


def _variance(
    frame: Frame, readout: Readout, detector: Detector, options: Isr
) -> npt.NDArray[np.float32]:
    variance = np.empty(frame.image.shape, np.float32)
    for a, amplifier in enumerate(detector.amplifiers):
        noise = amplifier.read_noise / amplifier.gain
        if (options.empirical_read_noise or np.isnan(noise)) and np.isfinite(readout.noise[a]):
            noise = float(readout.noise[a])
        if np.isnan(noise):
            noise = 0.0
        variance[a] = variance_plane(frame.image[a], amplifier.gain, noise, read_noise_unit="adu")
    return variance


def _repair(frame: Frame, detector: Detector, options: Isr) -> None:
    """Widen saturation trails and interpolate, along rows of the assembled detector."""
    mask = frame.writable_mask()
    planes = BAD | UNMASKEDNAN | (SAT if options.saturation_interpolation else 0)
    if not (mask & np.uint16(SAT | planes)).any():
        return
    for slab in slabs(detector, frame.rows):
        rows = slab.gather(detector, mask)
        if not (rows & np.uint16(SAT | planes)).any():
            continue
        saturated = (rows & np.uint16(SAT)) != 0
        if options.widen_saturation_trails and saturated.any():
            saturated = widen_trails(saturated)
            rows[saturated] |= np.uint16(SAT)
        if options.interpolate:
            bad = (rows & np.uint16(planes & ~SAT)) != 0
            if options.saturation_interpolation and saturated.any():
                bad |= grow(saturated, options.grow_saturation)
            _interpolate(frame, detector, slab, rows, bad)
        slab.scatter(detector, rows, mask)


def _interpolate(frame: Frame, detector: Detector, slab: Any, rows: Any, bad: Any) -> None:
    """Replace bad pixels of a slab from their neighbours in the row, and say so in its mask."""
    touched = np.flatnonzero(bad.any(axis=1))
    if len(touched) == 0:
        return
    image = slab.gather(detector, frame.image)
    part, where = image[touched], bad[touched]
    variance = None if frame.variance is None else slab.gather(detector, frame.variance)
    part_variance = None if variance is None else variance[touched]
    # A run at the border takes the mean of its row's good pixels (spec 2.13 takes the clipped mean
    # of the image, which a band does not know); a row without any becomes NaN.
    good = ~where & np.isfinite(part)
    counts = good.sum(axis=1)
    sums = np.where(good, part, 0).sum(axis=1, dtype=np.float64)
    fallback = np.full(len(touched), np.nan, np.float32)
    np.divide(sums, counts, out=fallback, where=counts > 0, casting="unsafe")
    interpolate_rows(part, part_variance, where, fallback)
    image[touched] = part
    slab.scatter(detector, image, frame.image)
    if variance is not None and part_variance is not None:
        variance[touched] = part_variance
        slab.scatter(detector, variance, frame.variance)
    rows[bad] |= np.uint16(INTRP)
    rows[bad & ~np.isfinite(image)] |= np.uint16(UNMASKEDNAN)
