"""The comparator network sorts any number of rows, every lane by itself."""

from __future__ import annotations

import numpy as np
import pytest

from cpflow.kernels.sorting import LANES, STRIDE, network, sort_columns


def sort(columns: np.ndarray) -> np.ndarray:
    rows = len(columns)
    block = np.full((rows + 1, STRIDE), np.inf, np.float32)
    block[:rows, :LANES] = columns
    sort_columns(block.reshape(-1), network(rows))
    assert np.all(np.isposinf(block[rows]))
    assert np.all(np.isposinf(block[:, LANES:]))
    return block[:rows, :LANES]


@pytest.mark.parametrize("rows", [*range(1, 70), 100, 127, 128, 129, 257, 600])
def test_columns_come_out_sorted(rows: int) -> None:
    values = np.random.default_rng(rows).normal(0, 1, (rows, LANES)).astype(np.float32)
    np.testing.assert_array_equal(sort(values), np.sort(values, axis=0))


@pytest.mark.parametrize("rows", [*range(2, 19), 31, 32, 33, 50])
def test_zeros_and_ones(rows: int) -> None:
    """A comparator network that sorts all columns of zeros and ones sorts everything (Knuth)."""
    patterns = np.arange(2**rows) if rows <= 12 else np.random.default_rng(1).integers(
        0, 2**rows, 20_000, dtype=np.int64
    )  # fmt: skip
    patterns = np.append(patterns, np.zeros(-len(patterns) % LANES, np.int64))
    for some in patterns.reshape(-1, LANES):
        columns = ((some >> np.arange(rows)[:, None]) & 1).astype(np.float32)
        assert np.all(np.diff(sort(columns), axis=0) >= 0)


def test_infinities_ties_and_signed_zeros() -> None:
    rng = np.random.default_rng(5)
    values = rng.choice(
        np.array([-np.inf, -1e38, -1.0, -0.0, 0.0, 1e-45, 1.0, 3.4e38, np.inf], np.float32),
        (37, LANES),
    )
    np.testing.assert_array_equal(sort(values), np.sort(values, axis=0))


def test_the_number_of_comparators_is_batchers() -> None:
    """Counted by hand from the published recursion: 63 for 16 rows, 191 for 32."""
    assert len(network(16).parts) == 1
    assert len(network(16).pairs) == 0
    plan = network(32)
    assert 2 * 63 + 2 * 25 + len(plan.pairs) == 191
