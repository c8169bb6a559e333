"""Ramps that cannot be fitted, and options that make no sense."""

from __future__ import annotations

import numpy as np
import pytest

from cpflow.kernels.linearity_fit import LinearityOptions, fit_linearity


@pytest.mark.parametrize("kind", ["squared", "polynomial", "lookup_table", "spline"])
def test_what_cannot_be_fitted_says_why(kind):
    t = np.linspace(1, 100, 50)
    y = 1000 * t
    options = LinearityOptions(kind)
    length = {"squared": 1, "polynomial": 2, "lookup_table": 2, "spline": 20}[kind]
    nothing = np.zeros(50, bool)
    attempts = {
        "no point is usable": [
            fit_linearity(t, y, None, options, usable=nothing),
            fit_linearity(t, np.full(50, np.nan), None, options),
            fit_linearity([], [], None, options),
            fit_linearity(t, y, None, options, groups=np.full(50, -1)),
        ],
        "fewer than 2 points": [
            fit_linearity(t, y, None, LinearityOptions(kind, min_adu=2e5)),
            fit_linearity(t, y, np.full(50, np.nan), options),
        ],
        "do not determine": [fit_linearity(t[:3], y[:3], None, options)],
    }
    for reason, fits in attempts.items():
        for fit in fits:
            assert fit.kind == "none"
            assert reason in fit.reason
            assert fit.coefficients.tolist() == [0.0] * length
            assert np.isnan(fit.residuals).all()
            assert not fit.used.any()
    one = fit_linearity([1.0], [5000.0], None, options)
    assert one.kind == "none"


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: LinearityOptions("double_spline"),
        lambda: LinearityOptions(order=1),
        lambda: LinearityOptions(min_adu=5.0, max_adu=4.0),
        lambda: LinearityOptions(nodes=(1.0, 2.0)),
        lambda: fit_linearity(np.ones(3), np.ones(4)),
        lambda: fit_linearity(np.ones(3), np.ones(3), np.ones(2)),
    ],
)
def test_what_makes_no_sense_is_refused(attempt):
    with pytest.raises(ValueError):
        attempt()
