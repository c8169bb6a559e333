"""The Dask graph of a stack: measure, solve and reduce tasks, nothing computed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cpflow.errors import NoDataError
from cpflow.stack.choice import Choice, each
from cpflow.stack.geometry import detector_spans
from cpflow.stack.tasks import (
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
    import xarray as xr

    from cpflow.stack.stack import Stack


def node(label: str, value: Any, token: str) -> Any:
    """Return a value as one node of the graph.

    Thousands of tasks refer to it by its key. As an argument of each, Dask would walk through it
    every time and take it apart into tasks.
    """
    from dask.delayed import delayed

    return delayed(value, name=f"{label}-{token}", traverse=False)


def shared_values(
    stack: Stack,
    shared: Mapping[str, Any],
    images: Mapping[str, Any],
    rows: range,
) -> dict[str, Any]:
    """Return what all exposures have in common for some imaging rows."""
    from dask.delayed import delayed

    spans = detector_spans(stack.detector, rows)
    values: dict[str, Any] = {}
    for name, value in shared.items():
        values[name] = _delayed_choice(value) if isinstance(value, Choice) else value

    def planes(name: str, dataset: xr.Dataset) -> Any:
        from dask.base import tokenize

        # As unoptimised blocks: as an array Dask would optimise it by itself, and could fuse a
        # promise (cpflow.plan.promise) into the task that reads it.
        parts = {
            variable: [
                (y0, dataset[variable].data[y0:y1].to_delayed(optimize_graph=False).tolist())
                for y0, y1 in spans
            ]
            for variable in ("image", "variance", "mask")
            if variable in dataset
        }
        # The same rows of a calibration are one task, whoever uses them.
        key = tokenize(dataset["image"].data.name, stack.detector)[:16]
        return delayed(planes_of, pure=False)(
            node("detector", stack.detector, key),
            rows,
            parts,
            dict(dataset["image"].attrs),
            dask_key_name=f"rows-{name}-{rows.start}-{rows.stop}-{key}",
        )

    for name, calibration in images.items():
        value = each(calibration, partial(planes, name))
        values[name] = _delayed_choice(value) if isinstance(value, Choice) else value
    return values


def _delayed_choice(choice: Choice) -> Any:
    from dask.delayed import delayed

    return delayed(_choice, pure=True)(list(choice.values), choice.index)


def _choice(values: list[Any], index: tuple[int, ...]) -> Choice:
    return Choice(tuple(values), tuple(index))


class Looks:
    """The tasks of all measurements and solutions of a stack, in their order.

    Their keys follow from what decides them, so that two stacks with the same looks share them
    whatever else they do.
    """

    def __init__(self, stack: Stack) -> None:
        from dask.delayed import delayed

        self.stack = stack
        first = stack.token_of(0)[:16]
        self.sources = node("sources", stack.sources, first)
        self.detector = node("detector", stack.detector, first)
        self.measured: list[dict[str, Any]] = [{} for _ in stack.sources]
        self.solved: dict[str, Any] = {}
        whole = range(stack.detector.imaging_shape[0])
        for number, look in enumerate(stack.looks):
            token = stack.token_of(number + 1)[:16]
            action = node(look.name, look.action, token)
            if look.solves:
                self.solved[look.name] = delayed(gather, pure=False)(
                    self.sources,
                    self.collected(number),
                    {**shared_values(stack, look.shared, {}, whole), **self.solved},
                    stack.drop_bad,
                    action,
                    dask_key_name=f"solve-{look.name}-{token}",
                )
                continue
            operations = node("operations", stack.operations[: look.stage], token)
            shared = {**shared_values(stack, look.shared, look.images, whole), **self.solved}
            task = delayed(measure_exposure, pure=False)
            for i, source in enumerate(stack.sources):
                self.measured[i][look.name] = task(
                    self.sources,
                    i,
                    self.detector,
                    operations,
                    dict(self.measured[i]),
                    shared,
                    action,
                    dask_key_name=f"measure-{look.name}-{source.exposure.exposure}-{token}",
                )

    def collected(self, looks: int | None = None) -> Any:
        """Return all measurements as one node, so that bands depend on it and not on each."""
        from dask.delayed import delayed

        token = self.stack.token_of(len(self.stack.looks) if looks is None else looks)[:16]
        values = [dict(item) for item in self.measured]
        return delayed(list, pure=False)(values, dask_key_name=f"measured-{token}")


def measurements(stack: Stack) -> Any:
    """Return what is measured of each exposure, as one delayed list of mappings by name."""
    return Looks(stack).collected()


def reduce(
    stack: Stack, reduction: Reduction, outputs: Mapping[str, npt.DTypeLike], name: str
) -> xr.Dataset:
    """Return the tasks of `Stack.reduce`."""
    import dask.array as da
    import xarray as xr
    from dask.base import tokenize
    from dask.delayed import delayed

    if not stack.sources:
        raise NoDataError("there are no exposures to reduce")
    token = tokenize(stack.token, reduction, stack.band_rows)[:16]
    looks = Looks(stack)
    measured = looks.collected()
    operations = node("operations", stack.operations, stack.token[:16])
    step = node(name, reduction, token)
    task = delayed(reduce_band, pure=False, nout=len(outputs))
    amplifiers, columns = len(stack.detector.amplifiers), stack.detector.imaging_shape[1]
    blocks: dict[str, list[Any]] = {output: [] for output in outputs}
    for band, rows in enumerate(stack.bands):
        wide = padded(rows, stack.operations, stack.detector)
        shared = shared_values(stack, stack.shared, stack.images, wide)
        arrays = task(
            looks.sources,
            looks.detector,
            rows,
            operations,
            measured,
            {**shared, **looks.solved},
            stack.drop_bad,
            step,
            tuple(outputs),
            dask_key_name=f"{name}-band-{band}-{token}",
        )
        for array, (output, dtype) in zip(arrays, outputs.items(), strict=True):
            shape = (amplifiers, len(rows), columns)
            blocks[output].append(da.from_delayed(array, shape, dtype=np.dtype(dtype)))
    return xr.Dataset(
        {
            output: (("amp", "y", "x"), da.concatenate(parts, axis=1))
            for output, parts in blocks.items()
        },
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
    from dask.delayed import delayed

    token = tokenize(stack.token, solution)[:16]
    looks = Looks(stack)
    whole = range(stack.detector.imaging_shape[0])
    return delayed(gather, pure=False)(
        looks.sources,
        looks.collected(),
        {**shared_values(stack, stack.shared, {}, whole), **looks.solved},
        stack.drop_bad,
        node(f"extract-{name}", solution, token),
        dask_key_name=f"gather-{name}-{token}",
    )


def frames(stack: Stack) -> xr.Dataset:
    """Return the tasks of `Stack.frames`."""
    import dask.array as da
    import xarray as xr
    from dask.delayed import delayed

    from cpflow.products import mask_attributes, squared

    rows, columns = stack.detector.imaging_shape if stack.operations else stack.detector.raw_shape
    shape = (len(stack.detector.amplifiers), rows, columns)
    token = stack.token[:16]
    looks = Looks(stack)
    task = delayed(frame_planes, pure=False, nout=3)
    whole = range(stack.detector.imaging_shape[0])
    shared = {**shared_values(stack, stack.shared, stack.images, whole), **looks.solved}
    operations = node("operations", stack.operations, token)
    planes: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
    for i, source in enumerate(stack.sources):
        parts = task(
            looks.sources,
            i,
            looks.detector,
            operations,
            looks.measured[i],
            shared,
            dask_key_name=f"frame-{source.exposure.exposure}-{token}",
        )
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
