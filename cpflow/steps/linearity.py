"""Linearity from a ramp of flats or a photon transfer curve (spec electro-optical 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cpflow.camera import Detector
from cpflow.errors import ConfigurationError, DataError
from cpflow.exposure import Exposure
from cpflow.kernels.linearity_fit import fit_linearity
from cpflow.kernels.linearity_result import LinearityFit, LinearityOptions
from cpflow.kernels.linearity_scatter import mean_errors
from cpflow.kernels.linearity_turnoff import group_exposures
from cpflow.kernels.planes import BAD, NO_DATA, SAT, SUSPECT
from cpflow.kernels.statistics import clipped_statistics
from cpflow.products import LINEARITY_KINDS
from cpflow.stack import Column, Context, Frame, Stack, tabulate
from cpflow.steps.gathered import dropped_exposures
from cpflow.steps.options import Linearity
from cpflow.steps.ptc import flux_of
from cpflow.steps.tables import table

if TYPE_CHECKING:
    import xarray as xr

LEVELS = "amplifier_levels"
_MASKED = BAD | SAT | SUSPECT | NO_DATA
_OF_AMP = {
    "slope": "",
    "intercept": "adu",
    "scatter": "1",
    "jitter": "1",
    "chi2": "1",
    "turnoff": "adu",
    "max_signal": "adu",
    "fit_low": "adu",
    "fit_high": "adu",
}


@dataclass(frozen=True, slots=True)
class Ramp:
    """Signals against light: what a linearity is fitted to.

    Parameters
    ----------
    abscissa : array of float64, shape (point,)
        Exposure time, or charge of a photodiode.
    signal, errors : array of float64, shape (amp, point)
        Adu.
    usable : array of bool, shape (amp, point)
    trusted : array of bool, shape (amp, point), or None
        Points of a photon transfer curve.
    anchors : array of float64, shape (amp,), or None
        Turnoffs of the photon transfer curves, adu.
    """

    abscissa: npt.NDArray[np.float64]
    signal: npt.NDArray[np.float64]
    errors: npt.NDArray[np.float64]
    usable: npt.NDArray[np.bool_]
    trusted: npt.NDArray[np.bool_] | None
    anchors: npt.NDArray[np.float64] | None


def solve_linearity(detector: Detector, ptc: Any, options: Linearity) -> xr.Dataset:
    """Find the correction of each amplifier from the pairs of a photon transfer curve; lazy.

    Parameters
    ----------
    detector : Detector
    ptc : xarray.Dataset, or Delayed of one
        Measured without linearity.
    options : Linearity

    Returns
    -------
    xarray.Dataset
        `kind` and `coefficients` of each amplifier, and the residuals of each point.
    """
    points = _points(ptc)
    value = table(ptc, FitPtc(options, points))
    return _tabulated(value, detector, points, options, "pair")


def linearity_of_flats(flats: Stack, options: Linearity) -> xr.Dataset:
    """Find the correction of each amplifier from single flats; lazy.

    Parameters
    ----------
    flats : Stack
        A ramp in exposure time, in adu, signature removed.
    options : Linearity

    Returns
    -------
    xarray.Dataset
        As `solve_linearity`, with a point for each exposure.
    """
    if flats.units != "adu":
        raise ConfigurationError("linearity is measured in adu", hint="-c isr.gain=none")
    stack = flats.measure(LEVELS, MeasureAmplifiers())
    value = stack.solved(FitFlats(options, len(stack.detector.amplifiers)), name="linearity")
    product = _tabulated(value, stack.detector, len(stack.sources), options, "exposure")
    product["dropped"] = stack.gather(dropped_exposures, ("exposure",), np.bool_, name="dropped")
    return product.assign_coords(exposure=[e.exposure for e in stack.exposures])


def _points(ptc: Any) -> int | None:
    """Return the number of pairs; None if the curve is measured in the same plan."""
    sizes = getattr(ptc, "sizes", None)
    return int(sizes["pair"]) if isinstance(sizes, Mapping) else None


def _tabulated(
    value: Any, detector: Detector, points: int | None, options: Linearity, along: str
) -> xr.Dataset:
    kernel = kernel_options(options)
    coefficients = 2 if options.kind == "lookup_table" else kernel.values
    if options.kind == "spline":
        coefficients *= 2
    number = options.max_points if points is None else points
    columns = {
        "kind": Column(
            ("amp",),
            np.int8,
            {
                "units": "1",
                "flag_values": list(range(len(LINEARITY_KINDS))),
                "flag_meanings": " ".join(LINEARITY_KINDS),
            },
        ),
        "coefficients": Column(("amp", "coefficient"), np.float64, {}),
        "coefficient_errors": Column(("amp", "coefficient"), np.float64, {}),
        "reason": Column(("amp",), "U160", {}),
        "abscissa": Column((along,), np.float64, {}),
        "signal": Column(("amp", along), np.float64, {"units": "adu"}),
        "residual": Column(("amp", along), np.float64, {"units": "1"}),
        "residual_adu": Column(("amp", along), np.float64, {"units": "adu"}),
        "used": Column(("amp", along), np.bool_, {}),
    }
    columns |= {name: Column(("amp",), np.float64, {"units": u}) for name, u in _OF_AMP.items()}
    if options.kind == "lookup_table":
        columns["table"] = Column(("amp", "entry"), np.float32, {"units": "adu"})
    sizes = {
        "amp": len(detector.amplifiers),
        "coefficient": coefficients,
        along: number,
        "entry": options.table_size,
    }
    product = tabulate(value, columns, sizes, {"amp": list(detector.amplifier_names)})
    product.attrs["abscissa"] = options.abscissa
    return product


@dataclass(frozen=True, slots=True)
class FitPtc:
    """Fit the pairs of a photon transfer curve."""

    options: Linearity
    points: int | None

    def __call__(self, ptc: xr.Dataset) -> dict[str, npt.NDArray[Any]]:
        """Return the columns of the product.

        Raises
        ------
        DataError
            If the curve has no abscissa as the options ask for.
        """
        abscissa = ptc["flux" if self.options.abscissa == "flux" else "exposure_time"].values
        mean, variance = ptc["mean"].values, ptc["variance"].values
        pixels = 2 * ptc["n_pixels"].values
        ramp = Ramp(
            abscissa,
            mean,
            _errors(variance, pixels),
            ptc["good"].values,
            ptc["used"].values,
            ptc["turnoff"].values,
        )
        columns = fit_ramp(ramp, self.options)
        if self.points is None:
            columns = _padded_points(columns, self.options.max_points)
        return columns


@dataclass(frozen=True, slots=True)
class MeasureAmplifiers:
    """Clipped mean, variance and pixels of each amplifier of a whole frame."""

    def __call__(self, frame: Frame, context: Context) -> npt.NDArray[np.float64]:
        """Return mean [adu], variance [adu2] and number of pixels, shape (amp, 3)."""
        out = np.empty((len(frame.image), 3))
        for a, image in enumerate(frame.image):
            good = None
            if frame.mask is not None:
                good = (frame.mask[a] & np.uint16(_MASKED)) == 0
            # As wide as for pairs: at three sigma the part of a dust ring that is clipped grows
            # with the signal, and 2e-4 of the mean with it.
            found = clipped_statistics(image, good, 5.5, 3)
            out[a] = found.mean, found.stdev**2, found.used
        return out


@dataclass(frozen=True, slots=True)
class FitFlats:
    """Fit single flats."""

    options: Linearity
    amplifiers: int

    def __call__(
        self,
        values: Sequence[Mapping[str, Any] | None],
        exposures: Sequence[Exposure],
        shared: Mapping[str, Any],
    ) -> dict[str, npt.NDArray[Any]]:
        """Return the columns of the product."""
        missing = np.full((self.amplifiers, 3), np.nan)
        levels = np.array([missing if item is None else item[LEVELS] for item in values])
        mean, variance, pixels = np.moveaxis(levels, 2, 0).swapaxes(1, 2)
        if self.options.abscissa == "flux":
            abscissa = np.array([flux_of(e, self.options.flux_keyword) for e in exposures])
        else:
            abscissa = np.array(
                [np.nan if e.exposure_time is None else e.exposure_time for e in exposures]
            )
        usable = np.isfinite(mean) & (pixels > 1)
        ramp = Ramp(abscissa, mean, _errors(variance, pixels), usable, None, None)
        return fit_ramp(ramp, self.options)


def _errors(variance: npt.NDArray[np.float64], pixels: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the errors of mean signals, shape (amp, point)."""
    return np.array(
        [mean_errors(v, np.maximum(n, 1)) for v, n in zip(variance, pixels, strict=True)]
    )


