"""Whose fault an error of a task is, and what is said of it."""

from __future__ import annotations

import errno
import os
from types import SimpleNamespace
from typing import Any

import pytest
from distributed.scheduler import KilledWorker

from cpflow.errors import (
    ClusterLostError,
    InterruptedRunError,
    RawError,
    StorageError,
    TaskError,
)
from cpflow.scheduler.events import Event
from cpflow.scheduler.task_errors import product_error, room_needed

TOKEN = "0123456789abcdef"


# What is read of a planned product.
PRODUCT: Any = SimpleNamespace(
    label="bias of LATISS detector 3",
    detector=SimpleNamespace(id=3),
    raws=((SimpleNamespace(exposure=2021012100007), SimpleNamespace(path="raws/seven.fits")),),
    facts=SimpleNamespace(band_rows=40),
)


def killed(key):
    worker = SimpleNamespace(address="tcp://10.0.0.7:4000")
    return KilledWorker(key, worker, 2)


@pytest.mark.parametrize("kind", ["measure-readout", "measure-cosmic-rays", "pair-covariances"])
def test_a_task_that_kills_workers_names_its_exposure(kind):
    error = product_error(killed(f"{kind}-2021012100007-{TOKEN}"), PRODUCT)
    assert isinstance(error, TaskError)
    assert (error.exposure, error.detector, error.file) == (2021012100007, 3, "raws/seven.fits")
    text = str(error)
    for words in ("exposure 2021012100007", "3 workers", "tcp://10.0.0.7:4000", "memory"):
        assert words in text
    event = Event.of_error("failed", "bias", error)
    assert (event.exposure, event.file) == (2021012100007, "raws/seven.fits")


def test_a_band_says_which_rows():
    error = product_error(killed(f"bias-band-5-{TOKEN}"), PRODUCT)
    assert "40 rows from row 200" in str(error)


def test_an_error_of_data_is_what_it_is():
    error = RawError("truncated", file="a.fits")
    assert product_error(error, PRODUCT) is error


def test_a_mistake_of_ours_is_told_as_one(caplog):
    error = product_error(ZeroDivisionError("division by zero"), PRODUCT)
    assert isinstance(error, TaskError)
    assert "ZeroDivisionError: division by zero" in str(error)
    assert "mistake in cpflow" in str(error)
    assert caplog.records[0].exc_info, "the traceback is logged"


@pytest.mark.parametrize(
    "error",
    [
        InterruptedRunError("stopped"),
        ClusterLostError("away"),
        KeyboardInterrupt(),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
    ],
)
def test_what_is_not_about_one_product_ends_the_run(error):
    with pytest.raises(type(error)) as caught:
        product_error(error, PRODUCT)
    assert caught.value is error


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_in_words(tmp_path, code):
    with pytest.raises(StorageError) as caught, room_needed(tmp_path):
        raise OSError(code, os.strerror(code), "/data/band.npz")
    assert "/data/band.npz" in str(caught.value)
    assert "free at" in str(caught.value)
    assert "the same command again" in caught.value.hint
    assert caught.value.exit_code == 4


def test_other_errors_of_files_are_left_alone(tmp_path):
    with pytest.raises(PermissionError), room_needed(tmp_path):
        raise PermissionError(errno.EACCES, "Permission denied")
