"""Fixtures that several suites share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Directory of real frames; tests skip where it is absent."""
    named = os.environ.get("CPFLOW_TEST_DATA")
    path = Path(named) if named else _HERE.parent.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip(
            f"no real frames: {path} does not exist ($CPFLOW_TEST_DATA names another place)"
        )
    return path
