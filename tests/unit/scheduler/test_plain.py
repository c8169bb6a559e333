"""Values of tasks in files: what comes back is what went in, and nothing else is ever made."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cpflow.exposure import RawFile
from cpflow.scheduler.plain import pack, unpack, write_value

ARRAYS = hnp.arrays(
    st.sampled_from([np.float32, np.float64, np.int64, np.uint16, np.bool_, "U3", "S4"]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
KEYS = st.text(max_size=5) | st.integers() | st.tuples(st.integers(), st.text(max_size=2))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | ARRAYS
    | st.builds(range, st.integers(-9, 9), st.integers(-9, 9), st.integers(1, 4))
    | st.floats(width=32).map(np.float32),
    lambda inner: st.lists(inner, max_size=4)
    | st.lists(inner, max_size=4).map(tuple)
    | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def same(a, b):
    """Equal in type, and to the bit."""
    if type(a) is not type(b):
        return False
    if isinstance(a, (np.ndarray, np.generic)):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(map(same, a.values(), b.values()))
    if isinstance(a, float):
        return a == b or (a != a and b != b)
    return a == b


@given(VALUES)
def test_what_goes_in_comes_out(value):
    assert same(unpack(pack(value)), value)


def test_dataclasses_of_cpflow_come_back():
    raw = RawFile(
        "LATISS", 2021012100001, 0, "raws/a.fits", 12, "sha256:0", {"version": 1, "hdus": []}
    )
    found = unpack(pack({"raw": (raw, np.arange(3.0))}))["raw"]
    assert type(found[0]) is RawFile
    assert found[0] == raw


def test_order_in_memory_is_that_of_a_value_that_was_read():
    """A sum depends on it: first written, then read, is the same as read."""
    turned = np.asfortranarray(np.random.default_rng(1).normal(size=(50, 60)))
    once = unpack(pack(turned))
    assert unpack(pack(once)).flags == once.flags


@dataclass(frozen=True)
class Stranger:
    """Of no module of cpflow."""

    value: int


@pytest.mark.parametrize("value", [Stranger(1), {1, 2}, object(), np.array([None]), Path("x")])
def test_other_things_are_refused(value):
    with pytest.raises(TypeError, match="plain value"):
        pack([value])


@pytest.mark.parametrize(
    "tree",
    [
        ["of", "os", "system", {"command": "true"}],
        ["of", "cpflow.store", "os.path.join", {}],
        ["of", "cpflow.errors", "CpflowError", {}],
        ["of", "cpflow.exposure", "RawFile", {"path": "only"}],
        ["of", "cpflowing.evil", "Thing", {}],
        ["of", "cpflow.no_such_module", "Thing", {}],
        ["array", 7],
        ["what", 1],
        ["dict", 3],
        ["range", 3],
    ],
)
def test_nothing_else_is_made_of_a_file(tree, tmp_path):
    path = tmp_path / "value.npz"
    np.savez(path, tree=np.frombuffer(json.dumps(tree).encode(), np.uint8))
    with pytest.raises(ValueError, match="not a value of a task"):
        unpack(path.read_bytes())


def test_no_pickle_is_read(tmp_path):
    path = tmp_path / "value.npz"
    np.savez(path, tree=np.array([Stranger(1)], dtype=object), allow_pickle=True)
    for content in (path.read_bytes(), pickle.dumps(1)):
        with pytest.raises(ValueError, match=r"not a value of a task|allow_pickle"):
            unpack(content)


@given(st.integers(0, 10**6))
def test_a_damaged_file_is_no_value(place):
    content = bytearray(pack({"a": np.arange(100.0), "b": [1, 2.5, "x"]}))
    good = unpack(bytes(content))
    content[place % len(content)] ^= 16
    try:
        found = unpack(bytes(content))
    except ValueError:
        return
    # Fields of a zip that nobody reads, as the time of a file.
    assert same(found, good)


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9, 0.999])
def test_a_short_file_is_no_value(part):
    content = pack(np.arange(1000.0))
    with pytest.raises(ValueError, match="not a value of a task"):
        unpack(content[: int(part * len(content))])


def test_a_file_is_whole_or_not_there(tmp_path, monkeypatch):
    def fails(self, data):
        with self.open("wb") as handle:
            handle.write(data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fails)
    with pytest.raises(OSError, match="No space"):
        write_value(tmp_path / "x" / "value.npz", b"0" * 100)
    assert list((tmp_path / "x").iterdir()) == []
