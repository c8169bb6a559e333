from __future__ import annotations

import pytest

from cpflow.camera import Box
from cpflow.io.sections import parse_section


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("[1:512,1:1024]", Box(0, 0, 512, 1024)),
        ("[  17: 528,   1: 520]", Box(16, 0, 512, 520)),
        (" [4:13,1:520]  ", Box(3, 0, 10, 520)),
        ("[528:17,520:1]", Box(16, 0, 512, 520)),
        ("[7:7,9:9]", Box(6, 8, 1, 1)),
    ],
)
def test_sections_are_one_based_and_closed(text, box):
    assert parse_section(text) == box


@pytest.mark.parametrize("text", ["", "1:2,3:4", "[1:2]", "[0:5,1:2]", "[a:b,c:d]", "[1:2,3:4:2]"])
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError, match="section"):
        parse_section(text)
