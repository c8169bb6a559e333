"""Do instruments and graphs of one's own load? They are found by their directories."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from cpflow.errors import CpflowError
from cpflow.findings import Finding, sound, warning
from cpflow.share import share_directory

_PARTS = ("graphs", "instruments", "configs/instruments", "clusters")


def examine_own_files() -> Iterator[Finding]:
    """Look at the directories of ``$CPFLOW_PATH``, and load the instruments and graphs found.

    Those that are shipped are left out, and those that another one of the same name hides.
    Graph files are executed, as by a run.
    """
    yield from _directories()
    yield from _instruments()
    yield from _graphs()


def _directories() -> Iterator[Finding]:
    for part in os.environ.get("CPFLOW_PATH", "").split(os.pathsep):
        if not part:
            continue
        if not Path(part).is_dir():
            yield warning(
                "$CPFLOW_PATH", f"{part} is no directory", "correct it, or take it out of the path"
            )
        elif not any((Path(part) / name).is_dir() for name in _PARTS):
            yield warning(
                "$CPFLOW_PATH",
                f"{part} has nothing that is looked for",
                f"put files into {', '.join(f'{name}/' for name in _PARTS)} below it",
            )


def _instruments() -> Iterator[Finding]:
    from cpflow.io.instrument import instrument_files, load_instrument

    shipped = share_directory("configs") / "instruments"
    own = [path for path in instrument_files().values() if path.parent != shipped]
    failures = 0
    for path in own:
        try:
            load_instrument(path)
        except CpflowError as failure:
            failures += 1
            yield warning(
                f"instrument {path.stem}", failure.message, failure.hint or f"correct {path}"
            )
    if len(own) > failures:
        yield sound("instruments", f"{len(own) - failures} of your own load")


def _graphs() -> Iterator[Finding]:
    from cpflow.graph.load import GraphFile, graph_files, load_graph

    used: dict[str, GraphFile] = {}
    for file in graph_files():
        used.setdefault(file.name, file)
    own = {name: file for name, file in used.items() if file.origin != "shipped"}
    failures = 0
    for name, file in own.items():
        try:
            load_graph(str(file.path))
        except CpflowError as failure:
            failures += 1
            yield warning(f"graph {name}", failure.message, failure.hint or f"correct {file.path}")
    if len(own) > failures:
        yield sound("graphs", f"{len(own) - failures} of your own load")
