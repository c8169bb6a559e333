"""Photon transfer curve: pairs of flats measured one by one, then fitted (electro-optical 1)."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cpflow.errors import ConfigurationError, DataError, NoDataError
from cpflow.exposure import Exposure
from cpflow.kernels.pairing import pair_exposures
from cpflow.kernels.planes import BAD, NO_DATA, SAT, SUSPECT
from cpflow.kernels.ptc_fit import FitOptions, fit_ptc
from cpflow.kernels.ptc_pair import PairMeasurement, PairOptions, measure_pair
from cpflow.kernels.ptc_result import PtcFit
from cpflow.kernels.ptc_selection import SelectionOptions
from cpflow.stack import Column, Context, Frame, Stack, solve_pairs, tabulate
from cpflow.steps.electronics import READOUT
from cpflow.steps.options import Ptc

if TYPE_CHECKING:
    import xarray as xr

logger = logging.getLogger(__name__)

_MASKED = BAD | SAT | SUSPECT | NO_DATA
_LAGS = ("amp", "lag_x", "lag_y")
_OF_AMP = {
    "gain": "electron/adu",
    "gain_error": "electron/adu",
    "noise": "electron",
    "noise_error": "electron",
    "turnoff": "adu",
    "turnoff_error": "adu",
    "chi2": "1",
}
_OF_LAGS = {
    "a": "1/electron",
    "a_error": "1/electron",
    "b": "1/electron",
    "b_error": "1/electron",
    "noise_matrix": "electron2",
}
_OF_PAIR = {
    "mean": "adu",
    "delta": "adu",
    "variance": "adu2",
    "variance_model": "adu2",
    "row_mean_variance": "adu2",
    "pair_gain": "electron/adu",
    "overscan_noise": "adu",
    "overscan_level": "adu",
    "histogram_variance": "adu2",
    "histogram_chi2": "1",
    "p_value": "1",
}


def measure_ptc(flats: Stack, options: Ptc) -> xr.Dataset:
    """Measure the photon transfer curve of every amplifier; lazy.

    Parameters
    ----------
    flats : Stack
        Flats in adu, signature removed, not divided by a flat.
    options : Ptc

    Returns
    -------
    xarray.Dataset
        Per amplifier gain, read noise (without what the overscan's own noise adds to each pixel;
        that is in the noise matrix), and the matrices a, b and noise, indexed [lag in x, lag in y]
        (x along rows); per pair means, variances and covariances, and which were used.

    Raises
    ------
    NoDataError
        If no two exposures make a pair.
    ConfigurationError
        If the flats are not in adu, or have no flux to be paired by.
    """
    if flats.units != "adu":
        raise ConfigurationError(
            "a photon transfer curve is measured in adu", hint="-c isr.gain=none"
        )
    pairs = pairs_of(flats.exposures, options)
    value = solve_pairs(flats, "ptc", pairs, MeasurePair(options), FitCurves(options, tuple(pairs)))
    columns = {name: Column(("amp",), np.float64, {"units": u}) for name, u in _OF_AMP.items()}
    columns["dof"] = Column(("amp",), np.int64, {"units": "1"})
    columns["reason"] = Column(("amp",), "U160", {})
    columns |= {name: Column(_LAGS, np.float64, {"units": u}) for name, u in _OF_LAGS.items()}
    place = ("amp", "pair")
    columns |= {name: Column(place, np.float64, {"units": u}) for name, u in _OF_PAIR.items()}
    columns["n_pixels"] = Column(place, np.int64, {"units": "1"})
    columns["good"] = Column(place, np.bool_, {})
    columns["used"] = Column(place, np.bool_, {})
    lags = (*place, "lag_x", "lag_y")
    for name in ("covariances", "covariance_errors", "covariances_model"):
        columns[name] = Column(lags, np.float64, {"units": "adu2"})
    columns["dropped"] = Column(("exposure",), np.bool_, {})
    columns["exposures"] = Column(("pair", "of_pair"), np.int64, {})
    for name in ("exposure_time", "flux"):
        columns[name] = Column(("pair",), np.float64, {"units": "s" if name != "flux" else ""})
    sizes = {
        "amp": len(flats.detector.amplifiers),
        "pair": len(pairs),
        "lag_x": options.max_lag,
        "lag_y": options.max_lag,
        "of_pair": 2,
        "exposure": len(flats.sources),
    }
    coords = {
        "amp": list(flats.detector.amplifier_names),
        "exposure": [e.exposure for e in flats.exposures],
    }
    product = tabulate(value, columns, sizes, coords)
    product.attrs.update(fit_type=options.fit_type, fit_degree=options.degree)
    return product


def pairs_of(exposures: Sequence[Exposure], options: Ptc) -> list[tuple[int, int]]:
    """Return the places of exposures that make pairs; those left out are logged with the reason.

    Raises
    ------
    NoDataError
        If there are none.
    ConfigurationError
        If an exposure has no flux, and pairs are made by flux.
    """
    values = None
    if options.pair_by == "time":
        values = [np.nan if e.exposure_time is None else e.exposure_time for e in exposures]
    elif options.pair_by == "flux":
        values = [flux_of(e, options.flux_keyword) for e in exposures]
        if not np.isfinite(values).any():
            raise ConfigurationError(
                f"no exposure has a flux {options.flux_keyword!r} to be paired by",
                hint="name the keyword in the instrument file's extra fields, or "
                "-c ptc.pair_by=time",
            )
    found = pair_exposures([e.exposure for e in exposures], values, options.pair_by)
    for id_, reason in found.left_out:
        logger.warning("exposure %d is in no pair: %s", id_, reason, extra={"exposure": id_})
    if not found.pairs:
        raise NoDataError(
            f"no two of {len(exposures)} flats make a pair by {options.pair_by}",
            hint="they come in pairs of equal exposure time; ptc.pair_by=id takes them in order",
        )
    places = {e.exposure: i for i, e in enumerate(exposures)}
    return [(places[first], places[second]) for first, second in found.pairs]


def flux_of(exposure: Exposure, keyword: str) -> float:
    """Return the flux that the header of an exposure gives, NaN if none."""
    value = exposure.extra.get(keyword)
    return float(value) if isinstance(value, (int, float)) else float("nan")


@dataclass(frozen=True, slots=True)
class MeasuredPair:
    """One pair: each amplifier's measurement, its overscan noise and level in adu.

    `level_variance` is the part of the noise that the subtracted overscan added (`Readout`).
    """

    amplifiers: tuple[PairMeasurement, ...]
    noise: npt.NDArray[np.float64]
    level: npt.NDArray[np.float64]
    level_variance: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MeasurePair:
    """Measure all amplifiers of a pair of flats."""

    options: Ptc

    def __call__(
        self, frames: tuple[Frame, Frame], contexts: tuple[Context, Context]
    ) -> MeasuredPair:
        """Return what each amplifier yields; a bad one says why."""
        options = PairOptions(
            max_lag=self.options.max_lag,
            clip=self.options.clip,
            iterations=self.options.iterations,
            min_pixels=self.options.min_pixels,
            gain_correction=self.options.gain_correction,
            histogram=self.options.histogram,
        )
        readouts = [context.measured[READOUT] for context in contexts]
        good = np.ones(frames[0].image.shape, np.bool_)
        for frame in frames:
            if frame.mask is not None:
                good &= (frame.mask & np.uint16(_MASKED)) == 0
        measured = []
        for a in range(len(good)):
            noises = (float(readouts[0].noise[a]), float(readouts[1].noise[a]))
            first, second = (frame.image[a] for frame in frames)
            measured.append(measure_pair(first, second, good[a], noises, options))
        return MeasuredPair(
            tuple(measured),
            0.5 * (readouts[0].noise + readouts[1].noise),
            0.5 * (readouts[0].mean + readouts[1].mean),
            readouts[0].level_variance,
        )


@dataclass(frozen=True, slots=True)
class FitCurves:
    """Fit the curves of all amplifiers."""

    options: Ptc
    pairs: tuple[tuple[int, int], ...]

    def __call__(
        self,
        values: Sequence[MeasuredPair | None],
        exposures: Sequence[Exposure],
        failed: Collection[int],
    ) -> dict[str, npt.NDArray[Any]]:
        """Return the columns of the product.

        Raises
        ------
        DataError
            If no pair could be measured.
        """
        known = [value for value in values if value is not None]
        if not known:
            raise DataError("no pair of flats could be measured")
        columns = _measurements(values, len(known[0].amplifiers), self.options.max_lag)
        columns["dropped"] = np.array([e.exposure in failed for e in exposures])
        columns["exposures"] = np.array(
            [[exposures[i].exposure for i in pair] for pair in self.pairs], np.int64
        )
        columns["exposure_time"] = np.array(
            [_mean(exposures[i].exposure_time for i in pair) for pair in self.pairs]
        )
        columns["flux"] = np.array(
            [_mean(flux_of(exposures[i], self.options.flux_keyword) for i in p) for p in self.pairs]
        )
        fits = [
            fit_ptc(
                columns["mean"][a],
                columns["variance"][a],
                columns["covariances"][a],
                1 / columns["covariance_errors"][a],
                columns["good"][a],
                columns["p_value"][a],
                fit_options(self.options),
            )
            for a in range(len(columns["mean"]))
        ]
        columns |= _fitted(fits, self.options.max_lag)
        # The noise of a pixel has that of its row's overscan in it: 1.2 % with 64 columns.
        added = np.nan_to_num(known[0].level_variance)
        for name in ("noise", "noise_error"):
            columns[name] = columns[name] / np.sqrt(1 + added)
        return columns


def fit_options(options: Ptc) -> FitOptions:
    """Return what the kernel is told."""
    return FitOptions(
        fit_type=options.fit_type,
        lags=options.fit_lags or options.max_lag,
        degree=options.degree,
        min_mean=options.min_mean,
        max_mean=options.max_mean,
        min_p_value=options.min_p_value,
        selection=SelectionOptions(clip=options.outlier_clip),
        subtract_long_range=options.subtract_long_range,
        polynomial_degree=options.polynomial_degree,
    )


def _mean(values: Any) -> float:
    numbers = [np.nan if value is None else float(value) for value in values]
    return float(np.mean(numbers))


def _measurements(
    values: Sequence[MeasuredPair | None], amplifiers: int, lags: int
) -> dict[str, npt.NDArray[Any]]:
    """Return what was measured as arrays of shape (amp, pair, ...)."""
    shape = (amplifiers, len(values))
    columns: dict[str, npt.NDArray[Any]] = {name: np.full(shape, np.nan) for name in _OF_PAIR}
    columns["n_pixels"] = np.zeros(shape, np.int64)
    columns["good"] = np.zeros(shape, np.bool_)
    columns["covariances"] = np.full((*shape, lags, lags), np.nan)
    columns["covariance_errors"] = np.full((*shape, lags, lags), np.nan)
    for p, value in enumerate(values):
        if value is None:
            continue
        columns["overscan_noise"][:, p] = value.noise
        columns["overscan_level"][:, p] = value.level
        for a, pair in enumerate(value.amplifiers):
            for name in ("mean", "delta", "variance", "row_mean_variance", "p_value"):
                columns[name][a, p] = getattr(pair, name)
            for name in ("histogram_variance", "histogram_chi2"):
                columns[name][a, p] = getattr(pair, name)
            columns["pair_gain"][a, p] = pair.gain
            columns["n_pixels"][a, p] = pair.n_pixels
            columns["good"][a, p] = pair.good
            columns["covariances"][a, p] = pair.covariances
            with np.errstate(divide="ignore"):
                columns["covariance_errors"][a, p] = 1 / pair.sqrt_weights
    return columns


def _fitted(fits: Sequence[PtcFit], lags: int) -> dict[str, npt.NDArray[Any]]:
    columns: dict[str, npt.NDArray[Any]] = {
        name: np.array([getattr(fit, name) for fit in fits]) for name in (*_OF_AMP, "dof")
    }
    columns["reason"] = np.array([fit.reason for fit in fits])
    columns["used"] = np.array([fit.used for fit in fits])
    columns["variance_model"] = np.array([fit.model_variances for fit in fits])
    for name in _OF_LAGS:
        columns[name] = np.array([_padded(getattr(fit, name), lags) for fit in fits])
    columns["covariances_model"] = np.array([_padded(fit.model_covariances, lags) for fit in fits])
    return columns


def _padded(matrix: npt.NDArray[np.float64], lags: int) -> npt.NDArray[np.float64]:
    """Return a matrix with NaN at the lags that were not fitted."""
    missing = lags - matrix.shape[-1]
    edges = [(0, 0)] * (matrix.ndim - 2) + [(0, missing)] * 2
    return np.pad(matrix, edges, constant_values=np.nan)
