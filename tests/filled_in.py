"""Instrument files of `cpflow instrument new`, filled in as a person does: only what is asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from cpflow.io.placeholders import placeholders

_PLACEHOLDER = re.compile(r"'TODO: (?:[^']|'')*'")


def asked_for(text: str) -> list[str]:
    """Return the keys that are asked for."""
    return [one.key for one in placeholders(text)]


def filled_in(text: str, answers: Mapping[str, str]) -> str:
    """Return the text with YAML in place of its placeholders; every one needs an answer."""
    assert sorted(asked_for(text)) == sorted(answers)
    lines = text.split("\n")
    for one in placeholders(text):
        before, after = _PLACEHOLDER.split(lines[one.line - 1], maxsplit=1)
        lines[one.line - 1] = f"{before}{answers[one.key]}{after}"
    return "\n".join(lines)


def fill_in(path: Path, answers: Mapping[str, str]) -> None:
    """Fill in a file."""
    path.write_text(filled_in(path.read_text(), answers))
