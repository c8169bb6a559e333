"""The coefficients of serial charge transfer, fitted to overscan profiles (electro-optical 5)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from cpflow.kernels.deferred_charge import TAIL, SerialTransfer, transfer_weights

Array = npt.NDArray[np.float64]

#: The order of parameters in a `SerialTransferFit`: the fields of `SerialTransfer`.
PARAMETERS: Final = (
    "inefficiency",
    "drift_scale",
    "drift_decay",
    "trap_size",
    "trap_signal",
    "trap_decay",
)
# A typical size of each: the fit works in these units.
_UNITS: Final = np.array([1e-6, 1e-4, 1.0, 10.0, 1e4, 1.0])
_LOW: Final = np.array([-1e-3, 0.0, 0.1, 0.0, 1e2, 0.1])
_HIGH: Final = np.array([1e-3, 1e-2, 20.0, 1e4, 1e6, 20.0])
_TRANSFERS, _OFFSET, _TRAP = (0,), (1, 2), (3, 4, 5)
_STARTS: Final = {2: (0.8, 3.0), 5: (0.5, 2.0)}
_EVALUATIONS: Final = 100
# How a trap saturates takes so many fluxes to tell.
_FLUXES_FOR_TRAP: Final = 4


@dataclass(frozen=True, slots=True)
class SerialTransferFit:
    """Coefficients of one amplifier.

    Attributes
    ----------
    register : SerialTransfer
        What was found. Parts without significance have size 0 and NaN for the rest; without any
        usable exposure all is NaN.
    errors : array of float64, shape (6,)
        Standard errors in the order of `PARAMETERS`, enlarged where the reduced chi2 is above 1;
        NaN for what was not fitted.
    chi2 : float
        Of the fit, by the errors given.
    dof : int
    used : array of bool, shape (exposures,)
    reason : str
        Why there is no result; empty if there is.
    """

    register: SerialTransfer
    errors: Array
    chi2: float
    dof: int
    used: npt.NDArray[np.bool_]
    reason: str = ""


def trail_model(
    signals: Array, register: SerialTransfer, transfers: int, columns: int, baseline: range
) -> Array:
    """Predict the overscan of flats.

    Parameters
    ----------
    signals : array of float64, shape (exposures,)
        Of the last imaging column, as read, electrons.
    register : SerialTransfer
        Its inefficiency may be negative here.
    transfers : int
        Of the last imaging column.
    columns : int
        Overscan columns wanted.
    baseline : range
        Overscan columns, from 0, whose mean is the level that was subtracted; none if it is empty.

    Returns
    -------
    array of float64, shape (exposures, columns)
        Electrons in overscan column k = 1, 2...:
        ``u (f_k / f_0 + A exp(-k / tau)) + (1 - r) r**(k - 1) T(u)``. Here f_k is what all columns
        of a flat together leave k pixels after its last one (`transfer_weights`), and
        ``u = signal / (1 + A)`` what came to the output.

    Notes
    -----
    Exact for a flat whose trap is in balance, as long as the trail is small beside the signal.
    """
    total = max(columns, baseline.stop)
    weights = transfer_weights(min(transfers, TAIL + 1), register.inefficiency, 0)
    if transfers > TAIL + 1:
        weights = transfer_weights(TAIL + 1, register.inefficiency, transfers - TAIL - 1)
    # Antidiagonals: the column j before the last one, delayed by j + k.
    turned = weights[::-1]
    f = np.array([np.trace(turned, offset=k) for k in range(TAIL + 1)])
    k = np.arange(1, total + 1)
    share = np.zeros(total)
    share[: min(TAIL, total)] = f[1 : total + 1] / f[0]
    a = register.drift_scale if register.drift_scale > 0 else 0.0
    if a > 0:
        share = share + a * np.exp(-k / register.drift_decay)
    u = signals / (1 + a)
    trail = u[:, None] * share
    if register.trap_size > 0:
        kept = math.exp(-1 / register.trap_decay)
        held = register.trap_size * -np.expm1(-np.maximum(u, 0) / register.trap_signal)
        trail = trail + held[:, None] * ((1 - kept) * kept ** (k - 1))
    if len(baseline):
        trail = trail - trail[:, baseline.start : baseline.stop].mean(axis=1, keepdims=True)
    return np.asarray(trail[:, :columns])


def fit_serial_transfer(
    signals: npt.ArrayLike,
    profiles: npt.ArrayLike,
    errors: npt.ArrayLike,
    transfers: int,
    *,
    baseline: range = range(0),
    level_variance: float = 0.0,
    min_signal: float = 0.0,
    max_signal: float = 150_000.0,
    significance: float = 5.0,
) -> SerialTransferFit:
    """Fit global CTI, local offset and trap to the overscan profiles of flats.

    Parameters
    ----------
    signals : array of float, shape (exposures,)
        Of the last imaging column, electrons.
    profiles, errors : array of float, shape (exposures, columns)
        Means of the first overscan columns and their errors, electrons.
    transfers : int
        Of the last imaging column: imaging and prescan columns.
    baseline : range
        Overscan columns, from 0, that the level of a row was taken from: what trails into them was
        subtracted.
    level_variance : float
        Variance of that level, for pixels of unit variance: it is common to a profile.
    min_signal, max_signal : float
        Exposures outside are not fitted, electrons.
    significance : float
        Local offset and trap are part of the result where they lower chi2 by more than the square.

    Returns
    -------
    SerialTransferFit

    Raises
    ------
    ValueError
        If shapes do not fit or there are no transfers.

    Notes
    -----
    Snyder et al. 2021; the model is `trail_model`. The reference fits one part after the other on
    columns and fluxes where it prevails, with the rest fixed at guesses. Here all columns of all
    fluxes are fitted at once by weighted least squares; what cannot be told from zero is left out,
    since a local offset and a trap that decay alike differ by saturation alone. The trap is a
    saturating exponential, where the reference tabulates it.
    """
    s, y, e = (np.asarray(values, np.float64) for values in (signals, profiles, errors))
    if y.ndim != 2 or s.shape != y.shape[:1] or e.shape != y.shape or transfers < 1:
        raise ValueError(
            f"{s.shape} signals, profiles of {y.shape} with errors of {e.shape} and "
            f"{transfers} transfers do not fit"
        )
    with np.errstate(invalid="ignore"):
        used = (s > max(min_signal, 0.0)) & (s <= max_signal)
        used &= np.isfinite(y).all(axis=1) & (e > 0).all(axis=1)
    if not used.any():
        missing = SerialTransfer(*[math.nan] * 6)
        reason = f"no flat has a signal from {min_signal:g} to {max_signal:g} electrons"
        return SerialTransferFit(missing, np.full(6, np.nan), math.nan, 0, used, reason)
    data = _Data(s[used], y[used], e[used], transfers, baseline, level_variance)
    best = data.select(significance)
    return SerialTransferFit(_register(best.values), best.errors(), best.chi2, best.dof, used)


def _register(values: Array) -> SerialTransfer:
    return SerialTransfer(*(float(value) for value in values))


@dataclass(frozen=True, slots=True)
class _Fit:
    """Values of all parameters, which of them were free, and the Jacobian for those."""

    values: Array
    free: tuple[int, ...]
    chi2: float
    dof: int
    jacobian: Array

    def errors(self) -> Array:
        """Return the standard error of each parameter; NaN if it was not free."""
        out = np.full(6, np.nan)
        covariance = np.linalg.pinv(self.jacobian.T @ self.jacobian)
        scale = max(1.0, self.chi2 / self.dof) if self.dof > 0 else 1.0
        out[list(self.free)] = np.sqrt(np.diag(covariance) * scale) * _UNITS[list(self.free)]
        return out


@dataclass(frozen=True, slots=True)
class _Data:
    signals: Array
    profiles: Array
    errors: Array
    transfers: int
    baseline: range
    level_variance: float

    def allows(self, free: Sequence[int]) -> bool:
        """Whether the data can determine these parameters."""
        enough = self.profiles.size > len(free) + 1
        return enough and (3 not in free or len(np.unique(self.signals)) >= _FLUXES_FOR_TRAP)

    def select(self, significance: float) -> _Fit:
        """Return the fit of the fewest parts that the data need."""
        choices = [
            free
            for free in (
                _TRANSFERS,
                (*_TRANSFERS, *_OFFSET),
                (*_TRANSFERS, *_TRAP),
                (*_TRANSFERS, *_OFFSET, *_TRAP),
            )
            if free == _TRANSFERS or self.allows(free)
        ]
        fits = [self.fit(free) for free in choices]
        # Where no part describes the data, only what stands out of the misfit counts.
        last = fits[-1]
        least = significance**2 * (max(1.0, last.chi2 / last.dof) if last.dof > 0 else 1.0)
        best = fits[0]
        for fit in fits[1:]:
            if best.chi2 - fit.chi2 > least:
                best = fit
        return best

    def fit(self, free: tuple[int, ...]) -> _Fit:
        """Fit these parameters, from several starts."""
        whiten = np.array([self._whitening(error) for error in self.errors])
        index = list(free)

        def expand(x: Array) -> Array:
            values = np.array([0.0, 0.0, np.nan, 0.0, np.nan, np.nan])
            values[index] = x * _UNITS[index]
            return values

        def residuals(x: Array) -> Array:
            model = trail_model(
                self.signals,
                _register(expand(x)),
                self.transfers,
                self.profiles.shape[1],
                self.baseline,
            )
            return np.ravel(whiten @ (self.profiles - model)[:, :, None])

        deferred = float(np.median(self.profiles[:, 0] / self.signals))
        guess = np.array([deferred / self.transfers / 2, max(deferred, 1e-6), 2.4, 0.0, 2e4, 1.0])
        guess[3] = max(float(self.profiles[:, 0].max()), 1.0)
        choices = [_STARTS.get(i, (guess[i],)) for i in free]
        solutions = []
        for start in product(*choices):
            low, high = _LOW[index] / _UNITS[index], _HIGH[index] / _UNITS[index]
            x0 = np.clip(np.array(start) / _UNITS[index], low, high)
            solutions.append(
                least_squares(residuals, x0, bounds=(low, high), max_nfev=_EVALUATIONS)
            )
        found = min(solutions, key=lambda solution: float(solution.cost))
        chi2 = 2 * float(found.cost)
        dof = self.profiles.size - len(free)
        return _Fit(expand(found.x), free, chi2, dof, np.asarray(found.jac))

    def _whitening(self, errors: Array) -> Array:
        """Return the inverse Cholesky factor of a profile's covariance.

        Its pixels have noise of their own, and the row level's in common.
        """
        q = self.level_variance
        own = np.diag(errors**2 / (1 + q))
        common = q / (1 + q) * float(np.mean(errors**2))
        return np.asarray(np.linalg.inv(np.linalg.cholesky(own + common)))
