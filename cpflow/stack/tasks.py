"""What runs inside a task: reading, processing and reducing rows of exposures.

These functions are importable by name, hold no state, and give the same bits for any band height.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from cpflow.camera import Detector
from cpflow.errors import BuildError, DataError, RawError
from cpflow.exposure import Exposure, RawFile
from cpflow.io.raw import adjusted_detector, read_rows
from cpflow.stack.choice import chosen
from cpflow.stack.frame import Context, Failure, Frame, Measurement, Operation, Planes
from cpflow.stack.geometry import split_spans

_TRANSIENT = {errno.EIO, errno.ESTALE, errno.EAGAIN, errno.ETIMEDOUT}
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Source:
    """One raw frame: the exposure, its file, and where that file is on this machine."""

    exposure: Exposure
    raw: RawFile
    path: str


def read_frame(source: Source, detector: Detector, rows: range | None) -> tuple[Frame, Detector]:
    """Read the raw rows that hold the imaging `rows`, or the whole raw area if None.

    Returns the frame, and the detector with the overscan that this very file has.

    Raises
    ------
    RawError
        Naming file, exposure and detector.
    """
    actual = adjusted_detector(detector, source.raw.layout)
    if rows is None:
        raw_rows = range(actual.raw_shape[0])
    else:
        first = actual.amplifiers[0].imaging.y0
        raw_rows = range(first + rows.start, first + rows.stop)
    for attempt in range(_ATTEMPTS):
        try:
            image = read_rows(
                source.path, source.raw.layout, actual, slice(raw_rows.start, raw_rows.stop)
            )
            return Frame(image, raw_rows), actual
        except RawError as error:
            raise located(error, source) from error
        except OSError as error:
            if error.errno not in _TRANSIENT or attempt == _ATTEMPTS - 1:
                raise located(RawError(f"cannot be read: {error.strerror or error}"), source) from (
                    error
                )
            time.sleep(0.2 * 4**attempt)
    raise AssertionError("unreachable")


def located(error: RawError, source: Source) -> RawError:
    """Return the error with file, exposure and detector named."""
    return RawError(
        error.message,
        file=error.file or source.path,
        exposure=source.exposure.exposure,
        detector=source.raw.detector,
        hint=error.hint
        or "mend or re-ingest the file, or let the run go on without it: --drop-bad 1",
    )


def process(
    source: Source,
    detector: Detector,
    rows: range | None,
    operations: Sequence[Operation],
    measured: Mapping[str, Any],
    shared: Mapping[str, Any],
    want_variance: bool,
) -> tuple[Frame, Context]:
    """Read rows of one exposure and put them through the operations."""
    frame, actual = read_frame(source, detector, rows)
    context = Context(actual, source.exposure, measured, shared, want_variance)
    for operation in operations:
        frame = operation(frame, context)
    return frame, context


def halo_of(operations: Sequence[Operation]) -> int:
    """Return how many rows on each side operations need together, one after the other."""
    return sum(operation.halo for operation in operations)


def padded(rows: range, operations: Sequence[Operation], detector: Detector) -> range:
    """Return the imaging rows that operations must see to get `rows` right."""
    halo = halo_of(operations)
    return range(max(0, rows.start - halo), min(detector.imaging_shape[0], rows.stop + halo))


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows of the detector, as a calibration has them in blocks.

    The rows of the variable from `y0` up lie in `strips` of blocks: from which to which row of each
    strip, and how many blocks are side by side.
    """

    variable: str
    y0: int
    strips: tuple[tuple[int, int, int], ...]


def planes_of(
    detector: Detector,
    rows: range,
    pieces: Sequence[Piece],
    attrs: Mapping[str, Any],
    blocks: Sequence[npt.NDArray[Any]],
) -> Planes:
    """Turn detector rows of a calibration into the readout frame; `blocks` in the order of pieces.

    The list of blocks is flat, since Dask makes an object of each list of results.
    """
    parts: dict[str, list[tuple[int, npt.NDArray[Any]]]] = {}
    given = iter(blocks)
    for piece in pieces:
        found = [
            [block[first:last] for block in islice(given, count)]
            for first, last, count in piece.strips
        ]
        parts.setdefault(piece.variable, []).append((piece.y0, np.block(found)))
    split = {name: split_spans(detector, rows, several) for name, several in parts.items()}
    return Planes(split["image"], rows, split.get("variance"), split.get("mask"), attrs)


def measure_exposure(
    sources: Sequence[Source],
    index: int,
    detector: Detector,
    operations: Sequence[Operation],
    previous: Mapping[str, Any],
    shared: Mapping[str, Any],
    measurement: Measurement,
) -> Any:
    """Measure one whole exposure; an exposure that cannot be used becomes a `Failure`."""
    source = sources[index]
    for value in previous.values():
        if isinstance(value, Failure):
            return value
    try:
        wanted = bool(getattr(measurement, "wants_variance", False))
        own = chosen(shared, index)
        frame, context = process(source, detector, None, operations, previous, own, wanted)
        return measurement(frame, context)
    except RawError as error:
        return Failure(source.exposure.exposure, located(error, source))
    except DataError as error:
        return Failure(source.exposure.exposure, error)


