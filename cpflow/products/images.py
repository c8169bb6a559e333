"""Products that are images of a detector, and the binned sky."""

from __future__ import annotations

from cpflow.products.spec import (
    MASK_DTYPE_NAME,
    OF_DETECTOR,
    OF_FILTER,
    ProductSpec,
    Variable,
    squared,
)


def _image_variables(units: tuple[str, ...]) -> tuple[Variable, ...]:
    return (
        Variable("image", ("y", "x"), "float32", units, finite=True, meaning="combined value"),
        Variable("variance", ("y", "x"), "float32", tuple(map(squared, units)), meaning="variance"),
        Variable("mask", ("y", "x"), MASK_DTYPE_NAME, ("1",), meaning="bits of `flag_meanings`"),
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
        Variable(
            "brighter_fatter_passes",
            ("exposure",),
            "int64",
            ("1",),
            True,
            meaning="until its correction converged; negative if it did not",
        ),
        Variable(
            "fringe_amplitude",
            ("exposure",),
            "float64",
            ("adu", "electron"),
            True,
            meaning="of the fringes that were subtracted",
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
BIAS = ProductSpec("bias", OF_DETECTOR, _image_variables(("adu", "electron")), exposure_time=0.0)
DARK = ProductSpec("dark", OF_DETECTOR, (*_image_variables(("adu/s", "electron/s")), _COSMIC_RAYS))
FLAT = ProductSpec("flat", OF_FILTER, _image_variables(("1",)))
FRINGE = ProductSpec("fringe", OF_FILTER, _image_variables(("1",)))
_SKY_BINS = ("bin_y", "bin_x")
SKY = ProductSpec(
    "sky",
    OF_FILTER,
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
