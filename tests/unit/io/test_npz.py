"""Files of arrays: as numpy reads them, from many threads, without Python's parser."""

from __future__ import annotations

import ast
import io
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cpflow.io.npz import read_arrays, written_arrays

DTYPES = ["<f4", ">f8", "i2", "u1", "?", "c8", "U3", "S4", "M8[ns]"]
ARRAYS = st.dictionaries(
    st.sampled_from(["image", "n_used", "variance"]),
    hnp.arrays(
        st.sampled_from(DTYPES).map(np.dtype), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0)
    ),
)


@given(ARRAYS, st.booleans())
def test_what_numpy_reads(arrays, turned):
    if turned:
        arrays = {name: np.asfortranarray(array) for name, array in arrays.items()}
    content = bytes(written_arrays(arrays))
    found = read_arrays(io.BytesIO(content))
    with np.load(io.BytesIO(content)) as plain:
        assert list(found) == plain.files
        for name, array in found.items():
            assert array.dtype == plain[name].dtype
            assert array.shape == plain[name].shape
            assert array.tobytes() == plain[name].tobytes() == arrays[name].tobytes()
            assert array.flags.f_contiguous == plain[name].flags.f_contiguous
            assert array.flags.writeable
            assert array.flags.aligned


def test_the_parser_of_python_is_left_alone(monkeypatch):
    """Of 3.11.7 it fails now and then where two threads use it."""

    def parse(*_, **__):
        raise AssertionError("the parser was used")

    content = bytes(written_arrays({"a": np.arange(12.0).reshape(3, 4), "b": np.array(1)}))
    monkeypatch.setattr(ast, "parse", parse)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: read_arrays(io.BytesIO(content)), range(100)))
    assert all((one["a"] == np.arange(12.0).reshape(3, 4)).all() for one in found)
    with pytest.raises(AssertionError, match="was used"), np.load(io.BytesIO(content)) as plain:
        plain["a"]


@pytest.mark.parametrize("array", [np.array([None]), np.zeros(3, [("x", "f4"), ("y", "i2")])])
def test_what_is_not_plain_is_neither_written_nor_read(array):
    with pytest.raises(TypeError, match="no plain value"):
        written_arrays({"a": array})
    buffer = io.BytesIO()
    np.savez(buffer, a=array)
    with pytest.raises(ValueError, match="not an array of plain values"):
        read_arrays(io.BytesIO(buffer.getvalue()))


@pytest.mark.parametrize(
    "member", [b"", b"\x93NUMPY", b"\x93NUMPY\x09\x00" + bytes(100), b"x" * 99]
)
def test_members_that_are_no_arrays(member):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.npy", member)
    with pytest.raises(ValueError, match="not an array"):
        read_arrays(io.BytesIO(buffer.getvalue()))


@given(st.data())
def test_of_a_damaged_file_no_array_is_wrong(data):
    arrays = {"a": np.arange(50, dtype=np.float32), "b": np.arange(3)}
    content = bytearray(written_arrays(arrays))
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = read_arrays(io.BytesIO(content))
    except ValueError:
        return
    # The list of members may be shorter, or a name another: whoever reads knows what he needs.
    assert {array.tobytes() for array in found.values()} <= {a.tobytes() for a in arrays.values()}
