"""The specification of each product: its dimensions, variables, dtypes and units.

Every product is an `xarray.Dataset`. Image variables are in the detector frame ``(y, x)``; those of
a product that is still being built are in the readout frame ``(amp, y, x)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cpflow.errors import ProductError, UsageError

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable of a product. `units` lists what is allowed; empty means dimensionless."""

    name: str
    dims: tuple[str, ...]
    dtype: str
    units: tuple[str, ...] = ()
    optional: bool = False
    finite: bool = False
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class ProductSpec:
    """What a product holds.

    `dimensions` identify one product of this type; `exposure_time` is what the product itself
    claims, in seconds (spec, section 3.5: 0 for a bias, 1 for what is combined per second).
    """

    name: str
    dimensions: tuple[str, ...]
    variables: tuple[Variable, ...]
    exposure_time: float = 1.0
    aliases: tuple[str, ...] = ()
    calibration: bool = True
    building: tuple[Variable, ...] = ()
    """What a graph gives instead, where the product gets its form only when it is finished."""

    def variable(self, name: str) -> Variable | None:
        """Return the variable of this name, or None."""
        return next((v for v in self.variables if v.name == name), None)

    def check(self, dataset: xr.Dataset, *, assembled: bool = True, values: bool = False) -> None:
        """Refuse a dataset that breaks this specification.

        Parameters
        ----------
        dataset : xarray.Dataset
            The product; lazy is fine unless `values` is true.
        assembled : bool
            Whether images are expected in the detector frame ``(y, x)`` or, while being built, in
            the readout frame ``(amp, y, x)``.
        values : bool
            Also look at the pixels: variables marked finite must be.

        Raises
        ------
        ProductError
            Naming product, variable and what is wrong with it.
        """
        expected = self.building if self.building and not assembled else self.variables
        for spec in expected:
            label = f"{self.name}: variable {spec.name!r}"
            if spec.name not in dataset:
                if spec.optional:
                    continue
                raise ProductError(f"{label} is missing")
            data = dataset[spec.name]
            dims = spec.dims
            if not assembled and dims == ("y", "x"):
                dims = ("amp", "y", "x")
            if tuple(data.dims) != dims:
                raise ProductError(f"{label} has dimensions {data.dims}, expected {dims}")
            if data.dtype.name != spec.dtype and not (
                spec.dtype == "text" and data.dtype.kind in "UTO"
            ):
                raise ProductError(f"{label} has dtype {data.dtype}, expected {spec.dtype}")
            units = data.attrs.get("units")
            if spec.units and units not in spec.units:
                raise ProductError(
                    f"{label} has units {units!r}, expected {' or '.join(spec.units)}"
                )
            if values and spec.finite and not bool(_finite(data)):
                raise ProductError(f"{label} has values that are not finite")


def _finite(data: xr.DataArray) -> bool:
    import numpy as np

    return bool(np.isfinite(data.values).all())


def mask_attributes() -> dict[str, object]:
    """Return the CF attributes that name the bits of a mask variable."""
    from cpflow.kernels.planes import PLANES

    return {
        "units": "1",
        "flag_masks": [1 << bit for bit in range(len(PLANES))],
        "flag_meanings": " ".join(PLANES),
    }


# `cpflow.kernels.planes.MASK_DTYPE`; importing it takes numpy, which a listing has no need of.
_MASK = "uint16"


def squared(unit: str) -> str:
    """Return the unit of a variance: ``adu/s`` gives ``adu2/s2``."""
    return "1" if unit == "1" else "/".join(f"{part}2" for part in unit.split("/"))


def _image_variables(units: tuple[str, ...]) -> tuple[Variable, ...]:
    return (
        Variable("image", ("y", "x"), "float32", units, finite=True, meaning="combined value"),
        Variable("variance", ("y", "x"), "float32", tuple(map(squared, units)), meaning="variance"),
        Variable("mask", ("y", "x"), _MASK, ("1",), meaning="bits of `flag_meanings`"),
        Variable("n_used", ("y", "x"), "uint16", ("1",), True, meaning="exposures averaged"),
        Variable("scale", ("exposure",), "float64", (), True, meaning="divisor of each exposure"),
        Variable("dropped", ("exposure",), "bool", (), True, meaning="left out by --drop-bad"),
        Variable(
            "read_noise",
            ("exposure", "amp"),
            "float64",
            ("adu",),
            True,
            meaning="empirical read noise of the serial overscan",
        ),
        Variable(
            "overscan_level",
            ("exposure", "amp"),
            "float64",
            ("adu",),
            True,
            meaning="mean of the subtracted serial overscan model",
        ),
        Variable(
            "distribution",
            ("amp", "percentile"),
            "float64",
            units,
            True,
            meaning="percentiles of each amplifier's image",
        ),
        Variable("n_bad", ("amp",), "int64", ("1",), True, meaning="pixels with any mask bit"),
        Variable(
            "clip_fraction", ("amp",), "float64", ("1",), True, meaning="clipped / good samples"
        ),
        *(
            Variable(
                f"image_bin{n}",
                (f"y{n}", f"x{n}"),
                "float32",
                units,
                True,
                meaning=f"means of {n} x {n} pixels without BAD and NO_DATA; NaN: none is left",
            )
            for n in (8, 64)
        ),
    )


