"""The specification of each product: its dimensions, variables, dtypes and units.

Every product is an `xarray.Dataset`. Image variables are in the detector frame ``(y, x)``; those of
a product that is still being built are in the readout frame ``(amp, y, x)``.
"""

from cpflow.products.catalogue import (
    DIMENSIONS,
    SPECS,
    is_calibration,
    is_image,
    product_name,
    product_spec,
)
from cpflow.products.crosstalk import CROSSTALK
from cpflow.products.defects import DEFECTS, MANUAL_DEFECTS
from cpflow.products.electro_optical import BFK, CTI, LINEARITY_KINDS, LINEARIZER, PTC
from cpflow.products.images import BIAS, DARK, FLAT, FRINGE, SKY
from cpflow.products.spec import ProductSpec, Variable, mask_attributes, squared
from cpflow.products.verification import VERDICTS, VERIFIED, verification_name

__all__ = [
    "BFK",
    "BIAS",
    "CROSSTALK",
    "CTI",
    "DARK",
    "DEFECTS",
    "DIMENSIONS",
    "FLAT",
    "FRINGE",
    "LINEARITY_KINDS",
    "LINEARIZER",
    "MANUAL_DEFECTS",
    "PTC",
    "SKY",
    "SPECS",
    "VERDICTS",
    "VERIFIED",
    "ProductSpec",
    "Variable",
    "is_calibration",
    "is_image",
    "mask_attributes",
    "product_name",
    "product_spec",
    "squared",
    "verification_name",
]
