"""RICE_1 tiles against astropy's compressor, a slow decoder, and damage."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from cpflow.kernels.rice import decode_tiles

CODES = {1: (3, 6), 2: (4, 14), 4: (5, 25)}


def tiles_of(file: bytes) -> tuple[fits.Header, np.ndarray, np.ndarray, np.ndarray]:
    """Header, heap, offsets and lengths of the compressed image in extension 1."""
    with fits.open(io.BytesIO(file), disable_image_compression=True) as opened:
        header = opened[1].header
        descriptors = np.asarray(opened[1].data).view(np.ndarray)["COMPRESSED_DATA"]
        start = opened.info(output=False) and opened[1].fileinfo()["datLoc"]
    table = header["NAXIS1"] * header["NAXIS2"]
    heap = np.frombuffer(file, np.uint8)[start + table : start + table + header["PCOUNT"]]
    lengths, offsets = descriptors.astype(np.int64).T
    return header, heap, offsets, lengths


def compressed(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(image, compression_type="RICE_1")]).writeto(
        file
    )
    return file.getvalue()


def decoded(file: bytes, dtype: type) -> np.ndarray:
    header, heap, offsets, lengths = tiles_of(file)
    options = {header[f"ZNAME{i}"]: header[f"ZVAL{i}"] for i in (1, 2)}
    out = np.empty((len(offsets), header["ZTILE1"]), dtype)
    decode_tiles(
        heap, offsets, lengths, out, bytepix=options["BYTEPIX"], blocksize=options["BLOCKSIZE"]
    )
    return out


def slow_decode(data: bytes, pixels: int, bytepix: int, blocksize: int) -> list[int]:
    """The published description, on a string of bits."""
    bits = "".join(f"{byte:08b}" for byte in data)
    at = 8 * bytepix
    last = int(bits[:at], 2)
    code_bits, full = CODES[bytepix]
    values = []
    for first in range(0, pixels, blocksize):
        code = int(bits[at : at + code_bits], 2) - 1
        at += code_bits
        for _ in range(first, min(first + blocksize, pixels)):
            if code < 0:
                mapped = 0
            elif code == full:
                mapped = int(bits[at : at + 8 * bytepix], 2)
                at += 8 * bytepix
            else:
                zeros = bits.index("1", at) - at
                at += zeros + 1
                mapped = (zeros << code) | int("0" + bits[at : at + code], 2)
                at += code
            last += -(mapped + 1) // 2 if mapped % 2 else mapped // 2
            last %= 1 << 8 * bytepix
            values.append(last)
    return values


def encode(values: list[int], bytepix: int, blocksize: int, codes: list[int]) -> bytes:
    """Encode by the description; `codes` says how, block by block: -1, 0, 1 ... or the full one."""
    code_bits, full = CODES[bytepix]
    size = 1 << 8 * bytepix
    bits = [f"{values[0] % size:0{8 * bytepix}b}"]
    last = values[0]
    for block, first in enumerate(range(0, len(values), blocksize)):
        code = codes[block % len(codes)]
        part = values[first : first + blocksize]
        steps = []
        for value in part:
            step = (value - last + size // 2) % size - size // 2
            steps.append(-2 * step - 1 if step < 0 else 2 * step)
            last = value
        if code < 0 and any(steps):
            code = full
        bits.append(f"{code + 1:0{code_bits}b}")
        for mapped in steps:
            if code == full:
                bits.append(f"{mapped:0{8 * bytepix}b}")
            elif code >= 0:
                bits.append("0" * (mapped >> code) + "1")
                bits.append(f"{mapped % (1 << code):0{code}b}" if code else "")
    joined = "".join(bits)
    joined += "0" * (-len(joined) % 8)
    return bytes(int(joined[i : i + 8], 2) for i in range(0, len(joined), 8))


def decode_one(data: bytes, pixels: int, dtype: type, **options: int) -> np.ndarray:
    out = np.empty((1, pixels), dtype)
    decode_tiles(
        np.frombuffer(data, np.uint8), np.array([0]), np.array([len(data)]), out, **options
    )
    return out[0]


def images(dtype: type) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    shape = (40, 333)
    base = 100 if dtype is np.uint8 else 25_000
    return {
        "any": rng.integers(low, high, shape, endpoint=True).astype(dtype),
        "bias": np.clip(rng.normal(base, 7, shape), low, high).astype(dtype),
        "constant": np.full(shape, 9, dtype),
        "hits": np.where(rng.random(shape) < 0.01, high, base).astype(dtype),
        "alternating": np.tile(np.where(np.arange(333) % 2, low, high), (40, 1)).astype(dtype),
        "sparse": np.where(rng.random(shape) < 0.02, base + 1, base).astype(dtype),
        "steps": np.cumsum(rng.integers(-40, 40, shape), axis=1).clip(low, high).astype(dtype),
    }


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32])
@pytest.mark.parametrize("kind", list(images(np.uint8)))
def test_what_astropy_wrote(dtype: type, kind: str) -> None:
    image = images(dtype)[kind]
    np.testing.assert_array_equal(decoded(compressed(image), dtype), image)


def test_real_frames(real_data: Path) -> None:
    files = sorted(real_data.glob("*/*.fits.fz"))[::12]
    assert files
    for file in files:
        with fits.open(file, do_not_scale_image_data=True) as opened:
            wanted = opened[1].data
            np.testing.assert_array_equal(decoded(file.read_bytes(), wanted.dtype.type), wanted)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([(1, np.uint8), (2, np.int16), (4, np.int32)]),
    st.sampled_from([16, 32]),
    st.lists(st.integers(-60, 60), min_size=1, max_size=150),
    st.lists(st.integers(-1, 25), min_size=1, max_size=6),
    st.integers(-(2**31), 2**31 - 1),
)
def test_every_block_code(kind, blocksize, steps, codes, start) -> None:
    """Blocks in any of the codes, not only those that a compressor would choose."""
    bytepix, dtype = kind
    full = CODES[bytepix][1]
    wrapped = (start + np.cumsum(steps)).astype(np.int64)
    values = [int(v) % (1 << 8 * bytepix) for v in wrapped]
    data = encode(values, bytepix, blocksize, [min(code, full) for code in codes])
    assert slow_decode(data, len(values), bytepix, blocksize) == values
    ours = decode_one(data, len(values), dtype, blocksize=blocksize)
    np.testing.assert_array_equal(ours, wrapped.astype(dtype))


@pytest.mark.parametrize("step", [57, 63, 64, 65, 130, 1000, 30_000])
def test_long_runs_of_zero_bits(step: int) -> None:
    """Code 0 writes a difference as that many zeros: past the bit buffer, several times."""
    values = [0, step, 0, -step, 5, 5 + step // 2]
    data = encode(values, 4, 32, [0])
    np.testing.assert_array_equal(decode_one(data, len(values), np.int32), values)
    full = encode(values, 4, 32, [3, 0])
    np.testing.assert_array_equal(decode_one(full, len(values), np.int32), values)


def test_narrow_pixels_in_a_wide_array() -> None:
    values = [-5, 300, -32768, 32767, 0]
    data = encode(values, 2, 32, [5])
    np.testing.assert_array_equal(decode_one(data, 5, np.int32, bytepix=2), values)


def test_a_tile_that_ends_early_is_refused_wherever_it_is_cut() -> None:
    rng = np.random.default_rng(4)
    values = list(map(int, rng.normal(1000, 20, 100)))
    data = encode(values, 4, 32, [3, 25, 0, 5])
    np.testing.assert_array_equal(decode_one(data, 100, np.int32), values)
    for length in range(len(data)):
        with pytest.raises(ValueError, match="tile 0"):
            decode_one(data[:length], 100, np.int32)


def test_data_left_over_are_refused() -> None:
    data = encode([1, 2, 3], 4, 32, [1])
    decode_one(data + bytes(7), 3, np.int32)
    with pytest.raises(ValueError, match="left over"):
        decode_one(data + bytes(8), 3, np.int32)


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=1, max_size=200), st.sampled_from([np.uint8, np.int16, np.int32]))
def test_garbage_never_reads_outside(data, dtype) -> None:
    """It decodes to something or is refused; a guard behind it stays unread, so changes nothing."""
    results = []
    for guard in (bytes(400), b"\xff" * 400):
        heap = np.frombuffer(data + guard, np.uint8)
        out = np.zeros((1, 90), dtype)
        try:
            decode_tiles(heap, np.array([0]), np.array([len(data)]), out)
        except ValueError as error:
            results.append(str(error))
        else:
            results.append(out.tolist())
    assert results[0] == results[1]


_CHECKED = """
import numpy as np
from cpflow.kernels.rice import decode_tiles

