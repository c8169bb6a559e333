"""Tasks written straight into a Dask graph.

`dask.delayed` makes a layer of its own for each call and walks through every argument; a plan of a
focal plane has a hundred thousand tasks. Here all tasks of one kind go into one layer.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

# Dask's own form of a task since 2024.12. The older one, a tuple, would take a tuple of operations
# for a task.
from dask._task_spec import (
    Alias,
    DataNode,
    Dict,
    GraphNode,
    List,
    Task,
    TaskRef,
    Tuple,
    convert_legacy_graph,
)
from dask.base import is_dask_collection
from dask.delayed import Delayed, delayed
from dask.highlevelgraph import HighLevelGraph

# What the layer of a solution over several detectors is called, and its key.
TOGETHER = "together-"


class Tasks:
    """Tasks of one layer, while they are written."""

    def __init__(self) -> None:
        self.nodes: dict[Any, GraphNode] = {}
        self._needs: dict[str, Any] = {}

    def constant(self, label: str, value: Any, token: str) -> TaskRef:
        """Add a value that many tasks refer to by its key."""
        key = f"{label}-{token}"
        self.nodes[key] = DataNode(key, value)
        return TaskRef(key)

    def call(self, key: Any, function: Callable[..., Any], *arguments: Any) -> TaskRef:
        """Add a call.

        Parameters
        ----------
        key : str or tuple
        function : callable
            Importable by name: it runs on a worker.
        *arguments
            Plain values, references to tasks, delayed values, and lists, tuples and dicts of these.
        """
        self.nodes[key] = Task(key, function, *(self._referring(one) for one in arguments))
        return TaskRef(key)

    def need(self, collection: Any) -> None:
        """Take the tasks of a Dask collection as something that tasks of this layer refer to."""
        for layer in collection.__dask_layers__():
            self._needs[layer] = collection

    def _referring(self, value: Any) -> Any:
        """Return an argument in which all that is computed is a reference."""
        if isinstance(value, (TaskRef, GraphNode)):
            return value
        if isinstance(value, Delayed):
            self.need(value)
            return TaskRef(value.key)
        if is_dask_collection(value):
            return self._referring(delayed(value))
        if type(value) is dict:
            found = {name: self._referring(item) for name, item in value.items()}
            return Dict(found) if any(map(_is_node, found.values())) else found
        if type(value) in (list, tuple):
            items = [one if type(one) is TaskRef else self._referring(one) for one in value]
            if any(map(_is_node, items)):
                return (List if type(value) is list else Tuple)(*items)
            return type(value)(items)
        return value

    def graph(self, name: str) -> HighLevelGraph:
        """Return the graph with these tasks as the layer `name`, on top of what they refer to."""
        return HighLevelGraph.from_collections(
            name, self.nodes, dependencies=list(self._needs.values())
        )

    def delayed(self, key: str, layer: str) -> Delayed:
        """Return one of the tasks as a delayed value; the layer is finished then."""
        return Delayed(key, self.graph(layer), layer=layer)


def reference(key: Any) -> TaskRef:
    """Return what stands for the result of another task in the arguments of one."""
    return TaskRef(key)


def block(array: Any, key: tuple[Any, ...]) -> Any:
    """Return what stands for a block of a Dask array in the arguments of a task.

    Where the block is one of several results of a task, taking it needs no task of its own: on a
    cluster that would be a message for each, and a reason to move the block to another worker.
    """
    layer = array.dask.layers.get(array.name, {})
    node = layer.get(key)
    if isinstance(node, Task) and node.func is operator.getitem:
        return node
    return TaskRef(node.target if isinstance(node, Alias) else key)


def readers(array: Any) -> dict[tuple[Any, ...], Any]:
    """Return what stands for each block of a Dask array in the arguments of tasks that read it.

    Where a block is merely read, as from a file, each task reads it by itself: what several workers
    read from a file system is not sent from one of them to all others, and nothing has to be kept.
    """
    layers = array.dask.layers
    plain = {key for layer in layers.values() for key, node in layer.items() if _is_handle(node)}
    return {
        key: node if isinstance(node, Task) and node.dependencies <= plain else TaskRef(key)
        for key, node in layers[array.name].items()
    }


def _is_handle(node: Any) -> bool:
    """Whether a node is something small to read from: neither a task, nor values in memory."""
    value = node.value if isinstance(node, DataNode) else node
    return not isinstance(value, (GraphNode, tuple, list, dict, str, np.ndarray))


def nodes_of(layers: Mapping[str, Mapping[Any, Any]]) -> dict[Any, GraphNode]:
    """Return all tasks of some layers by key; those that are written in Dask's older form too."""
    nodes: dict[Any, Any] = {}
    for layer in layers.values():
        nodes.update(layer)
    if all(isinstance(node, GraphNode) for node in nodes.values()):
        return nodes
    return dict(convert_legacy_graph(nodes))


def needed(nodes: Mapping[Any, GraphNode], arguments: Iterable[Any]) -> dict[Any, GraphNode]:
    """Return the tasks that some arguments depend on; keys that are not there are left out."""
    found: dict[Any, GraphNode] = {}
    left: list[Any] = []
    for argument in arguments:
        if isinstance(argument, TaskRef):
            left.append(argument.key)
        elif isinstance(argument, GraphNode):
            left += argument.dependencies
    while left:
        key = left.pop()
        if key in nodes and key not in found:
            found[key] = nodes[key]
            left += nodes[key].dependencies
    return found


def own_layers(graph: HighLevelGraph) -> dict[str, Any]:
    """Return the layers of a graph without those that several products have in common."""
    # The layer of a block of an array, Delayed, has a tuple for a name.
    layers = graph.layers.items()
    return {name: layer for name, layer in layers if not str(name).startswith(TOGETHER)}


def together_layers(graph: HighLevelGraph) -> dict[str, Any]:
    """Return the solutions over several detectors: by key, all tasks that each depends on."""
    layers = graph.layers.items()
    return {name: layer for name, layer in layers if str(name).startswith(TOGETHER)}


def _is_node(value: Any) -> bool:
    return isinstance(value, (TaskRef, GraphNode))


def solve_together(
    name: str, function: Callable[..., Any], arguments: Sequence[Any], values: Sequence[Delayed]
) -> Delayed:
    """Return what follows from delayed values of several detectors, for all of them.

    Its tasks, and all that they depend on, are *one* layer. Each product that takes it has that
    layer once, as the same object, so that a plan of N detectors holds N times the tasks of one
    detector, not N x N. A run computes it once, value by value (`cpflow.scheduler.flow`).

    Parameters
    ----------
    name : str
        Shown in task names.
    function : callable
        Called with `arguments` and the list of values.
    arguments : sequence
        Plain values.
    values : sequence of Delayed
        Small ones; what each depends on is forgotten once it is there.
    """
    from dask.base import tokenize

    key = f"{TOGETHER}{name}-{tokenize([value.key for value in values], list(arguments))[:16]}"
    tasks = Tasks()
    references = [TaskRef(value.key) for value in values]
    layers = {name: one for value in values for name, one in value.dask.layers.items()}
    tasks.nodes.update(needed(nodes_of(layers), references))
    constants = [
        tasks.constant(f"argument-{i}", argument, key) for i, argument in enumerate(arguments)
    ]
    tasks.call(key, function, *constants, references)
    return tasks.delayed(key, key)
