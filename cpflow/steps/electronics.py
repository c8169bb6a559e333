"""What the readout electronics did to an exposure, undone: raw counts to linear, masked pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cpflow.camera import Detector
from cpflow.errors import ConfigurationError
from cpflow.kernels.crosstalk import convert_coefficients, mask_bright_sources, subtract_crosstalk
from cpflow.kernels.deferred_charge import restore_deferred_charge
from cpflow.kernels.linearity import linearize
from cpflow.kernels.planes import BAD, CROSSTALK
from cpflow.kernels.readout import subtract_overscan
from cpflow.kernels.variance import variance_plane
from cpflow.stack import Beside, Context, Frame, Stack
from cpflow.stack.geometry import place, to_detector_frame
from cpflow.steps.images import in_units, subtract
from cpflow.steps.options import Isr
from cpflow.steps.readout import Readout, saturation_levels
from cpflow.steps.tables import CrosstalkMatrix, LinearityOfAmplifier

CTI = "cti"
READOUT = "readout"
DEFECTS = "defects"
GAINS = "gains"
BESIDE = "beside"


@dataclass(frozen=True, slots=True)
class RemoveSignature:
    """Overscan, bias, variance, crosstalk, linearity, gain, deferred charge, defects: this order.

    Each pixel needs only pixels of its own readout row and column, so any rows will do. What needs
    a whole frame, the overscan model, was measured before.
    """

    options: Isr
    halo: int = 0

    @property
    def units(self) -> str:
        """Units of what comes out."""
        return "adu" if self.options.gain == "none" else "electron"

    def __call__(self, frame: Frame, context: Context) -> Frame:
        """Correct raw rows of one exposure and trim them to the imaging columns."""
        options, detector = self.options, context.detector
        readout: Readout = context.measured[READOUT]
        box = detector.amplifiers[0].imaging
        first, stop = max(frame.rows.start, box.y0), min(frame.rows.stop, box.y1)
        rows = range(first - box.y0, stop - box.y0)
        raw = frame.image[:, first - frame.rows.start : stop - frame.rows.start]
        image, mask = _subtract_overscan(raw, rows, readout, detector, options)
        out = Frame(image, rows, mask, trimmed=True)
        gains = None if options.gain == "none" else gains_of(context)
        bias = None
        if options.bias:
            bias = in_units("bias", context.shared["bias"], out.units, gains)
            subtract(out, bias)
        if options.variance and context.want_variance:
            out.variance = _variance(out, readout, context, options)
            known = None if bias is None else bias.part(rows).variance
            if known is not None:
                out.variance += known
        if options.crosstalk and "crosstalk" in context.shared:
            _subtract_crosstalk(out, context, options)
        if options.linearize and "linearizer" in context.shared:
            _linearize(out, context.shared["linearizer"])
        if gains is not None:
            factor = gains.astype(np.float32)[:, None, None]
            out.image *= factor
            if out.variance is not None:
                out.variance *= factor**2
            out.units = "electron"
        if options.cti and CTI in context.shared:
            # In electrons; a frame that stays in adu is so between the gain and its inverse.
            to_electrons = gains_of(context) if gains is None else 1.0
            registers, transfers = context.shared[CTI], options.cti_transfers
            restore_deferred_charge(out.image, registers, box.x0, to_electrons, transfers=transfers)
        _flag_bad(out, readout, context)
        return out


def check_variance(stack: Stack, purpose: str) -> None:
    """Refuse exposures without a variance plane where one is needed.

    Raises
    ------
    ConfigurationError
    """
    for operation in stack.operations:
        if isinstance(operation, RemoveSignature) and not operation.options.variance:
            raise ConfigurationError(
                f"isr.variance is off, but {purpose} needs it", hint="-c isr.variance=true"
            )


def gains_of(context: Context) -> npt.NDArray[np.float64]:
    """Return the gain of each amplifier, electron/adu: measured if there is one, else the camera's.

    An amplifier whose gain could not be measured has 1 here, and is flagged BAD.
    """
    measured = context.shared.get(GAINS)
    if measured is None:
        return np.array([amplifier.gain for amplifier in context.detector.amplifiers])
    return np.where(np.isfinite(measured) & (measured > 0), measured, 1.0)


def _subtract_overscan(
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


def _variance(
    frame: Frame, readout: Readout, context: Context, options: Isr
) -> npt.NDArray[np.float32]:
    variance = np.empty(frame.image.shape, np.float32)
    gains = gains_of(context)
    for a, amplifier in enumerate(context.detector.amplifiers):
        noise = amplifier.read_noise / amplifier.gain
        if (options.empirical_read_noise or np.isnan(noise)) and np.isfinite(readout.noise[a]):
            noise = float(readout.noise[a])
        if np.isnan(noise):
            noise = 0.0
        variance[a] = variance_plane(frame.image[a], gains[a], noise, read_noise_unit="adu")
    return variance


def _subtract_crosstalk(frame: Frame, context: Context, options: Isr) -> None:
    """Subtract the ghosts of all amplifiers, in adu (spec 2.7).

    Before linearity, as in the reference of today: what leaks is the signal that the electronics
    has, nonlinear as it is.
    """
    matrix: CrosstalkMatrix = context.shared["crosstalk"]
    c, q = matrix.coefficients, matrix.quadratic
    gains = context.shared.get(GAINS)
    if matrix.units == "electron":
        # As they were measured: for one that was not, the conversion takes the median of others.
        c, q = convert_coefficients(c, q, gains_of(context) if gains is None else gains, "adu")
    ghosts = None
    # A saturated amplifier has no level, and its counts are no signal (spec electro-optical 4.3).
    readout: Readout = context.measured[READOUT]
    valid = matrix.valid & ~readout.bad[:, None] & ~readout.bad
    if options.crosstalk_mask is not None:
        ghosts = mask_bright_sources(frame.image, c, options.crosstalk_mask, valid)
    subtract_crosstalk(frame.image, c, q, valid)
    for detector, between in matrix.between.items():
        other = context.shared.get(BESIDE, {}).get(detector)
        if other is not None:
            if matrix.units == "electron":
                own = gains_of(context) if gains is None else gains
                own = np.where(np.isfinite(own) & (own > 0), own, np.nanmedian(own))
                theirs = np.array([amplifier.gain for amplifier in other.detector.amplifiers])
                between = between * theirs[:, None] / own
            _subtract_other(frame, other, between, context, options)
    if ghosts is not None and ghosts.any():
        frame.writable_mask()[ghosts] |= np.uint16(CROSSTALK)


def _subtract_other(
    frame: Frame,
    other: Beside,
    between: npt.NDArray[np.float64],
    context: Context,
    options: Isr,
) -> None:
    """Subtract the ghosts of another detector, whose signal is overscan-subtracted adu."""
    found = other.read(context.exposure.exposure, frame.rows)
    if found is None:
        return
    raw, detector = found
    readout: Readout = other.measured[context.exposure.exposure][READOUT]
    sources, _ = _subtract_overscan(raw, frame.rows, readout, detector, options)
    for s, signal in enumerate(sources):
        if readout.bad[s]:
            continue
        for t in np.flatnonzero(np.isfinite(between[s]) & (between[s] != 0)):
            frame.image[t] -= np.float32(between[s, t]) * signal


def _linearize(frame: Frame, linearity: tuple[LinearityOfAmplifier, ...]) -> None:
    for image, amplifier in zip(frame.image, linearity, strict=True):
        linearize(image, amplifier.kind, amplifier.coefficients, amplifier.table)


def _flag_bad(frame: Frame, readout: Readout, context: Context) -> None:
    bad = readout.bad
    if GAINS in context.shared:
        measured = context.shared[GAINS]
        bad = bad | ~(np.isfinite(measured) & (measured > 0))
    if bad.any():
        frame.writable_mask()[bad] |= np.uint16(BAD)
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
        view = to_detector_frame(amplifier, mask[a])
        for i in np.flatnonzero((x0 < x1) & (y0 < y1)):
            view[y0[i] - area.y0 : y1[i] - area.y0, x0[i] - area.x0 : x1[i] - area.x0] |= np.uint16(
                BAD
            )
