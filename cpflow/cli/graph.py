"""``cpflow graph show|draw|copy``."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from cpflow.errors import UsageError


@click.group("graph")
def command() -> None:
    """Show, draw or copy a graph."""


@command.command("show")
@click.argument("name")
@click.option("--config", "only_config", is_flag=True, help="Only the values that can be set.")
def show(name: str, only_config: bool) -> None:
    """Print a graph's source, its inputs, and every value that can be set, with its default."""
    from cpflow.graph import ChainGraph, load_graph
    from cpflow.graph.config import flatten

    graph = load_graph(name)
    if not only_config:
        click.echo(f"# {graph.path}\n{graph.path.read_text()}")
        click.echo("# values, to be set with -c key=value")
    if isinstance(graph, ChainGraph):
        for step in graph.steps:
            click.echo(f"{step.name}.*: the values of graph {step.graph}")
        return
    for key, value in flatten(graph.config_class().model_dump(mode="json")).items():
        click.echo(f"{key} = {value}")


@command.command("draw")
@click.argument("name")
@click.option("-b", "--repo", required=True, help="Repository.")
@click.option("-d", "--data-query", "query", default="", help="Data query.")
@click.option("-o", "--output", type=click.Path(dir_okay=False), required=True, help="PNG or SVG.")
def draw(name: str, repo: str, query: str, output: str) -> None:
    """Draw the passes of a graph for the exposures that a query selects."""
    from cpflow.cli.output import figure_file
    from cpflow.report.draw import draw_plan
    from cpflow.session import Repo

    figure_file(output)
    with Repo(repo) as repository:
        draw_plan(repository.plan(name, query), Path(output))
    click.echo(output)


@command.command("copy")
@click.argument("name")
@click.argument("target", type=click.Path())
def copy(name: str, target: str) -> None:
    """Copy a graph file to change it; TARGET is a file or a directory."""
    from cpflow.graph import find_graph

    source = find_graph(name).path
    path = Path(target)
    if path.is_dir():
        path = path / source.name
    if path.exists():
        raise UsageError(f"{path} exists", hint="name another file")
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, path)
    click.echo(f"{path}: run it with -p {path}")