_COSMIC_RAYS = Variable(
    "cosmic_ray_pixels", ("exposure",), "int64", ("1",), True, meaning="pixels of cosmic rays"
)
_DETECTOR = ("instrument", "detector")
_FILTER = ("instrument", "detector", "physical_filter")

BIAS = ProductSpec("bias", _DETECTOR, _image_variables(("adu", "electron")), exposure_time=0.0)
DARK = ProductSpec("dark", _DETECTOR, (*_image_variables(("adu/s", "electron/s")), _COSMIC_RAYS))
FLAT = ProductSpec("flat", _FILTER, _image_variables(("1",)))
FRINGE = ProductSpec("fringe", _FILTER, _image_variables(("1",)))
_SKY_BINS = ("bin_y", "bin_x")
SKY = ProductSpec(
    "sky",
    _FILTER,
    (
        Variable(
            "sky",
            _SKY_BINS,
            "float32",
            ("1",),
            finite=True,
            meaning="structure of the sky as a fraction of its level; `rows` and `columns` are the "
            "shape of the detector that the bins divide",
        ),
        Variable("variance", _SKY_BINS, "float32", ("1",), meaning="variance of the mean"),
        Variable("n_used", _SKY_BINS, "uint16", ("1",), meaning="exposures averaged"),
        Variable(
            "scale", ("exposure",), "float64", ("adu", "electron"), meaning="level of the sky"
        ),
        Variable("dropped", ("exposure",), "bool", (), True, meaning="left out by --drop-bad"),
    ),
)
DEFECTS = ProductSpec(
    "defects",
    _DETECTOR,
    (
        *(
            Variable(name, ("box",), "int32", ("pixel",))
            for name in ("x0", "y0", "width", "height")
        ),
        *(
            Variable(name, ("exposure", "amp"), "int64", ("1",), True, meaning=meaning)
            for name, meaning in (
                ("n_hot", "pixels above the threshold; -1 for an exposure that was left out"),
                ("n_cold", "pixels below the threshold; -1 for an exposure that was left out"),
            )
        ),
        Variable("dropped", ("exposure",), "bool", (), True, meaning="left out by --drop-bad"),
        *(
            Variable(name, ("source", "amp"), "int64", ("1",), True, meaning=meaning)
            for name, meaning in (
                ("hot_pixels", "pixels of a combined image above the threshold"),
                ("cold_pixels", "pixels of a combined image below the threshold"),
                ("flagged_pixels", "pixels of a combined image flagged BAD: without good input"),
            )
        ),
    ),
    aliases=("defect",),
    building=(Variable("defect", ("y", "x"), "uint8", ("1",), meaning="1 where it is bad"),),
)
MANUAL_DEFECTS = ProductSpec(
    "manual_defects",
    _DETECTOR,
    tuple(
        Variable(name, ("box",), "int32", ("pixel",)) for name in ("x0", "y0", "width", "height")
    ),
)
_AMPS = ("source_amp", "target_amp")
_BETWEEN = ("source_detector", "other_amp", "target_amp")
_RATIO, _PER_COUNT = ("adu/adu", "electron/electron"), ("1/adu", "1/electron")
CROSSTALK = ProductSpec(
    "crosstalk",
    _DETECTOR,
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
    _DETECTOR,
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
    _DETECTOR,
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
    ),
)
_KERNEL = ("kernel_x", "kernel_y")
BFK = ProductSpec(
    "bfk",
    _DETECTOR,
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
    _DETECTOR,
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

SPECS: Mapping[str, ProductSpec] = {
    spec.name: spec
    for spec in (
        *(BIAS, DARK, FLAT, FRINGE, SKY),
        *(DEFECTS, MANUAL_DEFECTS, CROSSTALK, LINEARIZER, PTC, BFK, CTI),
    )
}

# Dimensions of every calibration type, known before each product's variables are (spec registry 1).
DIMENSIONS: Mapping[str, tuple[str, ...]] = {
    "camera": ("instrument",),
    **dict.fromkeys(
        ("bias", "dark", "defects", "crosstalk", "linearizer", "ptc", "bfk", "cti", "gains"),
        _DETECTOR,
    ),
    "manual_defects": _DETECTOR,
    **dict.fromkeys(("flat", "fringe", "sky"), _FILTER),
}

_ALIASES = {"linearity": "linearizer", "defect": "defects", "bias_bootstrap": "bias"}


def product_name(name: str) -> str:
    """Return the product type that `name` means; the page's names are accepted.

    Raises
    ------
    UsageError
        If there is no such product.
    """
    found = _ALIASES.get(name, name)
    if found in DIMENSIONS:
        return found
    raise UsageError(
        f"there is no product {name!r}", hint=f"known products: {', '.join(sorted(DIMENSIONS))}"
    )


def product_spec(name: str) -> ProductSpec:
    """Return the specification of a product by name or alias.

    Raises
    ------
    UsageError
        If there is no such product, or cpflow cannot build it yet.
    """
    found = product_name(name)
    if found not in SPECS:
        raise UsageError(f"cpflow {_version()} does not build {found!r} yet")
    return SPECS[found]


def is_image(name: str) -> bool:
    """Whether a product is an image of the detector."""
    spec = SPECS.get(name)
    image = None if spec is None else spec.variable("image")
    return image is not None and image.dims == ("y", "x")


def _version() -> str:
    from cpflow import __version__

    return __version__
