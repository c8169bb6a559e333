"""Tables and JSON on standard output."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from cpflow.errors import UsageError
from cpflow.timespan import Timespan

if TYPE_CHECKING:
    from cpflow.scheduler.events import Event, Listener
    from cpflow.scheduler.tally import Tally

table_format = click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="How to print the list.",
)


def confirm(question: str, *, yes: bool) -> bool:
    """Ask, unless `yes` says that the answer is known.

    Raises
    ------
    UsageError
        If there is nobody to answer.
    """
    if yes:
        return True
    try:
        return click.confirm(question, err=True)
    except click.exceptions.Abort:
        raise UsageError("nobody answers", hint="--yes goes on without asking") from None


def integers(values: Iterable[str], option: str) -> list[int]:
    """Read integers that may be comma-separated, repeated, or ranges ``0..8``.

    Raises
    ------
    UsageError
        If a text is none of these.
    """
    found: list[int] = []
    for text in given_list(values, option):
        first, dots, last = text.partition("..")
        try:
            begin = int(first)
            end = int(last) if dots else begin
        except ValueError:
            raise UsageError(
                f"{option}: {text[:40]!r} is not a number", hint="as in 0,3 or 0..8"
            ) from None
        if not 0 <= end - begin <= 10_000:
            raise UsageError(f"{option}: {text[:40]!r} is not a range", hint="as in 0..8")
        found += range(begin, end + 1)
    return found


def comma_list(values: Iterable[str]) -> list[str]:
    """Split arguments that may be comma-separated, repeated, or both."""
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def given_list(values: Iterable[str], what: str) -> list[str]:
    """Split as `comma_list`, but refuse an empty text: it comes from an unset shell variable.

    Raises
    ------
    UsageError
        If a text is empty.
    """
    texts = list(values)
    if any(not text.strip(" ,") for text in texts):
        raise UsageError(
            f"{what} is empty (an unset variable?)", hint=f"say what it is, or leave {what} out"
        )
    return comma_list(texts)


@contextmanager
def shown_progress() -> Iterator[tuple[Listener, Tally]]:
    """Show what happens in runs, and at the end of each, however it ended, what it came to.

    All of it on standard error. Failures are only counted: the error that follows lists them.

    Yields
    ------
    tuple of callable and Tally
        To listen, and what the last run came to so far.
    """
    from cpflow.report.progress import progress_listener
    from cpflow.scheduler.events import fan_out
    from cpflow.scheduler.tally import Tally

    tally = Tally()

    def show_end(event: Event) -> None:
        if event.kind == "run_ended":
            for line in tally.summary().lines(failures=False):
                click.echo(line, err=True)

    with progress_listener() as listener:
        yield fan_out(listener, tally, show_end), tally


def figure_file(name: str | None, *also: str) -> None:
    """Refuse the name of a figure that nobody can draw, before anything is computed.

    Raises
    ------
    UsageError
        If its ending is none of PNG, SVG, PDF and `also`, or there is no place for it.
    """
    if name is None:
        return
    from pathlib import Path

    endings = (".png", ".svg", ".pdf", *also)
    path = Path(name)
    if path.suffix not in endings:
        raise UsageError(
            f"a figure cannot be written as {name}", hint=f"end in {' '.join(endings)}"
        )
    if not path.absolute().parent.is_dir():
        raise UsageError(f"there is no directory {path.parent} for {path.name}", hint="make it")


def show_json(value: Any) -> None:
    """Print one JSON object."""
    click.echo(json.dumps(value, default=str, indent=1))


def text_of(value: Any) -> str:
    """Return a value as a table cell."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Timespan):
        return str(value)
    return str(value)


def show_table(
    columns: Sequence[str], rows: Sequence[Mapping[str, Any]], form: str = "table"
) -> None:
    """Print rows as an aligned table, as CSV, or as JSON."""
    if form == "json":
        show_json([{name: _plain(row.get(name)) for name in columns} for row in rows])
        return
    cells = [[text_of(row.get(name)) for name in columns] for row in rows]
    if form == "csv":
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(cells)
        click.echo(buffer.getvalue(), nl=False)
        return
    widths = [
        max(len(name), *(len(row[i]) for row in cells)) if cells else len(name)
        for i, name in enumerate(columns)
    ]
    lines = [columns, ["-" * width for width in widths], *cells]
    for line in lines:
        click.echo("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip())


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | type(None)) else str(value)
