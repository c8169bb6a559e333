"""Several graphs in order, built as one plan."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cpflow.errors import UsageError
from cpflow.graph.select import Select

_NAME = re.compile(r"[a-z][a-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class ChainStep:
    """One graph of a chain.

    Parameters
    ----------
    name : str
        Of the step; a graph may come twice.
    graph : str
        Name of the graph.
    select : Select, optional
        Exposures that it takes here, instead of the graph's own selection.
    when : Select, optional
        The step is left out unless there are such exposures; without it, unless there are any that
        it takes.
    config : mapping
        Values over the graph's defaults and the instrument's overlay, by dotted key.
    """

    name: str
    graph: str
    select: Select | None
    when: Select | None
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ChainGraph:
    """A graph file that names other graphs: each may use what those before it made."""

    name: str
    path: Path
    title: str
    steps: tuple[ChainStep, ...]
    source_hash: str

    @property
    def product(self) -> str:
        """What its output is called after: the chain itself."""
        return self.name.replace("/", "_")


def chain_steps(chain: Any, path: Path) -> tuple[ChainStep, ...]:
    """Read the CHAIN of a graph file.

    Raises
    ------
    UsageError
        If it is not sound.
    """
    if not isinstance(chain, Mapping) or not chain:
        raise UsageError(
            f"{path}: CHAIN must map names of steps to their options",
            hint='as CHAIN = {"bias": {}, "again": {"graph": "defects", "config": {...}}}',
        )
    steps = []
    for name, options in chain.items():
        if not _NAME.fullmatch(str(name)):
            raise UsageError(
                f"{path}: {name!r} cannot be the name of a step",
                hint="lower-case letters, digits, - and _, as in defects-again",
            )
        unknown = set(options) - {"graph", "select", "when", "config"}
        if unknown:
            raise UsageError(f"{path}: step {name} has unknown options {', '.join(unknown)}")
        for option in ("select", "when"):
            if not isinstance(options.get(option), Select | None):
                raise UsageError(f"{path}: {option} of step {name} must be a cpflow.Select")
        steps.append(
            ChainStep(
                str(name),
                options.get("graph", name),
                options.get("select"),
                options.get("when"),
                options.get("config", {}),
            )
        )
    return tuple(steps)
