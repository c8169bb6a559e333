"""Band heights: they fit the memory, are even, and leave work for several workers."""

from __future__ import annotations

import pytest

from cpflow.io.instrument import load_instrument, scaled
from cpflow.plan import choose_band_rows
from cpflow.plan.memory import band_memory

FULL = load_instrument("latiss").camera.detectors[0]
SMALL = scaled(load_instrument("latiss"), 16).camera.detectors[0]


@pytest.mark.parametrize("exposures", [1, 4, 5, 60, 1000])
@pytest.mark.parametrize("memory", [2**24, 2**27, 2**32])
@pytest.mark.parametrize("detector", [FULL, SMALL])
def test_a_band_fits_and_one_more_row_would_not(exposures, memory, detector):
    rows = detector.imaging_shape[0]
    height = choose_band_rows(detector, exposures, memory)
    bands = -(-rows // height)
    if height > 1:
        assert band_memory(detector, exposures, height) <= memory
    assert bands >= min(8, rows // 16)
    # Not lower than need be: with one band less it would not fit, or there would be too few.
    if bands > max(8, 1) and height > 1:
        assert band_memory(detector, exposures, -(-rows // (bands - 1))) > memory


def test_memory_does_not_grow_with_the_number_of_exposures():
    """Down to one row a band; then it has to."""
    for exposures in (10, 100, 1000):
        height = choose_band_rows(FULL, exposures, 2**27)
        assert band_memory(FULL, exposures, height) <= 2**27
