"""Find graph files and load them."""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from cpflow.errors import CpflowError, UsageError
from cpflow.graph.chain import ChainGraph, chain_steps
from cpflow.graph.config import GraphConfig
from cpflow.graph.select import Select
from cpflow.products import product_name, product_spec
from cpflow.share import share_directory

# The page's pipeline files, by the name of the graph that does their work here.
PAGE_NAMES = {
    "cpBias": "bias",
    "cpDark": "dark",
    "cpDefects": "defects_combined",
    "cpFlat": "flat",
    "cpFlatSingleChip": "flat",
    "cpFringe": "fringe",
    "cpSky": "sky",
    "cpSkySolve": "sky",
    "cpBfkSolve": "bfk",
    "findDefects": "defects",
    "measureLinearity": "linearity",
    "measurePhotonTransferCurve": "ptc",
    "verifyDefect": "verify/defects",
}


@dataclass(frozen=True, slots=True)
class Need:
    """A calibration that a graph uses; an optional one is used where it is found."""

    product: str
    optional: bool


@dataclass(frozen=True, slots=True)
class GraphFile:
    """Where a graph was found."""

    name: str
    path: Path
    origin: str


@dataclass(frozen=True, slots=True)
class Graph:
    """A loaded graph file: its topology, not its values."""

    name: str
    path: Path
    title: str
    inputs: Mapping[str, Select]
    needs: tuple[Need, ...]
    product: str
    config_class: type[GraphConfig]
    build: Callable[..., Any]
    source_hash: str
    together: bool = False
    """`build` takes all detectors at once, as mappings by detector id."""
    verifies: str | None = None
    """The product type of the candidate that it verifies."""


def graph_files(repo_root: Path | None = None) -> list[GraphFile]:
    """List every graph that can be found, in the order of the search; the first of a name wins."""
    found: list[GraphFile] = []
    for origin, directory in _directories(repo_root):
        if not directory.is_dir():
            continue
        for path in sorted(directory.rglob("*.py")):
            if path.name.startswith("_"):
                continue
            name = path.relative_to(directory).with_suffix("").as_posix()
            found.append(GraphFile(name, path, origin))
    return found


def load_single(name: str, repo_root: Path | None = None) -> Graph:
    """Find and load a graph that is not a chain.

    Raises
    ------
    UsageError
        If there is none, or it is a chain.
    """
    graph = load_graph(name, repo_root)
    if isinstance(graph, ChainGraph):
        raise UsageError(
            f"graph {name} is a chain of {', '.join(step.graph for step in graph.steps)}",
            hint="name one of those",
        )
    return graph


def verifying_graph(product: str, repo_root: Path | None = None) -> Graph:
    """Return the graph that verifies products of a type.

    Raises
    ------
    UsageError
        If there is none.
    """
    wanted = f"{product}_verification"
    for file in graph_files(repo_root):
        if file.name.startswith("verify/"):
            graph = load_single(file.name, repo_root)
            if graph.product == wanted:
                return graph
    raise UsageError(
        f"there is no graph that verifies a {product}", hint="`cpflow graphs` lists them"
    )


def find_graph(name: str, repo_root: Path | None = None) -> GraphFile:
    """Find a graph by name or path.

    Raises
    ------
    UsageError
        If there is none, with the names that there are.
    """
    path = Path(name)
    if path.suffix == ".py" and path.is_file():
        return GraphFile(path.stem, path.resolve(), "path")
    wanted = name.removesuffix(".py")
    stem = Path(name).stem
    if path.suffix == ".yaml":
        wanted = PAGE_NAMES.get(stem, stem)
        if stem.startswith("verify") and stem not in PAGE_NAMES:
            wanted = f"verify/{stem.removeprefix('verify').lower()}"
    files = graph_files(repo_root)
    for file in files:
        if file.name == wanted:
            return file
    names = sorted({file.name for file in files})
    close = difflib.get_close_matches(stem if path.suffix else name, names, n=3)
    meant = f"did you mean {' or '.join(close)}? " if close else ""
    raise UsageError(
        f"there is no graph {name!r}",
        hint=f"{meant}graphs are {', '.join(names)}; or give the path of a .py file",
    )


def load_graph(name: str, repo_root: Path | None = None) -> Graph | ChainGraph:
    """Find and load a graph, or a chain of graphs.

    Raises
    ------
    UsageError
        If there is none, or the file is not a graph.
    """
    file = find_graph(name, repo_root)
    source = file.path.read_bytes()
    module = _execute(file.path)
    title = (module.__doc__ or "").strip().partition("\n")[0]
    digest = hashlib.sha256(source).hexdigest()
    if hasattr(module, "CHAIN"):
        steps = chain_steps(module.CHAIN, file.path)
        return ChainGraph(file.name, file.path, title, steps, digest)
    try:
        inputs = dict(module.INPUTS)
        needs = tuple(
            Need(need.removesuffix("?"), need.endswith("?"))
            for need in getattr(module, "NEEDS", ())
        )
        product = product_spec(module.PRODUCT).name
        verifies = getattr(module, "VERIFIES", None)
        if verifies is not None:
            verifies = product_name(verifies)
        config_class = module.Config
        together = hasattr(module, "build_together")
        build = module.build_together if together else module.build
    except AttributeError as error:
        raise UsageError(
            f"{file.path} is not a graph: {error}",
            hint="a graph file has INPUTS, PRODUCT, class Config(GraphConfig), and build() or "
            "build_together(); or a CHAIN of other graphs",
        ) from error
    if not (isinstance(config_class, type) and issubclass(config_class, GraphConfig)):
        raise UsageError(f"{file.path}: Config must be a subclass of cpflow.GraphConfig")
    if not all(isinstance(select, Select) for select in inputs.values()):
        raise UsageError(f"{file.path}: the values of INPUTS must be cpflow.Select")
    return Graph(
        file.name,
        file.path,
        title,
        inputs,
        needs,
        product,
        config_class,
        build,
        digest,
        together,
        verifies,
    )


def _execute(path: Path) -> ModuleType:
    """Run a graph file. It must not stay in `sys.modules`: workers would look for it there."""
    name = f"_cpflow_graph_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except CpflowError:
        raise
    except Exception as error:
        raise UsageError(
            f"{path} cannot be loaded: {type(error).__name__}: {error}",
            hint="mend that file; `cpflow graph copy bias mine.py` writes one that works",
        ) from error
    finally:
        del sys.modules[name]
    return module


def _directories(repo_root: Path | None) -> list[tuple[str, Path]]:
    places = [
        ("$CPFLOW_PATH", Path(part) / "graphs")
        for part in os.environ.get("CPFLOW_PATH", "").split(os.pathsep)
        if part
    ]
    if repo_root is not None:
        places.append(("repository", repo_root / "graphs"))
    home = Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config"))
    places.append(("user", home / "cpflow" / "graphs"))
    places += _entry_points()
    places.append(("shipped", share_directory("graphs")))
    return places


def _entry_points() -> list[tuple[str, Path]]:
    from importlib.metadata import entry_points
    from importlib.resources import files

    places = []
    for point in entry_points(group="cpflow.graphs"):
        places.append((f"package {point.name}", Path(str(files(point.value)))))
    return places
