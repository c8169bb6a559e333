from __future__ import annotations

import pytest

from cpflow.io.instrument import Instrument, load_instrument, scaled


@pytest.fixture(scope="session")
def latiss() -> Instrument:
    """LATISS, sixteen times smaller along both axes."""
    return scaled(load_instrument("latiss"), 16)


@pytest.fixture(scope="session")
def quad() -> Instrument:
    """Four detectors of four amplifiers, all amplifiers of a detector in one HDU, with flips."""
    return load_instrument("quad")
