"""``cpflow graphs``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("graphs")
@click.option(
    "-b", "--repo", type=click.Path(file_okay=False), help="Look into this repository too."
)
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table")
def command(repo: str | None, form: str) -> None:
    """List the graphs that can be found; of several with one name the first is used."""
    from cpflow.cli.output import show_table
    from cpflow.graph import graph_files

    seen: set[str] = set()
    rows = []
    for file in graph_files(None if repo is None else Path(repo)):
        rows.append(
            {
                "graph": file.name,
                "used": "" if file.name in seen else "yes",
                "from": file.origin,
                "path": str(file.path),
            }
        )
        seen.add(file.name)
    show_table(["graph", "used", "from", "path"], rows, form)