@dataclass(frozen=True, slots=True)
class BandStack:
    """The same rows of all usable exposures, processed.

    Parameters
    ----------
    image : array of float32, shape (exposure, amp, rows, columns)
    mask : array of uint16 or None
        None where no exposure has any bit set.
    indices : tuple of int
        Which exposures of the stack these are.
    exposures : tuple of Exposure
    measured : sequence of mapping
        What was measured, for the same exposures.
    shared : mapping
        What all exposures have in common, or a `Choice` between them.
    rows : range
        The imaging rows.
    detector : Detector
    reload : callable
        ``reload(i)`` processes exposure `i` of this band again, with its variance.
    """

    image: npt.NDArray[np.float32]
    mask: npt.NDArray[np.uint16] | None
    indices: tuple[int, ...]
    exposures: tuple[Exposure, ...]
    measured: Sequence[Mapping[str, Any]]
    shared: Mapping[str, Any]
    rows: range
    detector: Detector
    reload: Callable[[int], Frame]

    def variance(self) -> npt.NDArray[np.float32]:
        """Return the variance planes of all exposures, computed now."""
        planes = np.empty_like(self.image)
        for i in range(len(planes)):
            plane = self.reload(i).variance
            if plane is None:
                raise ValueError("the operations of this stack make no variance plane")
            planes[i] = plane
        return planes


def usable(
    sources: Sequence[Source], measured: Sequence[Mapping[str, Any]], drop_bad: int
) -> tuple[int, ...]:
    """Return the exposures without a failure; refuse if more than `drop_bad` have one.

    Raises
    ------
    BuildError
        Listing every exposure that failed.
    """
    failed: dict[int, Failure] = {}
    for i, values in enumerate(measured):
        for value in values.values():
            if isinstance(value, Failure):
                failed[i] = value
    check_dropped(list(failed.values()), len(sources), drop_bad)
    return tuple(i for i in range(len(sources)) if i not in failed)


def check_dropped(failed: Sequence[Failure], exposures: int, drop_bad: int) -> None:
    """Refuse if more exposures failed than may be left out, or all of them.

    Raises
    ------
    BuildError
        Listing every exposure that failed.
    """
    if failed and (len(failed) > drop_bad or len(failed) == exposures):
        raise BuildError(
            f"{len(failed)} of {exposures} exposures cannot be used",
            causes=[failure.error for failure in failed],
            hint=f"mend them, or leave them out with --drop-bad {len(failed)}",
        )


Reduction = Callable[[BandStack], Mapping[str, npt.NDArray[Any]]]


def reduce_band(
    sources: Sequence[Source],
    detector: Detector,
    rows: range,
    operations: Sequence[Operation],
    measured: Sequence[Mapping[str, Any]],
    shared: Mapping[str, Any],
    drop_bad: int,
    reduction: Reduction,
    names: Sequence[str],
) -> tuple[npt.NDArray[Any], ...]:
    """Process imaging `rows` of every exposure and reduce them to one array per name.

    Exposures go through one by one, so that beside the stack itself only one frame is held.
    """
    indices = usable(sources, measured, drop_bad)
    wide = padded(rows, operations, detector)
    inner = slice(rows.start - wide.start, rows.stop - wide.start)

    def load(i: int, want_variance: bool) -> Frame:
        frame, _ = process(
            sources[indices[i]],
            detector,
            wide,
            operations,
            measured[indices[i]],
            chosen(shared, indices[i]),
            want_variance,
        )
        return replace(
            frame,
            image=frame.image[:, inner],
            mask=None if frame.mask is None else frame.mask[:, inner],
            variance=None if frame.variance is None else frame.variance[:, inner],
            rows=rows,
        )

    amplifiers, columns = len(detector.amplifiers), detector.imaging_shape[1]
    image = np.empty((len(indices), amplifiers, len(rows), columns), np.float32)
    mask: npt.NDArray[np.uint16] | None = None
    for i in range(len(indices)):
        frame = load(i, False)
        image[i] = frame.image
        if frame.mask is not None and frame.mask.any():
            if mask is None:
                mask = np.zeros(image.shape, np.uint16)
            mask[i] = frame.mask
    result = reduction(
        BandStack(
            image,
            mask,
            indices,
            tuple(sources[i].exposure for i in indices),
            [measured[i] for i in indices],
            shared,
            rows,
            detector,
            lambda i: load(i, True),
        )
    )
    return tuple(result[name] for name in names)


def frame_planes(
    sources: Sequence[Source],
    index: int,
    detector: Detector,
    operations: Sequence[Operation],
    measured: Mapping[str, Any],
    shared: Mapping[str, Any],
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Process one whole exposure and return its image, variance and mask."""
    for value in measured.values():
        if isinstance(value, Failure):
            raise value.error
    rows = range(detector.imaging_shape[0]) if operations else None
    frame, _ = process(
        sources[index],
        detector,
        rows,
        operations,
        measured,
        chosen(shared, index),
        bool(operations),
    )
    variance = frame.variance
    if variance is None:
        variance = np.full(frame.image.shape, np.nan, np.float32)
    return frame.image.astype(np.float32, copy=False), variance, frame.writable_mask()


Solution = Callable[
    [Sequence[Mapping[str, Any] | None], Sequence[Exposure], Mapping[str, Any]], Any
]


def gather(
    sources: Sequence[Source],
    measured: Sequence[Mapping[str, Any]],
    shared: Mapping[str, Any],
    drop_bad: int,
    extract: Solution,
) -> Any:
    """Turn the measurements of all exposures into something small; a failed one is None.

    Raises
    ------
    BuildError
        If more than `drop_bad` failed.
    """
    usable(sources, measured, drop_bad)
    values = [
        None if any(isinstance(v, Failure) for v in item.values()) else item for item in measured
    ]
    return extract(values, [source.exposure for source in sources], shared)