rng = np.random.default_rng(1)
for turn in range(3000):
    dtype = (np.uint8, np.int16, np.int32)[turn % 3]
    size = dtype().itemsize
    code = {1: 0x20, 2: 0x10, 4: 0x08}[size]  # a block of code 0: zeros and a one
    zeros = bytes([*[0] * size, code, *[0] * int(rng.integers(0, 60))])
    data = zeros if turn % 2 else rng.integers(0, 256, rng.integers(size, 90), np.uint8).tobytes()
    out = np.empty((1, 64), dtype)
    try:
        decode_tiles(np.frombuffer(data, np.uint8), np.array([0]), np.array([len(data)]), out)
    except ValueError:
        continue
    assert data != zeros
"""


def test_no_index_is_out_of_bounds(tmp_path: Path) -> None:
    """The same with every index checked: an IndexError would end it."""
    checked = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", _CHECKED], env=checked, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_refusal_names_the_tile() -> None:
    good = encode([7] * 40, 2, 32, [0])
    heap = np.frombuffer(good + good[:3] + good, np.uint8)
    offsets = np.array([0, len(good), len(good) + 3])
    lengths = np.array([len(good), 3, len(good)])
    with pytest.raises(ValueError, match="tile 1 cannot be decoded: its data end early"):
        decode_tiles(heap, offsets, lengths, np.empty((3, 40), np.int16))


def test_a_code_that_does_not_exist() -> None:
    """Five bits 31 after the first pixel: codes of four-byte pixels end at 26."""
    with pytest.raises(ValueError, match="does not exist"):
        decode_one(bytes([0, 0, 0, 1, 0xFF, 0xFF]), 8, np.int32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"out": np.empty((2, 8), np.int64)}, "int64"),
        ({"out": np.empty(8, np.int32)}, "rows"),
        ({"bytepix": 3}, "3 bytes"),
        ({"out": np.empty((2, 8), np.int16), "bytepix": 4}, "4 bytes"),
        ({"blocksize": 8}, "not 8"),
        ({"offsets": np.array([0])}, "1 offsets"),
        ({"offsets": np.array([0, -1])}, "tile 1"),
        ({"offsets": np.array([95, 0])}, "tile 0"),
        ({"lengths": np.array([10, 2**62])}, "tile 1"),
        ({"heap": np.zeros(100, np.int8)}, "int8"),
    ],
)
def test_nonsense_is_refused(change, message) -> None:
    arguments = {
        "heap": np.zeros(100, np.uint8),
        "offsets": np.array([0, 10]),
        "lengths": np.array([10, 10]),
        "out": np.empty((2, 8), np.int32),
        **change,
    }
    with pytest.raises(ValueError, match=message):
        decode_tiles(**arguments)


def test_no_tiles() -> None:
    decode_tiles(np.zeros(0, np.uint8), np.empty(0), np.empty(0), np.empty((0, 5), np.int32))
