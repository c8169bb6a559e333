"""Verification of a product: one tidy table of statistics, limits and verdicts."""

from __future__ import annotations

from cpflow.products.spec import OF_DETECTOR, OF_FILTER, ProductSpec, Variable

VERDICTS = ("pass", "fail", "no_data", "informational")
#: What is verified, and what identifies one verification of it.
VERIFIED = {
    **dict.fromkeys(
        ("bias", "dark", "defects", "crosstalk", "linearizer", "ptc", "bfk", "gain"), OF_DETECTOR
    ),
    **dict.fromkeys(("flat", "fringe", "sky"), OF_FILTER),
}
_ROW = ("row",)
_COLUMNS = (
    Variable("exposure", _ROW, "int64", meaning="-1: of the whole run"),
    Variable("day_obs", _ROW, "int64", meaning="-1: of the whole run"),
    Variable("mjd", _ROW, "float64", meaning="TAI, middle of the exposure"),
    Variable("amp", _ROW, "text", meaning="empty: of the detector"),
    Variable("statistic", _ROW, "text"),
    Variable("test", _ROW, "text", meaning="empty: recorded only"),
    Variable("value", _ROW, "float64"),
    Variable("error", _ROW, "float64", meaning="of the value, as far as it is known"),
    Variable("units", _ROW, "text"),
    Variable("low", _ROW, "float64", meaning="limit as it was judged; NaN: none"),
    Variable("high", _ROW, "float64", meaning="limit as it was judged; NaN: none"),
    Variable("margin", _ROW, "float64", meaning="1 at the ideal, 0 at the limit, below it outside"),
    Variable("severity", _ROW, "text", meaning="required, informational, or empty"),
    Variable("verdict", _ROW, "text", meaning="of " + ", ".join(VERDICTS) + ", or empty"),
)
_RESIDUAL = Variable(
    "residual",
    ("frame", "y_binned", "x_binned"),
    "float32",
    ("electron", "adu", "1"),
    True,
    meaning="means of blocks of `binning` pixels of what is left of each exposure, `frame`",
)


def verification_name(product: str) -> str:
    """Return the dataset type of a verification of a product.

    >>> verification_name("bias")
    'bias_verification'
    """
    return f"{product}_verification"


VERIFICATIONS = tuple(
    ProductSpec(verification_name(product), dimensions, (*_COLUMNS, _RESIDUAL), calibration=False)
    for product, dimensions in VERIFIED.items()
)
