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


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Where everything is there that tests need, as in CI, a skip is a failure."""
    outcome = yield
    report = outcome.get_result()
    if os.environ.get("CPFLOW_TEST_NO_SKIP") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and $CPFLOW_TEST_NO_SKIP is set: {report.longrepr}"
