import numpy as np

from cpflow.simulate.seeds import stream


def test_the_same_key_gives_the_same_numbers_whatever_was_drawn_before():
    first = stream(1, "LATISS", 7, "noise").standard_normal(5)
    stream(1, "LATISS", 8, "noise").standard_normal(100)
    assert np.array_equal(first, stream(1, "LATISS", 7, "noise").standard_normal(5))


def test_keys_that_differ_in_any_part_give_other_numbers():
    keys = [(1, "a", 2), (2, "a", 2), (1, "b", 2), (1, "a", 3), (1, "a2"), (1, "a", "2")]
    draws = {stream(*key).integers(0, 2**63) for key in keys}
    assert len(draws) == len(keys)


def test_streams_of_neighbouring_keys_are_not_correlated():
    a, b = (stream(1, "x", i).standard_normal(100_000) for i in (0, 1))
    # The correlation of independent normals has a standard deviation of 1/sqrt(n).
    assert abs(np.mean(a * b)) < 5 / np.sqrt(a.size)
