"""The Dask graph of a stack: measure, solve and reduce tasks, nothing computed."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cpflow.errors import NoDataError
from cpflow.stack.choice import Choice, each
from cpflow.stack.geometry import detector_spans
from cpflow.stack.graph import Tasks, readers, reference
from cpflow.stack.tasks import (
    Piece,
    Reduction,
    Solution,
    frame_planes,
    gather,
    measure_exposure,
    padded,
    planes_of,
    reduce_band,
)

if TYPE_CHECKING:
    import dask.array as da
    import xarray as xr

    from cpflow.stack.stack import Stack


_PLANES = ("image", "variance", "mask")


def node(label: str, value: Any, token: str) -> Any:
    """Return a value as one node of the graph.

    Thousands of tasks refer to it by its key. As an argument of each, Dask would walk through it
    every time and take it apart into tasks.
    """
    from dask.delayed import delayed

    return delayed(value, name=f"{label}-{token}", traverse=False)


def shared_values(
    tasks: Tasks,
    stack: Stack,
    shared: Mapping[str, Any],
    images: Mapping[str, Any],
    rows: range,
) -> dict[str, Any]:
    """Return what all exposures have in common for some imaging rows, as arguments of tasks."""
    spans = detector_spans(stack.detector, rows)

    def planes(name: str, dataset: xr.Dataset) -> Any:
        token = _planes_token(stack, dataset)
        # The same rows of a calibration are one task, whoever uses them.
        key = f"rows-{name}-{rows.start}-{rows.stop}-{token}"
        if key in tasks.nodes:
            return tasks.nodes[key].ref()
        pieces: list[Piece] = []
        blocks: list[Any] = []
        for variable in _PLANES:
            if variable in dataset.data_vars:
                array = dataset.variables[variable].data
                tasks.need(array)
                for y0, y1 in spans:
                    known = stack.memo.of("readers", array, readers)
                    piece, refs = _piece(variable, array, known, y0, y1)
                    pieces.append(piece)
                    blocks += refs
        return tasks.call(
            key,
            planes_of,
            tasks.constant("detector", stack.detector, token),
            rows,
            tuple(pieces),
            dict(dataset.variables["image"].attrs),
            blocks,
        )

    values: dict[str, Any] = dict(shared)
    for name, calibration in images.items():
        values[name] = each(calibration, partial(planes, name))
    for name, value in values.items():
        if isinstance(value, Choice):
            token = stack.memo.token(shared[name] if name in shared else images[name])[:16]
            key = f"choice-{name}-{rows.start}-{rows.stop}-{token}"
            values[name] = tasks.call(key, _choice, list(value.values), value.index)
    return values


def _planes_token(stack: Stack, dataset: xr.Dataset) -> str:
    from dask.base import tokenize

    def find(image: Any) -> str:
        return str(tokenize(image.name, stack.memo.text(stack.detector))[:16])

    return str(stack.memo.of("planes", dataset.variables["image"].data, find))


def _piece(
    variable: str, array: da.Array, known: Mapping[Any, Any], y0: int, y1: int
) -> tuple[Piece, list[Any]]:
    """Return the chunks that hold some rows of an image, whole, and which of their rows are meant.

    `known` tells what stands for each chunk. Sliced as an array each would cost a task; as an array
    Dask would optimise it by itself, and could fuse a promise (`cpflow.plan.promise`) into the task
    that reads it.
    """
    strips, blocks, start = [], [], 0
    across = len(array.chunks[1])
    for i, height in enumerate(array.chunks[0]):
        stop = start + height
        if start < y1 and y0 < stop:
            strips.append((max(y0, start) - start, min(y1, stop) - start, across))
            blocks += [known[array.name, i, j] for j in range(across)]
        start = stop
    return Piece(variable, y0, tuple(strips)), blocks


def _choice(values: list[Any], index: tuple[int, ...]) -> Choice:
    return Choice(tuple(values), tuple(index))


class Looks:
    """The tasks of all measurements and solutions of a stack, in their order.

    Their keys follow from what decides them, so that two stacks with the same looks share them
    whatever else they do.
    """

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.tasks = tasks = Tasks()
        first = stack.token_of(0)[:16]
        self.sources = tasks.constant("sources", stack.sources, first)
        self.detector = tasks.constant("detector", stack.detector, first)
        self.measured: list[dict[str, Any]] = [{} for _ in stack.sources]
        self.solved: dict[str, Any] = {}
        whole = range(stack.detector.imaging_shape[0])
        for number, look in enumerate(stack.looks):
            token = stack.token_of(number + 1)[:16]
            action = tasks.constant(look.name, look.action, token)
            if look.solves:
                self.solved[look.name] = tasks.call(
                    f"solve-{look.name}-{token}",
                    gather,
                    self.sources,
                    self._collected(number),
                    {**shared_values(tasks, stack, look.shared, {}, whole), **self.solved},
                    stack.drop_bad,
                    action,
                )
                continue
            operations = tasks.constant("operations", stack.operations[: look.stage], token)
            shared = {
                **shared_values(tasks, stack, look.shared, look.images, whole),
                **self.solved,
            }
            for i, source in enumerate(stack.sources):
                self.measured[i][look.name] = tasks.call(
                    f"measure-{look.name}-{source.exposure.exposure}-{token}",
                    measure_exposure,
                    self.sources,
                    i,
                    self.detector,
                    operations,
                    dict(self.measured[i]),
                    shared,
                    action,
                )
        ref = self._collected(len(stack.looks))
        # The layer is finished.
        self.collected = tasks.delayed(ref.key, f"looks-{stack.token_of(len(stack.looks))[:16]}")
        """All measurements as one node, so that bands depend on it and not on each."""

    def _collected(self, looks: int) -> Any:
        token = self.stack.token_of(looks)[:16]
        return self.tasks.call(f"measured-{token}", list, [dict(item) for item in self.measured])


def looks_of(stack: Stack) -> Looks:
    """Return the looks of a stack, found once for all stacks with the same ones."""
    token = stack.token_of(len(stack.looks))
    known: dict[str, Looks] = stack.memo.of("looks", stack.sources, lambda _: {})
    if token not in known:
        known[token] = Looks(stack)
    return known[token]


def measurements(stack: Stack) -> Any:
    """Return what is measured of each exposure, as one delayed list of mappings by name."""
    return looks_of(stack).collected


def reduce(
    stack: Stack, reduction: Reduction, outputs: Mapping[str, npt.DTypeLike], name: str
) -> xr.Dataset:
    """Return the tasks of `Stack.reduce`."""
    import dask.array as da
    import xarray as xr
    from dask.base import tokenize
    from dask.delayed import Delayed

    if not stack.sources:
        raise NoDataError("there are no exposures to reduce")
    token = tokenize(stack.token, reduction, stack.band_rows)[:16]
    looks = looks_of(stack)
    tasks = Tasks()
    operations = tasks.constant("operations", stack.operations, stack.token[:16])
    step = tasks.constant(name, reduction, token)
    tasks.need(looks.collected)
    bands = [f"{name}-band-{band}-{token}" for band in range(len(stack.bands))]
    for key, rows in zip(bands, stack.bands, strict=True):
        wide = padded(rows, stack.operations, stack.detector)
        tasks.call(
            key,
            reduce_band,
            looks.sources,
            looks.detector,
            rows,
            operations,
            looks.collected,
            {**shared_values(tasks, stack, stack.shared, stack.images, wide), **looks.solved},
            stack.drop_bad,
            step,
            tuple(outputs),
        )
    layer = f"{name}-bands-{token}"
    computed = Delayed(bands[0], tasks.graph(layer), layer=layer)
    amplifiers, columns = len(stack.detector.amplifiers), stack.detector.imaging_shape[1]
    chunks = ((amplifiers,), tuple(len(rows) for rows in stack.bands), (columns,))
    arrays = {}
    for number, (output, dtype) in enumerate(outputs.items()):
        taken = Tasks()
        taken.need(computed)
        array = f"{name}-{output}-{token}"
        for band, key in enumerate(bands):
            taken.call((array, 0, band, 0), operator.getitem, reference(key), number)
        arrays[output] = da.Array(taken.graph(array), array, chunks, dtype=np.dtype(dtype))
    return xr.Dataset(
        {output: (("amp", "y", "x"), array) for output, array in arrays.items()},
        coords={"amp": list(stack.detector.amplifier_names)},
    )


def gather_array(
    stack: Stack,
    extract: Solution,
    dims: tuple[str, ...],
    dtype: npt.DTypeLike,
    name: str,
    sizes: Mapping[str, int],
) -> xr.DataArray:
    """Return the task of `Stack.gather`."""
    import dask.array as da
    import xarray as xr

    rows, columns = stack.detector.imaging_shape
    known = {
        "exposure": len(stack.sources),
        "amp": len(stack.detector.amplifiers),
        "y": rows,
        "x": columns,
        **sizes,
    }
    shape = tuple(known[dim] for dim in dims)
    value = solved(stack, extract, name)
    return xr.DataArray(da.from_delayed(value, shape, dtype=np.dtype(dtype)), dims=dims)


def solved(stack: Stack, solution: Solution, name: str) -> Any:
    """Return the task of `Stack.solved`."""
    from dask.base import tokenize

    token = tokenize(stack.token, solution)[:16]
    looks = looks_of(stack)
    whole = range(stack.detector.imaging_shape[0])
    tasks = Tasks()
    key = f"gather-{name}-{token}"
    tasks.call(
        key,
        gather,
        looks.sources,
        looks.collected,
        {**shared_values(tasks, stack, stack.shared, {}, whole), **looks.solved},
        stack.drop_bad,
        tasks.constant(f"extract-{name}", solution, token),
    )
    return tasks.delayed(key, key)


def frames(stack: Stack) -> xr.Dataset:
    """Return the tasks of `Stack.frames`."""
    import dask.array as da
    import xarray as xr
    from dask.delayed import Delayed

    from cpflow.products import mask_attributes, squared

    rows, columns = stack.detector.imaging_shape if stack.operations else stack.detector.raw_shape
    shape = (len(stack.detector.amplifiers), rows, columns)
    token = stack.token[:16]
    looks = looks_of(stack)
    tasks = Tasks()
    tasks.need(looks.collected)
    whole = range(stack.detector.imaging_shape[0])
    shared = {**shared_values(tasks, stack, stack.shared, stack.images, whole), **looks.solved}
    operations = tasks.constant("operations", stack.operations, token)
    for i, source in enumerate(stack.sources):
        tasks.call(
            f"frame-{source.exposure.exposure}-{token}",
            frame_planes,
            looks.sources,
            i,
            looks.detector,
            operations,
            dict(looks.measured[i]),
            shared,
        )
    graph = tasks.graph(f"frames-{token}")
    planes: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
    for source in stack.sources:
        key = f"frame-{source.exposure.exposure}-{token}"
        parts = Delayed(key, graph, length=3, layer=f"frames-{token}")
        for plane, part, dtype in zip(
            planes, parts, (np.float32, np.float32, np.uint16), strict=True
        ):
            plane.append(da.from_delayed(part, shape, dtype=dtype))
    dims = ("exposure", "amp", "y", "x")
    image, variance, mask = (da.stack(plane) for plane in planes)
    return xr.Dataset(
        {
            "image": (dims, image, {"units": stack.units}),
            "variance": (dims, variance, {"units": squared(stack.units)}),
            "mask": (dims, mask, mask_attributes()),
        },
        coords={
            "exposure": [e.exposure for e in stack.exposures],
            "amp": list(stack.detector.amplifier_names),
        },
    )
