"""What a survey comes to: values with where they came from, and questions where there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Question:
    """A value that the files do not give; it becomes a placeholder.

    Parameters
    ----------
    text : str
        What is asked, in one line.
    answers : tuple of str
        What may be answered: lines of YAML with a word on each.
    """

    text: str
    answers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """A value of the instrument file.

    Parameters
    ----------
    value
        Anything that YAML holds; mappings and lists may hold questions and further findings.
    source : str
        Where it came from: HDU, keyword, what the files have there.
    notes : tuple of str
        Lines of comment above it.
    """

    value: Any
    source: str = ""
    notes: tuple[str, ...] = ()


Tree = Mapping[str, Any]
"""Keys to plain values, findings, questions or trees: an instrument file with its comments."""


@dataclass(frozen=True, slots=True)
class Remark:
    """A line that is a comment: a key that the file does not need, as it could be written."""

    text: str
