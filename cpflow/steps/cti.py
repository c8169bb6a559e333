"""Charge transfer inefficiency, from flats of several fluxes (spec electro-optical 5).

Raw frames are looked at before they are trimmed: what the transfers leave behind is in the first
overscan pixels, so the level of a row is taken from those after them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cpflow.errors import ConfigurationError, DataError
from cpflow.exposure import Exposure
from cpflow.kernels.cti_fit import PARAMETERS, fit_serial_transfer
from cpflow.kernels.deferred_charge import SerialTransfer
from cpflow.kernels.eper import cti_turnoff
from cpflow.stack import Column, Stack, tabulate
from cpflow.steps.cti_edges import LEAST_COLUMNS, Edges, MeasureEdges, baseline_columns
from cpflow.steps.electronics import GAINS
from cpflow.steps.options import Cti, Isr
from cpflow.steps.tables import gains, linearity, table

if TYPE_CHECKING:
    import xarray as xr

EDGES = "cti_edges"
_UNITS = {
    "inefficiency": "1",
    "drift_scale": "1",
    "drift_decay": "pixel",
    "trap_size": "electron",
    "trap_signal": "electron",
    "trap_decay": "pixel",
}
_OF_EXPOSURE = {
    "last_column": "electron",
    "last_row": "electron",
    "serial_cti": "1",
    "serial_cti_error": "1",
    "parallel_cti": "1",
    "parallel_cti_error": "1",
}


def measure_cti(raw: Stack, calibrations: Mapping[str, Any], isr: Isr, options: Cti) -> xr.Dataset:
    """Measure charge transfer inefficiency and fit the coefficients of its correction; lazy.

    Parameters
    ----------
    raw : Stack
        Raw flats of several fluxes, nothing done to them.
    calibrations : mapping of str to xarray.Dataset
        A linearizer and a photon transfer curve are used if `isr` asks for them.
    isr : Isr
        Saturation, linearity, gain, and of the overscan which columns and pixels are not used;
        nothing else counts here. The level of a row is a mean.
    options : Cti

    Returns
    -------
    xarray.Dataset
        Per exposure and amplifier the signal of the last imaging column and row, the profile of the
        first overscan columns in electrons, serial and parallel CTI and their errors; per amplifier
        the fitted coefficients (`cpflow.kernels.deferred_charge.SerialTransfer`).

    Raises
    ------
    ConfigurationError
        If operations were applied already, the overscan is off or too narrow, no gain is asked for,
        or a photon transfer curve that is asked for is missing.
    """
    if raw.operations:
        raise ConfigurationError("charge transfer inefficiency is measured on raw exposures")
    if isr.gain == "none":
        raise ConfigurationError(
            "charge transfer inefficiency is measured in electrons", hint="-c isr.gain=camera"
        )
    _check_overscan(raw, isr, options)
    stack = raw
    if isr.linearize and "linearizer" in calibrations:
        stack = stack.share("linearizer", table(calibrations["linearizer"], linearity))
    if isr.gain == "ptc":
        if "ptc" not in calibrations:
            raise ConfigurationError(
                "isr.gain is ptc, but there is no ptc", hint="or -c isr.gain=camera"
            )
        stack = stack.share(GAINS, table(calibrations["ptc"], gains))
    stack = stack.measure(EDGES, MeasureEdges(isr, options))
    per_exposure, of_profile = ("exposure", "amp"), ("exposure", "amp", "column")
    columns = {n: Column(per_exposure, np.float64, {"units": u}) for n, u in _OF_EXPOSURE.items()}
    for name in ("profile", "profile_error"):
        columns[name] = Column(of_profile, np.float64, {"units": "electron"})
    columns["used"] = Column(per_exposure, np.bool_, {})
    columns["dropped"] = Column(("exposure",), np.bool_, {})
    for name, unit in _UNITS.items():
        columns[name] = Column(("amp",), np.float64, {"units": unit})
        columns[f"{name}_error"] = Column(("amp",), np.float64, {"units": unit})
    columns["turnoff"] = Column(("amp",), np.float64, {"units": "electron"})
    columns["chi2"] = Column(("amp",), np.float64, {"units": "1"})
    columns["dof"] = Column(("amp",), np.int64, {"units": "1"})
    columns["reason"] = Column(("amp",), "U160", {})
    names = list(stack.detector.amplifier_names)
    return tabulate(
        stack.solved(SolveCti(options), name="cti"),
        columns,
        {"exposure": len(stack.sources), "amp": len(names), "column": options.columns},
        {
            "exposure": [e.exposure for e in stack.exposures],
            "amp": names,
            "column": list(range(1, options.columns + 1)),
        },
    )


def serial_registers(cti: xr.Dataset) -> tuple[SerialTransfer, ...]:
    """Return how the register of each amplifier defers charge; NaN where it is not known."""
    names = [field.name for field in fields(SerialTransfer)]
    rows = np.stack([np.asarray(cti[name].values, np.float64) for name in names], axis=1)
    return tuple(SerialTransfer(*(float(value) for value in row)) for row in rows)


def _check_overscan(raw: Stack, isr: Isr, options: Cti) -> None:
    if not isr.overscan.enabled:
        raise ConfigurationError("without overscan there is nothing to see charge transfer in")
    for amplifier in raw.detector:
        width = amplifier.serial_overscan.width
        if len(baseline_columns(amplifier, isr, options)) < LEAST_COLUMNS:
            raise ConfigurationError(
                f"amplifier {amplifier.name} of detector {raw.detector.id} has {width} overscan "
                f"columns: {options.columns} for the trail leave fewer than {LEAST_COLUMNS} for "
                "the level of a row",
                hint="a smaller -c cti.columns",
            )


@dataclass(frozen=True, slots=True)
class SolveCti:
    """Fit the coefficients of all amplifiers to the profiles of all exposures."""

    options: Cti

    def __call__(
        self,
        values: Sequence[Mapping[str, Any] | None],
        exposures: Sequence[Exposure],
        shared: Mapping[str, Any],
    ) -> dict[str, npt.NDArray[Any]]:
        """Return the columns of the product.

        Raises
        ------
        DataError
            If no amplifier has flats that coefficients could be fitted to.
        """
        known = next(item[EDGES] for item in values if item is not None)
        columns = self._measured(values, len(known))
        for a, edges in enumerate(known):
            self._fit(columns, a, edges)
        if not columns["used"].any():
            raise DataError(
                f"none of {len(values)} exposures has an edge to see charge transfer at: "
                + str(columns["reason"][0]),
                hint="take flats of several fluxes below saturation, or change -c cti.max_signal",
            )
        return columns

    def _fit(self, columns: dict[str, npt.NDArray[Any]], a: int, edges: Edges) -> None:
        options = self.options
        signals = columns["last_column"][:, a]
        turnoff = cti_turnoff(
            signals,
            columns["serial_cti"][:, a],
            columns["serial_cti_error"][:, a],
            tolerance=options.turnoff_tolerance,
            significance=options.significance,
        )
        columns["turnoff"][a] = turnoff
        fit = fit_serial_transfer(
            signals,
            columns["profile"][:, a],
            columns["profile_error"][:, a],
            edges.transfers,
            baseline=edges.baseline,
            level_variance=edges.level_variance,
            min_signal=options.min_signal,
            max_signal=float(np.fmin(options.max_signal, turnoff)),
            significance=options.significance,
        )
        for i, name in enumerate(PARAMETERS):
            columns[name][a] = getattr(fit.register, name)
            columns[f"{name}_error"][a] = fit.errors[i]
        columns["used"][:, a] = fit.used
        columns["chi2"][a], columns["dof"][a] = fit.chi2, fit.dof
        columns["reason"][a] = fit.reason

    def _measured(
        self, values: Sequence[Mapping[str, Any] | None], amplifiers: int
    ) -> dict[str, npt.NDArray[Any]]:
        shape = (len(values), amplifiers)
        columns: dict[str, npt.NDArray[Any]] = {n: np.full(shape, np.nan) for n in _OF_EXPOSURE}
        for name in ("profile", "profile_error"):
            columns[name] = np.full((*shape, self.options.columns), np.nan)
        columns["used"] = np.zeros(shape, np.bool_)
        columns["dropped"] = np.array([item is None for item in values])
        for name in (*PARAMETERS, *(f"{name}_error" for name in PARAMETERS), "turnoff", "chi2"):
            columns[name] = np.full(amplifiers, np.nan)
        columns["dof"] = np.zeros(amplifiers, np.int64)
        columns["reason"] = np.full(amplifiers, "", "U160")
        for i, item in enumerate(values):
            for a, edges in enumerate(() if item is None else item[EDGES]):
                if edges.serial is not None:
                    columns["last_column"][i, a] = edges.serial.signal
                    columns["serial_cti"][i, a] = edges.serial.cti
                    columns["serial_cti_error"][i, a] = edges.serial.error
                    columns["profile"][i, a] = edges.serial.profile
                    columns["profile_error"][i, a] = edges.serial.profile_errors
                if edges.parallel is not None:
                    columns["last_row"][i, a] = edges.parallel.signal
                    columns["parallel_cti"][i, a] = edges.parallel.cti
                    columns["parallel_cti_error"][i, a] = edges.parallel.error
        return columns
