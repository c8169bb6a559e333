"""Crosstalk between amplifiers, and between detectors."""

from __future__ import annotations

from cpflow.products.spec import OF_DETECTOR, ProductSpec, Variable

_AMPS = ("source_amp", "target_amp")
_BETWEEN = ("source_detector", "other_amp", "target_amp")
_RATIO, _PER_COUNT = ("adu/adu", "electron/electron"), ("1/adu", "1/electron")
CROSSTALK = ProductSpec(
    "crosstalk",
    OF_DETECTOR,
    (
        Variable("coefficients", _AMPS, "float64", _RATIO, meaning="c of target -= c S + q S^2"),
        Variable("errors", _AMPS, "float64", _RATIO, meaning="scatter of the measured ratios"),
        Variable("mean_errors", _AMPS, "float64", _RATIO, True, meaning="standard errors of c"),
        Variable("valid", _AMPS, "bool", ("1",), meaning="whether the coefficient is to be used"),
        Variable("counts", _AMPS, "int64", ("1",), True, meaning="ratios that were averaged"),
        Variable("quadratic", _AMPS, "float64", _PER_COUNT, True, meaning="q of the same"),
        Variable("quadratic_errors", _AMPS, "float64", _PER_COUNT, True),
        Variable("between", _BETWEEN, "float64", _RATIO, True, meaning="c of other detectors"),
        Variable("between_errors", _BETWEEN, "float64", _RATIO, True, meaning="standard errors"),
        Variable("between_valid", _BETWEEN, "bool", ("1",), True),
        Variable("n_ratios", ("exposure",), "int64", ("1",), True, meaning="ratios it gave"),
        Variable("dropped", ("exposure",), "bool", (), True, meaning="left out by --drop-bad"),
    ),
)
