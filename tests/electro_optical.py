"""Electro-optical products made up of known numbers, as large as a test wants them."""

from __future__ import annotations

import numpy as np
import xarray as xr

from cpflow.kernels.ptc_models import exp_approximation
from cpflow.products import BFK, CROSSTALK, LINEARITY_KINDS, LINEARIZER, PTC

GAIN, A00, NOISE = 1.25, -2e-6, 7.0
NO_CURVE = "2 pairs are left, a fit needs 3"


def names(count):
    return [f"C{i:02d}" for i in range(count)]


def ptc(
    amplifiers, pairs=10, lags=4, bad=(), fit_type="FULLCOVARIANCE", exposures=None, fitted=None
):
    """Curves of equation 16 at lag zero, and covariances that fall with the lag; the brightest
    pair is saturated and not used. Amplifiers in `bad` have no curve."""
    rng = np.random.default_rng(5)
    count = len(amplifiers)
    fitted = lags if fitted is None else fitted
    gain = GAIN * (1 + 0.01 * np.arange(count))
    mean = np.linspace(1000, 90_000, pairs) * np.ones((count, 1))
    model = np.stack([exp_approximation(mean[a], A00, gain[a], NOISE**2) for a in range(count)])
    # Different along x and y, so that a transposed matrix is seen.
    x, y = np.indices((lags, lags))
    a = np.where(x + y == 0, A00, 4e-7 / (1 + 2 * x + y) ** 2) * np.ones((count, 1, 1))
    covariances = (a[:, None] * mean[..., None, None] ** 2) * 1.0
    covariances[:, :, 0, 0] = model
    errors = np.full(covariances.shape, 20.0)
    used = np.ones((count, pairs), bool)
    used[:, -1] = False
    measured = covariances + rng.normal(0, 20.0, covariances.shape)
    measured[:, -1] = 0.0
    beyond = np.maximum(x, y) >= fitted
    a[:, beyond] = np.nan
    covariances[:, :, beyond] = np.nan
    of_amp = {
        "gain": (gain, "electron/adu"),
        "gain_error": (np.full(count, 0.005), "electron/adu"),
        "noise": (np.full(count, NOISE), "electron"),
        "noise_error": (np.full(count, 0.3), "electron"),
        "turnoff": (mean[:, -2].copy(), "adu"),
        "turnoff_error": (np.full(count, 5000.0), "adu"),
        "chi2": (np.full(count, 12.0), "1"),
    }
    lag_values = {
        "a": (a, "1/electron"),
        "a_error": (np.where(beyond, np.nan, np.full(a.shape, 1e-8)), "1/electron"),
        "b": (np.where(beyond, np.nan, np.full(a.shape, 1e-6)), "1/electron"),
        "b_error": (np.where(beyond, np.nan, np.full(a.shape, 1e-7)), "1/electron"),
        "noise_matrix": (
            np.where(beyond, np.nan, np.where(x + y == 0, NOISE**2, 1.0)) * np.ones((count, 1, 1)),
            "electron2",
        ),
    }
    for place in bad:
        for values, _ in (*of_amp.values(), *lag_values.values()):
            values[place] = np.nan
        model[place], covariances[place], used[place] = np.nan, np.nan, False
    if exposures is None:
        exposures = np.arange(2 * pairs).reshape(pairs, 2) + 2021031100001
    place, matrix = ("amp", "pair"), ("amp", "lag_x", "lag_y")
    variables = {
        **{name: ("amp", values, {"units": u}) for name, (values, u) in of_amp.items()},
        **{name: (matrix, values, {"units": u}) for name, (values, u) in lag_values.items()},
        "reason": ("amp", np.array([NO_CURVE if i in bad else "" for i in range(count)], "U160")),
        "dof": ("amp", np.full(count, pairs - 4), {"units": "1"}),
        "mean": (place, mean, {"units": "adu"}),
        "delta": (place, np.full(mean.shape, 3.0), {"units": "adu"}),
        "variance": (place, measured[:, :, 0, 0] * 1.001, {"units": "adu2"}),
        "variance_model": (place, model, {"units": "adu2"}),
        "overscan_level": (place, 1000 + rng.normal(0, 1, mean.shape), {"units": "adu"}),
        "n_pixels": (place, np.full(mean.shape, 16000), {"units": "1"}),
        "used": (place, used),
        "covariances": ((*place, "lag_x", "lag_y"), measured, {"units": "adu2"}),
        "covariance_errors": ((*place, "lag_x", "lag_y"), errors, {"units": "adu2"}),
        "covariances_model": ((*place, "lag_x", "lag_y"), covariances, {"units": "adu2"}),
        "exposures": (("pair", "of_pair"), np.asarray(exposures, np.int64)),
        "exposure_time": ("pair", np.linspace(0.1, 9.0, pairs), {"units": "s"}),
    }
    return _checked(PTC, variables, {"amp": amplifiers}, fit_type=fit_type)


