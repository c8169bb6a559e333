"""Measurements that are kept: computed once, read by whoever comes later."""

from __future__ import annotations

import numpy as np
import pytest
from dask._task_spec import DataNode, Task, TaskRef

from cpflow.errors import ProductError, RawError
from cpflow.scheduler.bands import Written, unless_written, write_band
from cpflow.scheduler.kept import keeping, read_value, remembered
from cpflow.stack.frame import Failure
from cpflow.stack.tasks import gather

calls: list[int] = []


def squares(count):
    calls.append(count)
    return np.arange(count) ** 2


def test_computed_once(tmp_path):
    path = str(tmp_path / "values" / "a.npz")
    calls.clear()
    first = remembered(path, squares, 5)
    second = remembered(path, squares, 5)
    np.testing.assert_array_equal(first, np.arange(5) ** 2)
    np.testing.assert_array_equal(first, second)
    assert calls == [5]


def test_a_damaged_one_is_computed_again(tmp_path):
    path = tmp_path / "a.npz"
    calls.clear()
    remembered(str(path), squares, 5)
    path.write_bytes(path.read_bytes()[:-30])
    np.testing.assert_array_equal(remembered(str(path), squares, 5), np.arange(5) ** 2)
    assert calls == [5, 5]


def test_a_failure_is_not_kept(tmp_path):
    """The file may be mended before the next attempt."""
    failure = Failure(7, RawError("truncated"))
    assert remembered(str(tmp_path / "a.npz"), lambda: failure) is failure
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_kept_is_returned_all_the_same(tmp_path, caplog):
    assert remembered(str(tmp_path / "a.npz"), lambda: {1, 2}) == {1, 2}
    assert "set is no plain value" in caplog.text


def test_a_damaged_one_that_was_taken_for_whole(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(b"PK\x05\x06" + bytes(18))
    with pytest.raises(ProductError, match="cannot be read") as caught:
        read_value(str(path))
    assert "same command again" in caught.value.hint
    assert not path.exists()


def graph():
    return {
        "raw": DataNode("raw", 3),
        "slow": Task("slow", squares, TaskRef("raw")),
        "solve-x": Task("solve-x", gather, TaskRef("slow"), 1),
    }


def test_tasks_of_which_the_value_is_there_are_read(tmp_path):
    """And then nothing is needed of what they were computed from."""
    nodes, kept = keeping(tmp_path, graph())
    assert kept == 0
    assert nodes["solve-x"].func is remembered
    assert nodes["solve-x"].dependencies == {"slow"}
    assert nodes["slow"].func is squares
    remembered(nodes["solve-x"].args[0], squares, 4)
    nodes, kept = keeping(tmp_path, graph())
    assert kept == 1
    assert not nodes["solve-x"].dependencies
    np.testing.assert_array_equal(nodes["solve-x"]({}), np.arange(4) ** 2)


def test_keys_that_look_alike_have_files_of_their_own(tmp_path):
    keys = ["solve-a/b", "solve-a_b", "solve-" + "x" * 200, "solve-" + "x" * 201]
    nodes, _ = keeping(tmp_path, {key: Task(key, gather, 1) for key in keys})
    assert len({nodes[key].args[0] for key in keys}) == len(keys)


def test_a_band_that_is_written_is_not_computed(tmp_path):
    """When a worker dies, Dask asks for all that it held."""
    calls.clear()
    place = str(tmp_path)
    assert isinstance(unless_written(place, "band-0000", squares, 3), np.ndarray)
    record = write_band(place, "band-0000", ["a", "b"], squares(3), squares(2))
    calls.clear()
    found = unless_written(place, "band-0000", squares, 3)
    assert isinstance(found, Written)
    assert calls == []
    assert write_band(place, "band-0000", ["a", "b"], found[0], found[1]) == record
