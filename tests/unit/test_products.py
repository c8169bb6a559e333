"""Specifications of products."""

from __future__ import annotations

import numpy as np

from cpflow.kernels.planes import MASK_DTYPE
from cpflow.products import CROSSTALK, DIMENSIONS, SPECS


def test_masks_have_the_dtype_of_the_kernels():
    """The name is written twice, so that listings need not import numpy."""
    masks = [spec.variable("mask") for spec in SPECS.values()]
    assert {v.dtype for v in masks if v is not None} == {np.dtype(MASK_DTYPE).name}


def test_every_specification_has_the_dimensions_of_its_type():
    for name, spec in SPECS.items():
        assert spec.dimensions == DIMENSIONS[name]


def test_crosstalk_is_indexed_by_source_and_target():
    assert CROSSTALK.variable("coefficients").dims == ("source_amp", "target_amp")
