"""The root command: global options, lazily loaded subcommands, errors and exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from cpflow import __version__
from cpflow.errors import CpflowError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# Name: (module, one line of help). A module is imported only when its command is called, so that
# `cpflow --help` answers at once.
COMMANDS = {
    "init": ("cpflow.cli.init", "Make a repository, or add an instrument to one."),
    "instrument": ("cpflow.cli.instrument", "Describe a camera of your own, from its files."),
    "ingest": ("cpflow.cli.ingest", "Bring raw FITS exposures into a repository."),
    "records": ("cpflow.cli.records", "List exposures, detectors, filters or instruments."),
    "run": ("cpflow.cli.run", "Build products with a graph."),
    "submit": ("cpflow.cli.submit", "Build products with a graph, in a batch job."),
    "logs": ("cpflow.cli.logs", "Say what became of a run, and what failed."),
    "certify": ("cpflow.cli.certify", "Put products in force for a timespan."),
    "decertify": ("cpflow.cli.decertify", "Take a timespan away from what is certified."),
    "certified": ("cpflow.cli.certified", "List what is certified when, and the gaps."),
    "waive": ("cpflow.cli.waive", "Document a failed test of a product."),
    "waivers": ("cpflow.cli.waivers", "List the failed tests that are documented."),
    "unwaive": ("cpflow.cli.unwaive", "Take a waiver back."),
    "policy": ("cpflow.cli.policy", "Show or change what certification asks of a product."),
    "explain": ("cpflow.cli.explain", "Say which calibrations apply to an exposure, and why."),
    "curated": ("cpflow.cli.curated", "Certify curated defects and crosstalk from ECSV files."),
    "chain": ("cpflow.cli.chain", "Define or change a chain of collections."),
    "collections": ("cpflow.cli.collections", "List collections."),
    "datasets": ("cpflow.cli.datasets", "List products."),
    "lineage": ("cpflow.cli.lineage", "Say what was made from what, and what to rebuild."),
    "associate": ("cpflow.cli.associate", "Put products or raws into a TAGGED collection."),
    "remove-run": ("cpflow.cli.remove_run", "Remove runs with their products."),
    "remove-collection": ("cpflow.cli.remove_collection", "Remove chains and other groupings."),
    "compare": ("cpflow.cli.compare", "Compare a product with the one certified before."),
    "validity": ("cpflow.cli.validity", "Propose from when to when a product holds."),
    "verification": ("cpflow.cli.verification", "Say what a verification came to, and what fails."),
    "report": ("cpflow.cli.report", "Show a product or a verification as one HTML page."),
    "mosaic": ("cpflow.cli.mosaic", "Show a product of all detectors in the focal plane."),
    "export": ("cpflow.cli.export", "Write a product as FITS or ECSV."),
    "export-collections": (
        "cpflow.cli.export_collections",
        "Write collections for another repository.",
    ),
    "import-collections": ("cpflow.cli.import_collections", "Bring in exported collections."),
    "doctor": ("cpflow.cli.doctor", "Look whether all is well; clean up after crashes."),
    "graphs": ("cpflow.cli.graphs", "List the graphs that can be found."),
    "graph": ("cpflow.cli.graph", "Show, draw or copy a graph."),
    "simulate": ("cpflow.cli.simulate", "Write raw exposures of a camera whose truth is known."),
    "daily": ("cpflow.cli.daily", "Do what is done with a night; again, if it was done."),
    "demo": ("cpflow.cli.demo", "Simulate, ingest, build, report, certify and look up a bias."),
    "completion": ("cpflow.cli.completion", "Let a shell complete commands and names."),
}

# The names that butler and pipetask users know.
ALIASES = {
    "certify-calibrations": "certify",
    "collection-chain": "chain",
    "create": "init",
    "export-calibs": "export-collections",
    "import": "import-collections",
    "ingest-raws": "ingest",
    "query-collections": "collections",
    "query-datasets": "datasets",
    "query-dimension-records": "records",
    "remove-collections": "remove-collection",
    "remove-runs": "remove-run",
    "write-curated-calibrations": "curated",
}


class _ReaderGone(Exception):  # noqa: N818  not an error: `head` has seen enough
    """Nobody reads what is printed."""


@contextmanager
def _pipe_may_close() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise _ReaderGone from error


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def make_context(self, *arguments: Any, **extra: Any) -> click.Context:
        """Read the arguments, and print help; see `invoke`."""
        with _pipe_may_close():
            return super().make_context(*arguments, **extra)

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; a closed pipe is no failure, as click would have it."""
        with _pipe_may_close():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order in which they are used."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command, by its name or alias."""
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[name][0]).command
        if ctx.resilient_parsing:
            from cpflow.cli.completing.names import name_parameters

            name_parameters(command, name)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the names of commands without importing them; aliases where no other fits."""
        from click.shell_completion import CompletionItem

        found = [
            CompletionItem(name, help=text)
            for name, (_, text) in COMMANDS.items()
            if name.startswith(incomplete)
        ] or [
            CompletionItem(name, help=COMMANDS[command][1])
            for name, command in ALIASES.items()
            if name.startswith(incomplete)
        ]
        return found or super().shell_complete(ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; suggest the nearest name if there is none."""
        import difflib

        name = args[0]
        if name not in COMMANDS and name not in ALIASES:
            close = difflib.get_close_matches(name, [*COMMANDS, *ALIASES], n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise click.UsageError(f"There is no command {name!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cpflow")
@click.option("--long-log", is_flag=True, help="Log lines with time, module and process.")
@click.option("--log-level", default="INFO", show_default=True, help="DEBUG, INFO, WARNING, ERROR.")
@click.option("--log-file", type=click.Path(dir_okay=False), help="Write the log there too.")
@click.pass_context
def root(ctx: click.Context, long_log: bool, log_level: str, log_file: str | None) -> None:
    """Construct, verify and certify CCD calibrations."""
    from cpflow.cli.log_setup import configure

    configure(log_level, long=long_log, file=log_file)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; errors go to standard error in a few lines."""
    if "_CPFLOW_COMPLETE" in os.environ:
        from cpflow.cli.completing import answer

        return answer(root)
    try:
        result = root.main(
            args=None if arguments is None else list(arguments),
            prog_name="cpflow",
            standalone_mode=False,
        )
    except CpflowError as error:
        return _refuse(error)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        hint = _hint_for(error)
        if hint:
            click.echo(f"  hint: {hint}", err=True)
        return 2
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        return 130
    except _ReaderGone:
        _discard_output()
        return 0
    except OSError as error:
        from cpflow.cli.failures import refused_by_system

        if error.filename is None:
            _discard_output()
        return _refuse(refused_by_system(error))
    except UnicodeError as error:
        from cpflow.cli.failures import not_encodable

        return _refuse(not_encodable(error))
    return result if isinstance(result, int) else 0


def _refuse(error: CpflowError) -> int:
    click.echo(f"error: {error}", err=True)
    return error.exit_code


def _discard_output() -> None:
    # What is still to be flushed at exit would fail a second time, with a traceback.
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _hint_for(error: click.ClickException) -> str | None:
    """Say what probably went wrong with arguments that click does not take."""
    if error.message.startswith("Got unexpected extra argument"):
        return 'what has spaces takes quotes: -d "detector=0 AND exposure_time > 0"'
    return None
