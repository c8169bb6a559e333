"""What `run` and `submit` are told: which products, from what, with which values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from cpflow.plan import Plan
    from cpflow.session import Repo

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option("-b", "--repo", "--butler-config", "repo", required=True, help="Repository."),
    click.option("-p", "--graph", "--pipeline", "graph", required=True, help="Graph name or file."),
    click.option("-i", "--input", "inputs", multiple=True, help="Collections, in search order."),
    click.option("-o", "--output", help="Output chain; the new RUN goes to its front."),
    click.option("--output-run", help="Name of the RUN; without -o no chain is made."),
    click.option("-d", "--data-query", "query", default="", help="Data query."),
    click.option("-c", "--config", "assignments", multiple=True, metavar="STEP.OPTION=VALUE"),
    click.option("-C", "--config-file", "files", multiple=True, metavar="FILE.yaml"),
    click.option("-j", "--processes", type=click.IntRange(1), help="Tasks at once."),
    click.option(
        "--drop-bad",
        type=click.IntRange(0),
        default=0,
        help="Leave out up to so many unusable exposures.",
    ),
    click.option("--memory", default="128MiB", show_default=True, help="What one task may hold."),
    click.option("--band-rows", type=click.IntRange(1), help="Rows per task, instead of --memory."),
    click.option("--candidate", help="Collection with the product that a verification is of."),
    click.option(
        "--performance-report",
        type=click.Path(dir_okay=False),
        metavar="FILE.html",
        help="What Dask saw of the run; not with threads.",
    ),
    click.option(
        "-n", "--cores-per-task", type=int, hidden=True, help="Taken for pipetask's sake."
    ),
    click.option("--register-dataset-types", is_flag=True, hidden=True),
)


def run_options(command: Command) -> Command:
    """Give a command the options of a run."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def run_arguments(ctx: click.Context, *, without: tuple[str, ...] = ()) -> list[str]:
    """Return the arguments that tell `run` the same as the command of a context was told.

    Options that `run` does not have, or that are named in `without`, are left out.
    """
    from cpflow.cli.run import command as run

    known = {parameter.name for parameter in run.params} - set(without)
    arguments: list[str] = []
    for parameter in ctx.command.params:
        name = parameter.name or ""
        given = ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
        if name not in known or not given:
            continue
        value = ctx.params[name]
        option = next(one for one in parameter.opts if one.startswith("--"))
        if isinstance(value, bool):
            arguments += [option] if value else []
        else:
            values = value if isinstance(value, tuple) else (value,)
            arguments += [f"{option}={one}" for one in values]
    return arguments


def planned(repository: Repo, options: Mapping[str, Any]) -> Plan:
    """Return the plan that options of a run ask for."""
    from cpflow.cli.output import given_list
    from cpflow.graph.config import parse_assignments

    return repository.plan(
        options["graph"],
        options["query"],
        inputs=given_list(options["inputs"], "--input"),
        config=parse_assignments(options["assignments"]),
        config_files=options["files"],
        drop_bad=options["drop_bad"],
        task_memory=_bytes(options["memory"]),
        band_rows=options["band_rows"],
        candidate=options["candidate"],
    )


def _bytes(text: str) -> int:
    from dask.utils import parse_bytes

    from cpflow.errors import UsageError

    try:
        value = int(parse_bytes(text))
    except ValueError as error:
        raise UsageError(f"cannot read a size from {text!r}", hint="as in 256MiB") from error
    if value < 1:
        raise UsageError(f"{text!r} is no size", hint="as in 256MiB")
    return value
