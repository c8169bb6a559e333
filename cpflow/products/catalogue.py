"""All products by name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from cpflow.errors import UsageError
from cpflow.products.crosstalk import CROSSTALK
from cpflow.products.defects import DEFECTS, MANUAL_DEFECTS
from cpflow.products.electro_optical import BFK, CTI, LINEARIZER, PTC
from cpflow.products.images import BIAS, DARK, FLAT, FRINGE, SKY
from cpflow.products.spec import OF_DETECTOR, OF_FILTER, ProductSpec
from cpflow.products.verification import VERIFICATIONS

SPECS: Mapping[str, ProductSpec] = {
    spec.name: spec
    for spec in (
        *(BIAS, DARK, FLAT, FRINGE, SKY),
        *(DEFECTS, MANUAL_DEFECTS, CROSSTALK, LINEARIZER, PTC, BFK, CTI),
        *VERIFICATIONS,
    )
}
# Dimensions of every type, known before each product's variables are (spec registry 1).
DIMENSIONS: Mapping[str, tuple[str, ...]] = {
    "camera": ("instrument",),
    **dict.fromkeys(
        ("bias", "dark", "defects", "crosstalk", "linearizer", "ptc", "bfk", "cti", "gains"),
        OF_DETECTOR,
    ),
    "manual_defects": OF_DETECTOR,
    **dict.fromkeys(("flat", "fringe", "sky"), OF_FILTER),
    **{spec.name: spec.dimensions for spec in VERIFICATIONS},
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
    close = difflib.get_close_matches(name, [*DIMENSIONS, *_ALIASES], n=2)
    meant = f"did you mean {' or '.join(close)}? " if close else ""
    raise UsageError(
        f"there is no product {name!r}",
        hint=f"{meant}known products: {', '.join(sorted(DIMENSIONS))}",
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


def is_calibration(name: str) -> bool:
    """Whether a product can be certified; a verification cannot."""
    return name not in SPECS or SPECS[name].calibration


def is_image(name: str) -> bool:
    """Whether a product is an image of the detector."""
    spec = SPECS.get(name)
    image = None if spec is None else spec.variable("image")
    return image is not None and image.dims == ("y", "x")


def _version() -> str:
    from cpflow import __version__

    return __version__
