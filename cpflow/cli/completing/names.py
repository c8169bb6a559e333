"""What may stand for each parameter: graphs, instruments, clusters, and names of a repository."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click
from click.shell_completion import CompletionItem

from cpflow.cli.completing.registry_names import names_in_registry

_Find = Callable[[click.Context, str], Iterable[str]]

if TYPE_CHECKING:
    # Of newer versions of click only.
    _Type: TypeAlias = click.ParamType[str]
else:
    _Type = click.ParamType


class Named(_Type):
    """A text that is one of some names, or several with commas between.

    Parameters
    ----------
    find : callable
        Returns names, given the context and what they begin with.
    many : bool
        Whether commas separate names.
    otherwise : str
        What it may be if there is no such name: "file", "dir" or nothing.
    """

    name = "text"

    def __init__(self, find: _Find, *, many: bool = False, otherwise: str = "") -> None:
        self.find, self.many, self.otherwise = find, many, otherwise

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """Return what may stand here."""
        before, comma, begin = incomplete.rpartition(",") if self.many else ("", "", incomplete)
        names = sorted({name for name in self.find(ctx, begin) if name.startswith(begin)})
        if names:
            return [CompletionItem(f"{before}{comma}{name}") for name in names]
        return [CompletionItem(incomplete, type=self.otherwise)] if self.otherwise else []


def name_parameters(command: click.Command, path: str) -> None:
    """Let the parameters of a command be completed.

    Parameters
    ----------
    command : click.Command
    path : str
        Its name on the command line, as "run" or "graph show".
    """
    if isinstance(command, click.Group):
        for name, one in command.commands.items():
            name_parameters(one, f"{path} {name}")
    for parameter in command.params:
        if isinstance(parameter.type, type(click.STRING)):
            parameter.type = _type_of(parameter, path)


def _type_of(parameter: click.Parameter, path: str) -> _Type:
    name = parameter.name or ""
    many = parameter.multiple or parameter.nargs == -1
    if path.startswith("graph ") and name == "name":
        name = "graph"
    if path in ("init", "simulate") and name == "instrument":
        return Named(_instruments, otherwise="file")
    if name in _NAMES:
        find, otherwise = _NAMES[name]
        return Named(find, many=many, otherwise=otherwise)
    return Named(_nothing, otherwise="" if name in _WORDS else "file")


def _nothing(ctx: click.Context, begin: str) -> Iterable[str]:
    return ()


def _graphs(ctx: click.Context, begin: str) -> Iterable[str]:
    from cpflow.graph.load import graph_files

    return (file.name for file in graph_files(_repository(ctx)))


def _instruments(ctx: click.Context, begin: str) -> Iterable[str]:
    from cpflow.io.instrument import instrument_names

    return instrument_names()


def _clusters(ctx: click.Context, begin: str) -> Iterable[str]:
    from cpflow.scheduler.profile_files import profile_files

    return (file.name for file in profile_files(_repository(ctx)))


def _in_registry(table: str) -> _Find:
    def find(ctx: click.Context, begin: str) -> Iterable[str]:
        root = _repository(ctx)
        return () if root is None else names_in_registry(root, table, begin)

    return find


def _repository(ctx: click.Context) -> Path | None:
    named: Any = ctx.params.get("repo")
    arguments = [one.name for one in ctx.command.params if isinstance(one, click.Argument)]
    if named is None and ctx.args and arguments[:1] == ["repo"]:
        # An option that still lacks its value keeps click from assigning arguments.
        named = ctx.args[0]
    return Path(os.path.expandvars(named)).expanduser() if named else None


_COLLECTIONS = _in_registry("collection")
_TYPES = _in_registry("dataset_type")

_NAMES: dict[str, tuple[_Find, str]] = {
    "repo": (_nothing, "dir"),
    "graph": (_graphs, "file"),
    "cluster": (_clusters, "file"),
    "instrument": (_in_registry("instrument"), ""),
    "physical_filter": (_in_registry("physical_filter"), ""),
    "product": (_TYPES, ""),
    "types": (_TYPES, ""),
    **dict.fromkeys(
        ("candidate", "children", "collection", "collections", "inputs", "new", "old", "output",
         "output_run", "parent", "patterns", "run", "tag"),
        (_COLLECTIONS, ""),
    ),
}  # fmt: skip
"""By the name of a parameter: what it may be, and what else."""

_WORDS = frozenset(
    ("amp", "assignments", "author", "begin", "category", "columns", "comment", "db", "detectors",
     "doc", "end", "identity", "kinds", "log_level", "memory", "name", "notify_command",
     "order_by", "per", "query", "reason", "reference", "shared", "test", "until", "waiver",
     "where")
)  # fmt: skip
"""Parameters that are neither a name nor a file."""
