"""Sections of an image as FITS keywords write them: ``[x1:x2,y1:y2]``, one-based, both ends in."""

from __future__ import annotations

import re

from cpflow.camera import Box

_SECTION = re.compile(r"\s*\[\s*(\d+)\s*:\s*(\d+)\s*,\s*(\d+)\s*:\s*(\d+)\s*\]\s*", re.ASCII)


def parse_section(text: str) -> Box:
    """Return the box of a section; reversed bounds mean the same pixels.

    Raises
    ------
    ValueError
        If the text is not a section.
    """
    match = _SECTION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a section such as [1:512,1:1024]")
    x1, x2, y1, y2 = (int(group) for group in match.groups())
    if min(x1, x2, y1, y2) < 1:
        raise ValueError(f"{text!r}: sections count from 1")
    left, low = min(x1, x2), min(y1, y2)
    return Box(left - 1, low - 1, abs(x2 - x1) + 1, abs(y2 - y1) + 1)
