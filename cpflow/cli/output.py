"""Tables and JSON on standard output."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from cpflow.timespan import Timespan


def comma_list(values: Iterable[str]) -> list[str]:
    """Split arguments that may be comma-separated, repeated, or both."""
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


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
