"""Fixtures that several suites share."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

_HERE = Path(__file__).resolve().parent


def pytest_configure(config):
    """Where pytest runs in the background of a script, ctrl-C is ignored, by what it starts too."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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


# The longest ones, so that two processes, each with one file at a time, end together.
_LONG = (
    "test_page.py",
    "test_slurm.py",
    "test_fault_matrix.py",
    "test_notebooks.py",
    "test_ptc.py",
    "test_sound_images.py",
    "test_concurrency.py",
    "test_killed.py",
    "test_registry_machine.py",
    "test_full_size.py",
    "test_image_truth.py",
    "test_full_size_sky.py",
)


def pytest_collection_modifyitems(items):
    """Slow tests come first, file by file, the longest file at the head."""
    places = {name: place for place, name in enumerate(_LONG)}

    def place(item):
        is_slow = item.get_closest_marker("slow") is not None
        return not is_slow, places.get(item.path.name, len(places)) if is_slow else 0

    items.sort(key=place)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Where everything is there that tests need, as in CI, a skip is a failure."""
    outcome = yield
    report = outcome.get_result()
    if os.environ.get("CPFLOW_TEST_NO_SKIP") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and $CPFLOW_TEST_NO_SKIP is set: {report.longrepr}"