def kernel_options(options: Linearity) -> LinearityOptions:
    """Return what the kernel is told."""
    return LinearityOptions(
        kind=options.kind,
        order=options.order,
        knots=options.knots,
        nodes=options.nodes,
        table_size=options.table_size,
        min_adu=options.min_adu,
        max_adu=options.max_adu,
        max_deviation=options.max_deviation,
        min_turnoff_adu=options.min_turnoff_adu,
        fit_offset=options.fit_offset,
        clip=options.clip,
    )


def fit_ramp(ramp: Ramp, options: Linearity) -> dict[str, npt.NDArray[Any]]:
    """Fit every amplifier of a ramp.

    Raises
    ------
    DataError
        If no point has a finite abscissa above zero.
    """
    if not (np.isfinite(ramp.abscissa) & (ramp.abscissa > 0)).any():
        raise DataError(
            f"no point of the ramp has a {options.abscissa} above zero",
            hint="-c linearity.abscissa=exposure_time, or flux with linearity.flux_keyword",
        )
    groups = None
    if options.group:
        mean = np.nanmean(np.where(ramp.usable, ramp.signal, np.nan), axis=0)
        groups = group_exposures(ramp.abscissa, mean, gap=options.group_gap)
    fits = []
    for a in range(len(ramp.signal)):
        anchor = None if ramp.anchors is None else float(ramp.anchors[a])
        fits.append(
            fit_linearity(
                ramp.abscissa,
                ramp.signal[a],
                ramp.errors[a],
                kernel_options(options),
                usable=ramp.usable[a],
                trusted=None if ramp.trusted is None else ramp.trusted[a],
                groups=groups,
                anchor=anchor if anchor is not None and np.isfinite(anchor) else None,
            )
        )
    return _columns(fits, ramp, options)


