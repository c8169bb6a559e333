"""The unit of work: some readout rows of one exposure, all amplifiers of a detector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from cpflow.camera import Detector
from cpflow.errors import DataError
from cpflow.exposure import Exposure

Mask = npt.NDArray[np.uint16]


@dataclass(slots=True)
class Frame:
    """Pixels of one exposure on their way through an operation.

    Parameters
    ----------
    image : array, shape (amp, rows, columns)
        In the readout frame. Raw frames keep the dtype of the file and hold the whole raw width;
        trimmed ones are float32 and hold the imaging columns.
    rows : range
        The readout rows held: of the raw area before trimming, of the imaging box after it.
    mask : array of uint16 or None
        Bits of `cpflow.kernels.planes`; None means that no bit is set.
    variance : array of float32 or None
        None unless it was asked for.
    trimmed : bool
    units : str
    """

    image: npt.NDArray[Any]
    rows: range
    mask: Mask | None = None
    variance: npt.NDArray[np.float32] | None = None
    trimmed: bool = False
    units: str = "adu"

    def writable_mask(self) -> Mask:
        """Return the mask, allocated if need be."""
        if self.mask is None:
            self.mask = np.zeros(self.image.shape, np.uint16)
        return self.mask


@dataclass(frozen=True, slots=True)
class Planes:
    """The pixels of an image calibration that belong to a frame.

    Parameters
    ----------
    image : array of float32, shape (amp, rows, columns)
        Imaging pixels in the readout frame.
    rows : range
        The imaging rows held.
    variance : array of float32 or None
    mask : array of uint16 or None
    attrs : mapping
        Attributes of the calibration's image: its units.
    """

    image: npt.NDArray[np.float32]
    rows: range
    variance: npt.NDArray[np.float32] | None = None
    mask: Mask | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict)

    def part(self, rows: range) -> Planes:
        """Return some of the rows, as views."""
        inner = slice(rows.start - self.rows.start, rows.stop - self.rows.start)
        return Planes(
            self.image[:, inner],
            rows,
            None if self.variance is None else self.variance[:, inner],
            None if self.mask is None else self.mask[:, inner],
            self.attrs,
        )


@dataclass(frozen=True, slots=True)
class Context:
    """What an operation may know besides the frame.

    `measured` holds what the measure pass found for this exposure; `shared` what all exposures
    have in common: a defect list, or the `Planes` of a calibration. `want_variance` asks for a
    variance plane.
    """

    detector: Detector
    exposure: Exposure
    measured: Mapping[str, Any] = field(default_factory=dict)
    shared: Mapping[str, Any] = field(default_factory=dict)
    want_variance: bool = False


class Operation(Protocol):
    """A step on one frame. It must be picklable, and the same for any choice of rows.

    `halo` is how many rows beyond those wanted it needs to see on each side.
    """

    @property
    def halo(self) -> int:
        """Rows beyond those wanted, on each side."""
        ...

    def __call__(self, frame: Frame, context: Context) -> Frame:
        """Return the frame after this step; the one given may be changed."""
        ...


class Measurement(Protocol):
    """A look at one whole frame that yields something small and picklable.

    One that has a true attribute `wants_variance` gets frames with a variance plane.
    """

    def __call__(self, frame: Frame, context: Context) -> Any:
        """Return what was measured."""
        ...


@dataclass(frozen=True, slots=True)
class Failure:
    """An exposure that cannot be used, as a value: data errors are reported, never retried."""

    exposure: int
    error: DataError
