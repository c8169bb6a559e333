"""Mask planes: the agreed bits, and names that do not exist."""

from __future__ import annotations

import numpy as np
import pytest

from cpflow.kernels import planes


def test_bits_are_the_index_of_the_name() -> None:
    assert planes.PLANES[:4] == ("BAD", "SAT", "INTRP", "CR")
    for index, name in enumerate(planes.PLANES):
        assert getattr(planes, name) == 1 << index
        assert planes.bits([name]) == 1 << index


def test_all_planes_fit_the_mask_type() -> None:
    assert planes.bits(planes.PLANES) <= np.iinfo(planes.MASK_DTYPE).max


def test_names_are_joined_once_each() -> None:
    assert planes.bits(["SAT", "BAD", "SAT"]) == 3
    assert planes.bits([]) == 0


@pytest.mark.parametrize("names", [["BAD", "STREAK"], "BAD"])
def test_unknown_names_are_refused(names: list[str]) -> None:
    with pytest.raises(ValueError, match="plane"):
        planes.bits(names)


def test_the_refusal_lists_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"STREAK.*BAD, SAT, INTRP.*PARTLY_VIGNETTED"):
        planes.bits(["STREAK"])