def _columns(
    fits: Sequence[LinearityFit], ramp: Ramp, options: Linearity
) -> dict[str, npt.NDArray[Any]]:
    columns: dict[str, npt.NDArray[Any]] = {
        "kind": np.array([LINEARITY_KINDS.index(fit.kind) for fit in fits], np.int8),
        "coefficients": np.array([fit.coefficients for fit in fits]),
        "coefficient_errors": np.array([fit.coefficient_errors for fit in fits]),
        "reason": np.array([fit.reason for fit in fits]),
        "abscissa": ramp.abscissa,
        "signal": ramp.signal,
        "residual": np.array([fit.residuals for fit in fits]),
        "residual_adu": np.array([fit.residuals_adu for fit in fits]),
        "used": np.array([fit.used for fit in fits]),
        "fit_low": np.array([fit.fit_range[0] for fit in fits]),
        "fit_high": np.array([fit.fit_range[1] for fit in fits]),
    }
    for name in ("slope", "intercept", "scatter", "jitter", "chi2", "turnoff", "max_signal"):
        columns[name] = np.array([getattr(fit, name) for fit in fits])
    if options.kind == "lookup_table":
        empty = np.zeros(options.table_size, np.float32)
        columns["table"] = np.array([empty if fit.table is None else fit.table for fit in fits])
    return columns


def _padded_points(
    columns: dict[str, npt.NDArray[Any]], number: int
) -> dict[str, npt.NDArray[Any]]:
    """Pad what has an entry for each point: how many there would be was not known before."""
    points = len(columns["abscissa"])
    if points > number:
        raise DataError(
            f"the photon transfer curve has {points} pairs",
            hint=f"-c linearity.max_points={points}",
        )
    for name in ("abscissa", "signal", "residual", "residual_adu", "used"):
        edges = [(0, 0)] * (columns[name].ndim - 1) + [(0, number - points)]
        fill = False if name == "used" else np.nan
        columns[name] = np.pad(columns[name], edges, constant_values=fill)
    return columns
