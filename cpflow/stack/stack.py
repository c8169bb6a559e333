"""Exposures of one detector as a lazy stack: read, process, measure and reduce in bands of rows.

The graph has three passes (design, section 5), all lazy:

measure
    one task per exposure looks at a whole frame and yields something small;
solve
    whatever is computed from those small values;
reduce
    one task per band of rows reads the same rows of *all* exposures, processes each and reduces
    them. No shuffle, no intermediate copy; memory is bounded by the band height.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cpflow.camera import Detector
from cpflow.errors import NoDataError, ProductError
from cpflow.exposure import Exposure, RawFile
from cpflow.stack.frame import Measurement, Operation
from cpflow.stack.geometry import detector_spans
from cpflow.stack.tasks import (
    Reduction,
    Solution,
    Source,
    frame_planes,
    gather,
    measure_exposure,
    padded,
    planes_of,
    reduce_band,
)

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True, slots=True)
class Measure:
    """A measurement of whole frames after the first `stage` operations."""

    name: str
    measurement: Measurement
    stage: int


@dataclass(frozen=True, slots=True)
class Solve:
    """Something that all measurements together tell; operations find it among what is shared."""

    name: str
    solution: Solution


@dataclass(frozen=True)
class Stack:
    """Exposures of one detector, with the operations that they go through.

    Nothing is read until a task runs. A stack is immutable: `then` and `measure` return a new one.

    Parameters
    ----------
    detector : Detector
    sources : tuple of Source
        One per exposure, in the order of their ids.
    band_rows : int
        Rows of the imaging box that one reduce task takes. It decides memory, never the result.
    drop_bad : int
        How many unusable exposures may be left out.
    """

    detector: Detector
    sources: tuple[Source, ...]
    band_rows: int
    drop_bad: int = 0
    operations: tuple[Operation, ...] = ()
    measures: tuple[Measure, ...] = ()
    shared: Mapping[str, Any] = field(default_factory=dict)
    images: Mapping[str, xr.Dataset] = field(default_factory=dict)
    solves: tuple[Solve, ...] = ()

    @property
    def exposures(self) -> tuple[Exposure, ...]:
        """The exposure records, ordered by id."""
        return tuple(source.exposure for source in self.sources)

    @property
    def bands(self) -> tuple[range, ...]:
        """The imaging rows of each reduce task."""
        rows = self.detector.imaging_shape[0]
        return tuple(
            range(first, min(rows, first + self.band_rows))
            for first in range(0, rows, self.band_rows)
        )

    @cached_property
    def token(self) -> str:
        """Hash of everything that decides the values: inputs, detector and operations."""
        from dask.base import tokenize

        return str(
            tokenize(
                [source.raw.checksum for source in self.sources],
                self.detector,
                self.operations,
                self.measures,
                self.drop_bad,
                dict(self.shared),
                dict(self.images),
                self.solves,
            )
        )

    def then(self, operation: Operation) -> Stack:
        """Return the stack with one more operation on every exposure."""
        return replace(self, operations=(*self.operations, operation))

    def measure(self, name: str, measurement: Measurement) -> Stack:
        """Return the stack with a measurement of every exposure as it is at this point."""
        measure = Measure(name, measurement, len(self.operations))
        return replace(self, measures=(*self.measures, measure))

    def share(self, name: str, value: Any) -> Stack:
        """Return the stack with a value that all operations may use; it may be delayed."""
        return replace(self, shared={**self.shared, name: value})

    def solve(self, name: str, solution: Solution) -> Stack:
        """Return the stack with a value that follows from the measurements of all exposures.

        Operations find it under this name in what is shared; measurements do not, as they come
        first.

        Parameters
        ----------
        name : str
        solution : callable
            Takes the measurements of all exposures (None for one that cannot be used), their
            records and what they share, and returns something small and picklable.
        """
        return replace(self, solves=(*self.solves, Solve(name, solution)))

    def apply(self, name: str, calibration: xr.Dataset) -> Stack:
        """Return the stack with an image calibration that operations may use.

        They find its `Planes` under this name: a task gets just the rows that it works on.

        Parameters
        ----------
        name : str
        calibration : xarray.Dataset
            `image` and, where there are, `variance` and `mask`, with dimensions (y, x) in the
            detector frame.

        Raises
        ------
        ProductError
            If it has another shape than the detector.
        """
        if calibration["image"].shape != self.detector.shape:
            raise ProductError(
                f"{name} has shape {calibration['image'].shape}, detector {self.detector.id} "
                f"has {self.detector.shape}"
            )
        lazy = calibration if calibration["image"].chunks else calibration.chunk()
        return replace(self, images={**self.images, name: lazy})

    # -- the lazy graph ---------------------------------------------------------------------

    def _node(self, label: str, value: Any) -> Any:
        """Return a value as one node of the graph.

        Thousands of tasks refer to it by its key. As an argument of each, Dask would walk through
        it every time and take it apart into tasks.
        """
        from dask.delayed import delayed

        return delayed(value, name=f"{label}-{self.token[:16]}", traverse=False)

    def _sources(self) -> Any:
        return self._node("sources", self.sources)

    def _detector(self) -> Any:
        return self._node("detector", self.detector)

    def _operations(self, stage: int | None = None) -> Any:
        operations = self.operations[:stage]
        return self._node(f"operations-{len(operations)}", operations)

    def _shared(self, rows: range) -> dict[str, Any]:
        """Return what all exposures have in common for some imaging rows."""
        from dask.delayed import delayed

        values = dict(self.shared)
        spans = detector_spans(self.detector, rows)
        for name, calibration in self.images.items():
            parts = {
                variable: [(y0, calibration[variable].data[y0:y1]) for y0, y1 in spans]
                for variable in ("image", "variance", "mask")
                if variable in calibration
            }
            values[name] = delayed(planes_of, pure=False)(
                self._detector(),
                rows,
                parts,
                dict(calibration["image"].attrs),
                dask_key_name=f"rows-{name}-{rows.start}-{rows.stop}-{self.token[:16]}",
            )
        return values

    def measurements(self) -> Any:
        """Return what is measured of each exposure, as one delayed list of mappings by name."""
        return self._collected(self._measured(self._sources()))

    def _collected(self, measured: list[dict[str, Any]]) -> Any:
        """Return all measurements as one node, so that bands depend on it and not on each."""
        from dask.delayed import delayed

        return delayed(list, pure=False)(measured, dask_key_name=f"measured-{self.token[:16]}")

    def _solved(self, sources: Any, measured: Any) -> dict[str, Any]:
        from dask.delayed import delayed

        return {
            solve.name: delayed(gather, pure=False)(
                sources,
                measured,
                dict(self.shared),
                self.drop_bad,
                self._node(f"solution-{solve.name}", solve.solution),
                dask_key_name=f"solve-{solve.name}-{self.token[:16]}",
            )
            for solve in self.solves
        }

    def _measured(self, sources: Any) -> list[dict[str, Any]]:
        from dask.delayed import delayed

        token = self.token[:16]
        shared = self._shared(range(self.detector.imaging_shape[0]))
        values: list[dict[str, Any]] = [{} for _ in self.sources]
        detector = self._detector()
        for measure in self.measures:
            task = delayed(measure_exposure, pure=False)
            operations = self._operations(measure.stage)
            measurement = self._node(f"measurement-{measure.name}", measure.measurement)
            for i, source in enumerate(self.sources):
                values[i][measure.name] = task(
                    sources,
                    i,
                    detector,
                    operations,
                    dict(values[i]),
                    shared,
                    measurement,
                    dask_key_name=f"measure-{measure.name}-{source.exposure.exposure}-{token}",
                )
        return values

    def reduce(
        self, reduction: Reduction, outputs: Mapping[str, npt.DTypeLike], *, name: str
    ) -> xr.Dataset:
        """Reduce all exposures to one image per output, band by band.

        Parameters
        ----------
        reduction : callable
            Takes a `BandStack` and returns an array of shape (amp, rows, columns) per output.
            It must be picklable and treat each pixel on its own.
        outputs : mapping of str to dtype
        name : str
            Shown in task names.

        Returns
        -------
        xarray.Dataset
            Lazy variables with dimensions (amp, y, x) in the readout frame, one chunk per band.
        """
        import dask.array as da
        import xarray as xr
        from dask.base import tokenize
        from dask.delayed import delayed

        if not self.sources:
            raise NoDataError("there are no exposures to reduce")
        token = tokenize(self.token, reduction, self.band_rows)[:16]
        sources = self._sources()
        measured = self._collected(self._measured(sources))
        solved = self._solved(sources, measured)
        detector, operations = self._detector(), self._operations()
        step = self._node(f"reduction-{name}", reduction)
        task = delayed(reduce_band, pure=False, nout=len(outputs))
        amplifiers, columns = len(self.detector.amplifiers), self.detector.imaging_shape[1]
        blocks: dict[str, list[Any]] = {output: [] for output in outputs}
        for band, rows in enumerate(self.bands):
            arrays = task(
                sources,
                detector,
                rows,
                operations,
                measured,
                {**self._shared(padded(rows, self.operations, self.detector)), **solved},
                self.drop_bad,
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
            coords={"amp": list(self.detector.amplifier_names)},
        )

    def gather(
        self,
        extract: Solution,
        dims: tuple[str, ...],
        dtype: npt.DTypeLike,
        *,
        name: str,
    ) -> xr.DataArray:
        """Return something small that was measured as a lazy array over exposures.

        `extract` takes the measurements of all exposures (None for a failed one), their records
        and what they share, and returns an array whose dimensions are `dims`: of
        "exposure", "amp", and "y" and "x" of the imaging boxes in the readout frame.
        """
        import dask.array as da
        import xarray as xr
        from dask.delayed import delayed

        rows, columns = self.detector.imaging_shape
        sizes = {
            "exposure": len(self.sources),
            "amp": len(self.detector.amplifiers),
            "y": rows,
            "x": columns,
        }
        sources = self._sources()
        value = delayed(gather, pure=False)(
            sources,
            self._collected(self._measured(sources)),
            dict(self.shared),
            self.drop_bad,
            self._node(f"extract-{name}", extract),
            dask_key_name=f"gather-{name}-{self.token[:16]}",
        )
        shape = tuple(sizes[dim] for dim in dims)
        return xr.DataArray(da.from_delayed(value, shape, dtype=np.dtype(dtype)), dims=dims)

    def frames(self) -> xr.Dataset:
        """Return the processed exposures to look at: lazy, one chunk per exposure.

        Returns
        -------
        xarray.Dataset
            `image`, `variance` and `mask` with dimensions (exposure, amp, y, x) in the readout
            frame. Without operations it is the raw area; variance is then NaN.
        """
        import dask.array as da
        import xarray as xr
        from dask.delayed import delayed

        from cpflow.products import mask_attributes

        rows, columns = self.detector.imaging_shape if self.operations else self.detector.raw_shape
        shape = (len(self.detector.amplifiers), rows, columns)
        sources = self._sources()
        measured = self._measured(sources)
        task = delayed(frame_planes, pure=False, nout=3)
        token = self.token[:16]
        shared = self._shared(range(self.detector.imaging_shape[0]))
        shared.update(self._solved(sources, self._collected(measured)))
        detector, operations = self._detector(), self._operations()
        planes: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
        for i, source in enumerate(self.sources):
            parts = task(
                sources,
                i,
                detector,
                operations,
                measured[i],
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
                "image": (dims, image, {"units": "adu"}),
                "variance": (dims, variance, {"units": "adu2"}),
                "mask": (dims, mask, mask_attributes()),
            },
            coords={
                "exposure": [e.exposure for e in self.exposures],
                "amp": list(self.detector.amplifier_names),
            },
        )

    def __repr__(self) -> str:
        rows, columns = self.detector.shape
        return (
            f"<Stack {len(self.sources)} exposures of detector {self.detector.id} "
            f"({rows} x {columns}, {len(self.detector.amplifiers)} amplifiers), "
            f"{len(self.operations)} operations, {len(self.bands)} bands>"
        )


def open_stack(
    detector: Detector,
    raws: Sequence[tuple[Exposure, RawFile]],
    *,
    root: str = "",
    band_rows: int | None = None,
    drop_bad: int = 0,
) -> Stack:
    """Return the lazy stack of raw frames of one detector.

    Parameters
    ----------
    detector : Detector
    raws : sequence of (Exposure, RawFile)
        In any order; the stack orders them by exposure id, so that the result does not depend
        on the order in which they were found.
    root : str
        Directory that relative paths refer to.
    band_rows : int, optional
        Rows per reduce task; by default the whole imaging height.
    drop_bad : int
        How many unusable exposures may be left out.
    """
    ordered = sorted(raws, key=lambda pair: pair[0].exposure)
    sources = tuple(Source(exposure, raw, str(Path(root) / raw.path)) for exposure, raw in ordered)
    return Stack(detector, sources, band_rows or detector.imaging_shape[0], max(0, drop_bad))
