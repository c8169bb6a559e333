"""Placeholders in an instrument file: values that `cpflow instrument new` could not find.

A placeholder is a text that begins with ``TODO``; what follows is the question. A file that still
has one is not loaded: the error lists all of them, each with its line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import yaml

from cpflow.errors import InstrumentError

MARK: Final = "TODO"


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A value that is still to be filled in."""

    line: int
    """Line of the file, from 1."""
    key: str
    """Where it stands, as in ``types.CCD.gain``."""
    question: str

    def __str__(self) -> str:
        return f"line {self.line}, {self.key}: {self.question}"


def placeholders(text: str) -> list[Placeholder]:
    """Return the placeholders of a YAML text, in the order of its lines.

    Raises
    ------
    yaml.YAMLError
        If the text is not YAML.
    """
    root = yaml.compose(text, yaml.SafeLoader)
    return [] if root is None else list(_within(root, ""))


def _within(node: yaml.Node, key: str) -> Iterator[Placeholder]:
    if isinstance(node, yaml.ScalarNode):
        if node.value.startswith(MARK):
            question = " ".join(node.value.removeprefix(MARK).lstrip(" :").split())
            yield Placeholder(node.start_mark.line + 1, key, question or "what is it?")
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _within(item, f"{key}.{index}")
    elif isinstance(node, yaml.MappingNode):
        for name, item in node.value:
            yield from _within(item, f"{key}.{name.value}" if key else str(name.value))


def check_filled_in(text: str, path: str) -> None:
    """Refuse an instrument file that still has placeholders.

    Raises
    ------
    InstrumentError
        Listing every placeholder with its line and its question.
    """
    if MARK not in text:
        return
    left = placeholders(text)
    if left:
        values = "1 value is" if len(left) == 1 else f"{len(left)} values are"
        listed = "".join(f"\n  {one}" for one in left)
        raise InstrumentError(
            f"{path}: {values} still to be filled in{listed}",
            hint="write each answer in place of its 'TODO: ...' (the comments above it say what "
            f"may stand there), then: cpflow instrument check {path}",
        )
