"""Instrument signature removal: the order of corrections, in one place (spec 2.2).

What the light and the electronics did last is undone first: overscan, bias, crosstalk, linearity,
gain, charge that the readout deferred; then defects are flagged, charge that moved while it was
collected (brighter-fatter) is put back, dark current is subtracted, the response divided out,
fringes and sky subtracted; and bad pixels are interpolated at the end. Crosstalk comes before
linearity, as in the reference of today (that of 2021 had it after): what leaks is the signal that
the electronics has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cpflow.errors import ConfigurationError
from cpflow.stack import Stack, beside_of
from cpflow.steps.brighter_fatter import (
    BRIGHTER_FATTER,
    KERNEL,
    CorrectBrighterFatter,
    MeasureConvergence,
)
from cpflow.steps.cti import serial_registers
from cpflow.steps.electronics import BESIDE, CTI, DEFECTS, GAINS, READOUT, RemoveSignature
from cpflow.steps.fringes import FRINGE, FRINGE_AMPLITUDE, MeasureFringe, SubtractFringe
from cpflow.steps.light import CorrectLight
from cpflow.steps.options import Isr
from cpflow.steps.readout import MeasureReadout
from cpflow.steps.repair import Repair
from cpflow.steps.sky_subtraction import SKY, SKY_SCALE, MeasureSkyScale, SubtractSky, sky_frame
from cpflow.steps.tables import crosstalk_matrix, defect_boxes, gains, kernel, linearity, table


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
        Corrected and masked exposures of the imaging area, in adu, or electrons if `options` say
        so.

    Raises
    ------
    ConfigurationError
        If a calibration that `options` ask for is missing, or the signature is removed already.
    """
    if any(isinstance(operation, RemoveSignature) for operation in raw.operations):
        raise ConfigurationError("the instrument signature of these exposures is removed already")
    if options.vignette.enabled and not raw.detector.pixel_size_mm > 0:
        raise ConfigurationError(
            f"isr.vignette is on, but detector {raw.detector.id} has no pixel size in mm",
            hint="say it in the instrument file, or -c isr.vignette.enabled=false",
        )
    stack = raw.measure(READOUT, MeasureReadout(options))
    stack = _with_electronics(stack, calibrations, options).then(RemoveSignature(options))
    if options.brighter_fatter:
        stack = stack.share(KERNEL, table(_asked("bfk", calibrations, "brighter_fatter"), kernel))
        stack = stack.measure(BRIGHTER_FATTER, MeasureConvergence(options))
        stack = stack.then(CorrectBrighterFatter(options))
    for name in ("dark", "flat"):
        if getattr(options, name) and _takes(stack, name):
            stack = stack.apply(name, _asked(name, calibrations, name))
    stack = stack.then(CorrectLight(options))
    if options.fringe and _takes(stack, FRINGE):
        stack = stack.apply(FRINGE, _asked(FRINGE, calibrations, "fringe"))
        stack = stack.measure(FRINGE_AMPLITUDE, MeasureFringe()).then(SubtractFringe())
    if options.sky and _takes(stack, SKY):
        stack = stack.share(SKY, table(_asked(SKY, calibrations, "sky"), sky_frame))
        stack = stack.measure(SKY_SCALE, MeasureSkyScale()).then(SubtractSky())
    return stack.then(Repair(options))


def _with_electronics(stack: Stack, calibrations: Mapping[str, Any], options: Isr) -> Stack:
    if options.bias:
        stack = stack.apply("bias", _asked("bias", calibrations, "bias"))
    if options.crosstalk and "crosstalk" in calibrations:
        stack = stack.share("crosstalk", table(calibrations["crosstalk"], crosstalk_matrix))
        if stack.beside:
            stack = stack.share(BESIDE, _neighbours(stack, options))
    if options.linearize and "linearizer" in calibrations:
        stack = stack.share("linearizer", table(calibrations["linearizer"], linearity))
    if options.gain == "ptc":
        stack = stack.share(GAINS, table(_asked("ptc", calibrations, "gain"), gains))
    if options.cti:
        stack = stack.share(CTI, table(_asked("cti", calibrations, "cti"), serial_registers))
    if options.defect and DEFECTS in calibrations:
        stack = stack.share(DEFECTS, table(calibrations[DEFECTS], defect_boxes))
    return stack


def _neighbours(stack: Stack, options: Isr) -> Any:
    """Return the raw frames of the other detectors with their overscan models, delayed."""
    from dask.delayed import delayed

    measured = {
        number: other.measure(READOUT, MeasureReadout(options))
        for number, other in stack.beside.items()
    }
    return delayed(dict)(
        [
            (number, delayed(beside_of)(other.detector, other.sources, other.measurements()))
            for number, other in measured.items()
        ]
    )


def _takes(stack: Stack, name: str) -> bool:
    """Whether any exposure has what a calibration corrects: without light there is no response."""
    return name == "dark" or any(
        e.observation_type not in ("bias", "dark") for e in stack.exposures
    )


def _asked(name: str, calibrations: Mapping[str, Any], option: str) -> Any:
    if name not in calibrations:
        off = "none" if option == "gain" else "false"
        raise ConfigurationError(
            f"isr.{option} is on, but there is no {name}",
            hint=f"build one and put its collection into -i, or -c isr.{option}={off}",
        )
    return calibrations[name]