def linearizer(amplifiers, kind="squared", points=8, padding=0, bad=()):
    """Coefficients 1e-7 (1 + amplifier); residuals of 0.01 %, the last point 20 % and not used."""
    count = len(amplifiers)
    signal = np.linspace(1000, 80_000, points) * np.ones((count, 1))
    residual = 1e-4 * np.where(np.arange(points) % 2, 1, -1) * np.ones((count, 1))
    residual[:, -1] = -0.2
    used = np.ones((count, points), bool)
    used[:, -1] = False
    code = np.full(count, LINEARITY_KINDS.index(kind), np.int8)
    scale = 1.0 + np.arange(count)[:, None]
    nodes = np.array([0.0, 40_000.0, 80_000.0])
    coefficients = {
        "squared": 1e-7 * scale,
        "polynomial": np.array([1e-7, 1e-13]) * scale,
        "spline": np.concatenate(
            [np.broadcast_to(nodes, (count, 3)), np.array([0.0, 30.0, 90.0]) * scale], axis=1
        ),
        "lookup_table": np.zeros((count, 2)),
    }[kind]
    values = {
        "slope": (np.full(count, 10_000.0), ""),
        "intercept": (np.full(count, 2.0), "adu"),
        "scatter": (np.full(count, 1.5e-4), "1"),
        "jitter": (np.full(count, 1e-5), "1"),
        "chi2": (np.full(count, 1.1), "1"),
        "turnoff": (signal[:, -2].copy(), "adu"),
        "max_signal": (np.full(count, 80_000.0), "adu"),
        "fit_low": (signal[:, 0].copy(), "adu"),
        "fit_high": (signal[:, -2].copy(), "adu"),
    }
    for place in bad:
        code[place] = 0
        coefficients[place] = 0.0
        used[place] = False
        residual[place] = np.nan
        for array, _ in values.values():
            array[place] = np.nan
    fill = ((0, 0), (0, padding))
    place = ("amp", "pair")
    variables = {
        "kind": ("amp", code, {"units": "1"}),
        "coefficients": (("amp", "coefficient"), coefficients),
        "reason": ("amp", np.array(["no curve" if i in bad else "" for i in range(count)], "U160")),
        "abscissa": ("pair", np.pad(signal[0] / 10_000, (0, padding), constant_values=np.nan)),
        "signal": (place, np.pad(signal, fill, constant_values=np.nan), {"units": "adu"}),
        "residual": (place, np.pad(residual, fill, constant_values=np.nan), {"units": "1"}),
        "residual_adu": (
            place,
            np.pad(residual * signal, fill, constant_values=np.nan),
            {"units": "adu"},
        ),
        "used": (place, np.pad(used, fill, constant_values=False)),
        **{name: ("amp", array, {"units": u}) for name, (array, u) in values.items()},
    }
    if kind == "lookup_table":
        table = np.linspace(0, 50, 500, dtype=np.float32) * scale.astype(np.float32)
        variables["table"] = (("amp", "entry"), table, {"units": "adu"})
    return _checked(LINEARIZER, variables, {"amp": amplifiers}, abscissa="exposure_time")


def kernel(amplifiers, side=4, invalid=(), detector=""):
    """Kernels that are wider along x than along y, and not symmetric; `detector` says why that of
    the detector is not valid."""
    count, lags = len(amplifiers), np.arange(-side, side + 1)
    x, y = np.meshgrid(lags, lags, indexing="ij")
    shape = -5e-7 * np.exp(-np.abs(x) / 2 - np.abs(y)) * (1 + 0.01 * x)
    kernels = shape * (1 + 0.1 * np.arange(count))[:, None, None]
    valid = np.ones(count, bool)
    valid[list(invalid)] = False
    units = {"units": "1/electron"}
    dims = ("kernel_x", "kernel_y")
    variables = {
        "kernel": (("amp", *dims), kernels, units),
        "kernel_error": (("amp", *dims), np.full(kernels.shape, 1e-8), units),
        "pre_kernel": (("amp", *dims), -kernels / 3, units),
        "detector_kernel": (dims, shape, units),
        "detector_kernel_error": (dims, np.full(shape.shape, 5e-9), units),
        "detector_valid": ((), not detector),
        "detector_reason": ((), np.array(detector, "U160")),
        "valid": ("amp", valid),
        "reason": ("amp", np.array(["" if ok else "an element is too high" for ok in valid])),
        "total": ("amp", np.full(count, 3e-7), units),
    }
    coords = {"amp": amplifiers, "kernel_x": lags, "kernel_y": lags}
    return _checked(BFK, variables, coords, method="average")


def crosstalk(amplifiers, unmeasured=()):
    """Each amplifier leaves 1e-4 in its neighbours, which is valid, and 1e-6 elsewhere."""
    count = len(amplifiers)
    source, target = np.indices((count, count))
    near = np.abs(source - target) == 1
    coefficients = np.where(near, 1e-4 * (1 + source), 1e-6)
    coefficients[source == target] = np.nan
    coefficients[list(unmeasured)] = np.nan
    valid = near & np.isfinite(coefficients)
    dims, units = ("source_amp", "target_amp"), {"units": "adu/adu"}
    variables = {
        "coefficients": (dims, coefficients, units),
        "errors": (dims, np.full(near.shape, 5e-5), units),
        "mean_errors": (dims, np.full(near.shape, 1e-5), units),
        "valid": (dims, valid, {"units": "1"}),
        "counts": (dims, np.full(near.shape, 25), {"units": "1"}),
    }
    return _checked(CROSSTALK, variables, dict.fromkeys(dims, amplifiers))


def _checked(spec, variables, coords, **attrs):
    attrs = {"product": spec.name, "instrument": "LATISS", "detector": 0, **attrs}
    product = xr.Dataset(variables, coords=coords, attrs=attrs)
    spec.check(product)
    return product
