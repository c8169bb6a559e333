"""Exposures of one detector as a lazy program: what is read, done, measured and solved.

The graph that `cpflow.stack.lazy` makes of it has three kinds of tasks (design, section 5):

measure
    one task per exposure looks at a whole frame and yields something small;
solve
    whatever is computed from those small values; later measurements may use it;
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

import numpy.typing as npt

from cpflow.camera import Detector
from cpflow.errors import ConfigurationError, ProductError
from cpflow.exposure import Exposure, RawFile
from cpflow.stack.choice import Choice, each
from cpflow.stack.frame import Measurement, Operation
from cpflow.stack.geometry import slabs
from cpflow.stack.memo import Memo, digest
from cpflow.stack.tasks import Reduction, Solution, Source

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True, slots=True)
class Look:
    """A measurement of every exposure, or a solution from what was measured before it.

    `action` is the measurement or the solution. A measurement sees frames after the first `stage`
    operations. `shared` and `images` are what it may use: what the stack had when it was added, so
    that a look is the same task whatever is added later.
    """

    name: str
    action: Any
    stage: int
    solves: bool
    shared: Mapping[str, Any]
    images: Mapping[str, Any]


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
    looks: tuple[Look, ...] = ()
    shared: Mapping[str, Any] = field(default_factory=dict)
    images: Mapping[str, Any] = field(default_factory=dict)
    beside: Mapping[int, Stack] = field(default_factory=dict)
    """Raw stacks of other detectors, with exposures of this one, by detector."""
    memo: Memo = field(default_factory=Memo, repr=False, compare=False)
    """Hashes found so far; of this stack and of those that are made from it."""

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

    @property
    def units(self) -> str:
        """Units of the pixels after all operations."""
        units = "adu"
        for operation in self.operations:
            units = getattr(operation, "units", units)
        return units

    @cached_property
    def token(self) -> str:
        """Hash of everything that decides the values: inputs, detector and operations."""
        return digest(
            [
                self.token_of(len(self.looks)),
                *map(self.memo.token, self.operations),
                *self._tokens_of(self.shared),
                *self._tokens_of(self.images),
            ]
        )

    def token_of(self, looks: int) -> str:
        """Return the hash of all that decides the first `looks` looks."""
        content = [
            self.memo.of("inputs", self.sources, self._inputs),
            self.memo.text(self.detector),
            str(self.drop_bad),
        ]
        for look in self.looks[:looks]:
            content += [look.name, self.memo.token(look.action)]
            content += map(self.memo.token, self.operations[: look.stage])
            content += [*self._tokens_of(look.shared), *self._tokens_of(look.images)]
        return digest(content)

    def _inputs(self, sources: Sequence[Source]) -> str:
        return digest(
            [text for s in sources for text in (self.memo.text(s.exposure), s.raw.checksum)]
        )

    def _tokens_of(self, values: Mapping[str, Any]) -> list[str]:
        return [
            text for name in sorted(values) for text in (f"{name}=", self.memo.token(values[name]))
        ]

    def measured(self, name: str) -> bool:
        """Whether something of this name is measured of every exposure."""
        return any(look.name == name and not look.solves for look in self.looks)

    def then(self, operation: Operation) -> Stack:
        """Return the stack with one more operation on every exposure."""
        return replace(self, operations=(*self.operations, operation))

    def measure(self, name: str, measurement: Measurement) -> Stack:
        """Return the stack with a measurement of every exposure as it is at this point."""
        return self._look(name, measurement, solves=False)

    def solve(self, name: str, solution: Solution) -> Stack:
        """Return the stack with a value that follows from the measurements of all exposures.

        Operations, and measurements that are added later, find it under this name in what is
        shared.

        Parameters
        ----------
        name : str
        solution : callable
            Takes the measurements of all exposures (None for one that cannot be used), their
            records and what they share, and returns something small and picklable.
        """
        return self._look(name, solution, solves=True)

    def _look(self, name: str, action: Any, *, solves: bool) -> Stack:
        stage = len(self.operations)
        look = Look(name, action, stage, solves, dict(self.shared), dict(self.images))
        return replace(self, looks=(*self.looks, look))

    def share(self, name: str, value: Any) -> Stack:
        """Return the stack with a value that all operations may use; it may be delayed.

        A `Choice` gives each exposure its own.
        """
        return replace(self, shared={**self.shared, name: value})

    def apply(self, name: str, calibration: xr.Dataset | Choice) -> Stack:
        """Return the stack with an image calibration that operations may use.

        They find its `Planes` under this name: a task gets just the rows that it works on.

        Parameters
        ----------
        name : str
        calibration : xarray.Dataset, or Choice of them
            `image` and, where there are, `variance` and `mask`, with dimensions (y, x) in the
            detector frame.

        Raises
        ------
        ProductError
            If it has another shape than the detector.
        ConfigurationError
            If the stack has one of this name.
        """
        if name in self.images:
            raise ConfigurationError(f"a {name} is applied to these exposures already")

        def lazy(dataset: xr.Dataset) -> xr.Dataset:
            if dataset["image"].shape != self.detector.shape:
                raise ProductError(
                    f"{name} has shape {dataset['image'].shape}, detector {self.detector.id} "
                    f"has {self.detector.shape}"
                )
            return dataset if dataset["image"].chunks else dataset.chunk()

        return replace(self, images={**self.images, name: each(calibration, lazy)})

    # -- the lazy graph ---------------------------------------------------------------------

    def measurements(self) -> Any:
        """Return what is measured of each exposure, as one delayed list of mappings by name."""
        from cpflow.stack.lazy import measurements

        return measurements(self)

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

        Raises
        ------
        NoDataError
            If there are no exposures.
        """
        from cpflow.stack.lazy import reduce

        return reduce(self, reduction, outputs, name)

    def gather(
        self,
        extract: Solution,
        dims: tuple[str, ...],
        dtype: npt.DTypeLike,
        *,
        name: str,
        sizes: Mapping[str, int] | None = None,
    ) -> xr.DataArray:
        """Return something small that was measured as a lazy array over exposures.

        `extract` takes the measurements of all exposures (None for a failed one), their records
        and what they share, and returns an array whose dimensions are `dims`: of
        "exposure", "amp", "y" and "x" of the imaging boxes in the readout frame, and those of
        `sizes`.
        """
        from cpflow.stack.lazy import gather_array

        return gather_array(self, extract, dims, dtype, name, sizes or {})

    def solved(self, solution: Solution, *, name: str) -> Any:
        """Return what follows from all measurements as a delayed value; see `solve`."""
        from cpflow.stack.lazy import solved

        return solved(self, solution, name)

    def frames(self) -> xr.Dataset:
        """Return the processed exposures to look at: lazy, one chunk per exposure.

        Returns
        -------
        xarray.Dataset
            `image`, `variance` and `mask` with dimensions (exposure, amp, y, x) in the readout
            frame. Without operations it is the raw area; variance is then NaN.
        """
        from cpflow.stack.lazy import frames

        return frames(self)

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
    memo: Memo | None = None,
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
    memo : Memo, optional
        Hashes that several stacks have in common: of exposures.
    """
    rows = detector.imaging_shape[0]
    # What goes along rows of the detector needs them whole, and amplifiers side by side that are
    # read from opposite ends have no band of whole rows but all of them.
    narrow = any(slab.shape[1] != detector.shape[1] for slab in slabs(detector, range(1)))
    ordered = sorted(raws, key=lambda pair: pair[0].exposure)
    sources = tuple(Source(exposure, raw, str(Path(root) / raw.path)) for exposure, raw in ordered)
    return Stack(
        detector,
        sources,
        rows if narrow else band_rows or rows,
        max(0, drop_bad),
        memo=Memo() if memo is None else memo,
    )
