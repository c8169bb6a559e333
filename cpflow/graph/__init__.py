"""Graph files: found, loaded, configured."""

from cpflow.graph.chain import ChainGraph, ChainStep
from cpflow.graph.config import GraphConfig, Layer, Resolved, load_layer, parse_assignments, resolve
from cpflow.graph.load import (
    Graph,
    GraphFile,
    Need,
    find_graph,
    graph_files,
    load_graph,
    load_single,
    verifying_graph,
)
from cpflow.graph.select import Select

__all__ = [
    "ChainGraph",
    "ChainStep",
    "Graph",
    "GraphConfig",
    "GraphFile",
    "Layer",
    "Need",
    "Resolved",
    "Select",
    "find_graph",
    "graph_files",
    "load_graph",
    "load_layer",
    "load_single",
    "parse_assignments",
    "resolve",
    "verifying_graph",
]
