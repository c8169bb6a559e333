"""Covariances of flats as area coefficients of the brighter-fatter effect (spec 3.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cpflow.kernels.masks import Mask

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class AmplifierCovariances:
    """What the photon transfer curve knows of one amplifier.

    All matrices are indexed [lag x, lag y]: columns first, unlike images.

    Attributes
    ----------
    covariances : array of float64, shape (pairs, r, r)
        Of one flat (half of that of a difference), adu**2.
    means : array of float64, shape (pairs,)
        Signal, adu.
    gain : float
        Electrons per adu.
    noise : float
        Read noise, electrons; what `noise_matrix` has at [0, 0] if that is not given.
    mask : array of bool, shape (pairs,)
        Pairs that the photon transfer curve used.
    covariance_errors : array of float64, shape (pairs, r, r), optional
        Standard errors, adu**2. Without them they are taken to go with the variance, which is right
        if all pairs have as many pixels, and their size is taken from the scatter.
    a_matrix, a_errors : array of float64, shape (r, r), optional
        Area coefficients as fitted (Astier et al. 2019, eq. 20), 1/electron.
    noise_matrix : array of float64, shape (r, r), optional
        Covariance of the read noise, electrons**2.
    model : array of float64, shape (pairs, r, r), optional
        Covariances as fitted, adu**2.

    Raises
    ------
    ValueError
        If shapes do not fit.
    """

    covariances: Floats
    means: Floats
    gain: float
    noise: float
    mask: Mask
    covariance_errors: Floats | None = None
    a_matrix: Floats | None = None
    a_errors: Floats | None = None
    noise_matrix: Floats | None = None
    model: Floats | None = None

    def __post_init__(self) -> None:
        shape = self.covariances.shape
        if len(shape) != 3 or shape[1] != shape[2] or shape[1] == 0:
            raise ValueError(f"covariances have the shape (pairs, r, r), not {shape}")
        if self.means.shape != shape[:1] or self.mask.shape != shape[:1]:
            raise ValueError(
                f"{shape[0]} pairs have as many means and flags, not {self.means.shape} and "
                f"{self.mask.shape}"
            )
        for name, array, wanted in (
            ("covariance_errors", self.covariance_errors, shape),
            ("model", self.model, shape),
        ):
            if array is not None and array.shape != wanted:
                raise ValueError(f"{name} has the shape {array.shape}, not {wanted}")
        for name, array in (
            ("a_matrix", self.a_matrix),
            ("a_errors", self.a_errors),
            ("noise_matrix", self.noise_matrix),
        ):
            if array is not None and (array.ndim != 2 or array.shape[0] != array.shape[1]):
                raise ValueError(f"{name} is square, not of the shape {array.shape}")


@dataclass(frozen=True, slots=True)
class AreaPoints:
    """Area coefficients that each pair of flats gives by itself, to lowest order.

    Attributes
    ----------
    values, errors : array of float64, shape (pairs, r, r)
        1/electron. The errors have an unknown common factor unless the covariances have errors.
    flux : array of float64, shape (pairs,)
        Electrons.
    used : array of bool, shape (pairs,)
        Pairs of the mask with a positive signal and finite covariances.
    """

    values: Floats
    errors: Floats
    flux: Floats
    used: Mask


def noise_covariance(amplifier: AmplifierCovariances, side: int) -> Floats:
    """Return the covariance of the read noise, shape (side, side), electrons**2."""
    matrix = np.zeros((side, side))
    if amplifier.noise_matrix is not None:
        known = amplifier.noise_matrix[:side, :side]
        matrix[: known.shape[0], : known.shape[1]] = known
    else:
        matrix[0, 0] = amplifier.noise**2
    return matrix


def subtract_white_noise(covariances: Floats, amplifier: AmplifierCovariances, side: int) -> Floats:
    """Return ``(g**2 C - n - F delta_00) / F**2`` for covariances of every pair.

    Parameters
    ----------
    covariances : array of float64, shape (pairs, R, R)
        Measured or modelled, adu**2.
    amplifier : AmplifierCovariances
    side : int
        Lags that are wanted along each axis.

    Returns
    -------
    array of float64, shape (pairs, side, side)
        The left side of eq. 20 of Astier et al. (2019) over F**2: the area coefficients and terms
        that grow with F; 1/electron. NaN where there is no signal.
    """
    flux = amplifier.gain * amplifier.means
    excess = amplifier.gain**2 * covariances[:, :side, :side] - noise_covariance(amplifier, side)
    excess[:, 0, 0] -= flux
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(flux > 0, 1.0 / flux**2, np.nan)[:, None, None] * excess)


def area_points(amplifier: AmplifierCovariances, side: int) -> AreaPoints:
    """Compute area coefficients of every pair, with errors.

    Parameters
    ----------
    amplifier : AmplifierCovariances
    side : int
        Lags that are wanted along each axis.

    Returns
    -------
    AreaPoints

    Notes
    -----
    Spec 3.2, steps 1 and 2, with two corrections. The read noise is subtracted. And a pair whose
    variance is above that of photons is not left out: noise puts some there at low signal, and
    without them the mean of the others is too negative. Their weight is what their error says.
    """
    values = subtract_white_noise(amplifier.covariances, amplifier, side)
    flux = amplifier.gain * amplifier.means
    if amplifier.covariance_errors is not None:
        errors = amplifier.gain**2 * amplifier.covariance_errors[:, :side, :side]
    else:
        # The expected variance, not the measured one: that would give low values more weight.
        expected = flux + noise_covariance(amplifier, 1)[0, 0]
        errors = np.repeat(expected, side * side).reshape(-1, side, side)
        errors[:, 0, 0] *= np.sqrt(2.0)
        # Covariances off the axes are means of two directions: twice the pixels.
        errors[:, 1:, 1:] /= np.sqrt(2.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = errors / flux[:, None, None] ** 2
    used = np.asarray(amplifier.mask, np.bool_) & (flux > 0)
    used &= np.isfinite(values).all(axis=(1, 2))
    used &= (np.isfinite(errors) & (errors > 0)).all(axis=(1, 2))
    return AreaPoints(values, errors, flux, used)
