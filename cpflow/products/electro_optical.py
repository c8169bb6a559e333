"""Linearity, photon transfer curve, brighter-fatter kernel, charge transfer."""

from __future__ import annotations

from collections.abc import Mapping

from cpflow.products.spec import OF_DETECTOR, ProductSpec, Variable

LINEARITY_KINDS = (
    "none",
    "proportional",
    "squared",
    "polynomial",
    "lookup_table",
    "spline",
    "double_spline",
)


def _of_amp(units: Mapping[str, str], *, optional: bool = False) -> tuple[Variable, ...]:
    return tuple(Variable(name, ("amp",), "float64", (u,), optional) for name, u in units.items())


_REASON = Variable("reason", ("amp",), "text", (), True, meaning="why an amplifier has none")
LINEARIZER = ProductSpec(
    "linearizer",
    OF_DETECTOR,
    (
        Variable("kind", ("amp",), "int8", ("1",), meaning="one of `flag_meanings`"),
        Variable(
            "coefficients",
            ("amp", "coefficient"),
            "float64",
            (),
            meaning="as the kind has them, adu; NaN beyond",
        ),
        Variable("coefficient_errors", ("amp", "coefficient"), "float64", (), True),
        Variable("table", ("amp", "entry"), "float32", ("adu",), True, meaning="lookup table"),
        Variable("dropped", ("exposure",), "bool", (), True, meaning="left out by --drop-bad"),
        _REASON,
        *_of_amp(
            {
                "intercept": "adu",
                "scatter": "1",
                "jitter": "1",
                "chi2": "1",
                "turnoff": "adu",
                "max_signal": "adu",
                "fit_low": "adu",
                "fit_high": "adu",
            },
            optional=True,
        ),
    ),
    aliases=("linearity",),
)
_LAGS = ("amp", "lag_x", "lag_y")
_PAIR_LAGS = ("amp", "pair", "lag_x", "lag_y")
PTC = ProductSpec(
    "ptc",
    OF_DETECTOR,
    (
        *_of_amp(
            {
                "gain": "electron/adu",
                "gain_error": "electron/adu",
                "noise": "electron",
                "noise_error": "electron",
                "turnoff": "adu",
                "turnoff_error": "adu",
                "chi2": "1",
            }
        ),
        _REASON,
        Variable("a", _LAGS, "float64", ("1/electron",), meaning="area coefficients"),
        Variable("a_error", _LAGS, "float64", ("1/electron",)),
        Variable("b", _LAGS, "float64", ("1/electron",), meaning="their growth with charge"),
        Variable("b_error", _LAGS, "float64", ("1/electron",)),
        Variable("noise_matrix", _LAGS, "float64", ("electron2",)),
        *(
            Variable(name, ("amp", "pair"), "float64", (units,))
            for name, units in (("mean", "adu"), ("delta", "adu"), ("variance", "adu2"))
        ),
        Variable("used", ("amp", "pair"), "bool", meaning="whether a pair was fitted"),
        Variable("covariances", _PAIR_LAGS, "float64", ("adu2",), meaning="of one exposure"),
        Variable("covariance_errors", _PAIR_LAGS, "float64", ("adu2",)),
        Variable("covariances_model", _PAIR_LAGS, "float64", ("adu2",)),
        Variable("exposures", ("pair", "of_pair"), "int64"),
        Variable("dropped", ("exposure",), "bool", (), True, meaning="left out by --drop-bad"),
    ),
)
_KERNEL = ("kernel_x", "kernel_y")
BFK = ProductSpec(
    "bfk",
    OF_DETECTOR,
    (
        Variable("kernel", ("amp", *_KERNEL), "float64", ("1/electron",)),
        Variable("detector_kernel", _KERNEL, "float64", ("1/electron",), finite=True),
        Variable("detector_kernel_error", _KERNEL, "float64", ("1/electron",), True),
        Variable("detector_valid", (), "bool"),
        Variable("detector_reason", (), "text", (), True),
        Variable("valid", ("amp",), "bool"),
        _REASON,
    ),
)
_OF_EDGE = ("exposure", "amp")
_REGISTER = {
    "inefficiency": ("1", "fraction left behind by each serial transfer: the global CTI"),
    "drift_scale": ("1", "local offset: fraction of a signal added to the pixels after it"),
    "drift_decay": ("pixel", "over which the local offset falls by a factor e"),
    "trap_size": ("electron", "charge that the trap holds at most"),
    "trap_signal": ("electron", "charge of a pixel that fills it to 1 - 1/e"),
    "trap_decay": ("pixel", "over which the trap releases 1 - 1/e of its charge"),
}
CTI = ProductSpec(
    "cti",
    OF_DETECTOR,
    (
        *(Variable(n, ("amp",), "float64", (u,), meaning=m) for n, (u, m) in _REGISTER.items()),
        *(Variable(f"{n}_error", ("amp",), "float64", (u,)) for n, (u, _) in _REGISTER.items()),
        _REASON,
        *_of_amp({"turnoff": "electron", "chi2": "1"}, optional=True),
        *(
            Variable(name, _OF_EDGE, "float64", (units,), meaning=meaning)
            for name, units, meaning in (
                ("last_column", "electron", "signal of the last imaging column"),
                ("last_row", "electron", "signal of the last imaging row"),
                ("serial_cti", "1", "extended-pixel edge response"),
                ("serial_cti_error", "1", ""),
                ("parallel_cti", "1", "the same in the parallel overscan"),
                ("parallel_cti_error", "1", ""),
            )
        ),
        Variable("profile", (*_OF_EDGE, "column"), "float64", ("electron",), meaning="overscan"),
        Variable("profile_error", (*_OF_EDGE, "column"), "float64", ("electron",)),
        Variable("used", _OF_EDGE, "bool", meaning="whether an exposure was fitted"),
        Variable("dropped", ("exposure",), "bool", (), True, meaning="left out by --drop-bad"),
    ),
)
