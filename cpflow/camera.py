"""Cameras as data: frozen descriptions of detectors and amplifiers.

Two pixel frames are used everywhere.

*Readout frame* of an amplifier: the pixels of its raw area, both axes counted from the pixel that
is read out first. Serial overscan follows the imaging columns at larger x, parallel overscan
follows the imaging rows at larger y, whatever corner of the detector the amplifier reads from.

*Detector frame*: the trimmed, assembled image of all amplifiers. Arrays are ``[y, x]``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from cpflow.errors import InstrumentError


@dataclass(frozen=True, slots=True)
class Box:
    """A box of pixels, zero-based; `x0`, `y0` belong to it, `x1`, `y1` do not."""

    x0: int
    y0: int
    width: int
    height: int

    @property
    def x1(self) -> int:
        """First column beyond the box."""
        return self.x0 + self.width

    @property
    def y1(self) -> int:
        """First row beyond the box."""
        return self.y0 + self.height

    @property
    def rows(self) -> slice:
        """Its rows as a slice."""
        return slice(self.y0, self.y1)

    @property
    def columns(self) -> slice:
        """Its columns as a slice."""
        return slice(self.x0, self.x1)

    @property
    def empty(self) -> bool:
        """Whether it holds no pixel."""
        return self.width <= 0 or self.height <= 0

    def contains(self, other: Box) -> bool:
        """Whether every pixel of `other` lies in this box."""
        return (
            self.x0 <= other.x0
            and self.y0 <= other.y0
            and other.x1 <= self.x1
            and other.y1 <= self.y1
        )

    def __str__(self) -> str:
        return f"x {self.x0}..{self.x1 - 1}, y {self.y0}..{self.y1 - 1}"


@dataclass(frozen=True, slots=True)
class Source:
    """Where an amplifier's raw area lies in a file.

    `hdu` counts from 0. `box` is in the pixels of that HDU's image. `flip_x`, `flip_y` turn the
    stored pixels into the readout frame.
    """

    hdu: int
    box: Box
    flip_x: bool = False
    flip_y: bool = False


@dataclass(frozen=True, slots=True)
class Amplifier:
    """One output of a detector.

    `raw` is (rows, columns) of its raw area. The boxes `imaging`, `serial_overscan`,
    `parallel_overscan` and `serial_prescan` are in the readout frame; one that the camera lacks is
    empty. `detector_box` is the place of the imaging box in the detector frame; `flip_x`, `flip_y`
    turn the readout frame into the detector frame.
    """

    name: str
    raw: tuple[int, int]
    source: Source
    imaging: Box
    detector_box: Box
    serial_overscan: Box = Box(0, 0, 0, 0)
    parallel_overscan: Box = Box(0, 0, 0, 0)
    serial_prescan: Box = Box(0, 0, 0, 0)
    flip_x: bool = False
    flip_y: bool = False
    gain: float = 1.0
    """electron/adu"""
    read_noise: float = math.nan
    """electron"""
    saturation: float = math.nan
    """adu, bias level included; NaN: no level"""
    suspect: float = math.nan
    """adu, bias level included; NaN: no level"""
    linearity_type: str = "none"

    @property
    def readout_corner(self) -> str:
        """Corner of the amplifier in the detector frame that is read out first: LL, LR, UL, UR."""
        return ("U" if self.flip_y else "L") + ("R" if self.flip_x else "L")


@dataclass(frozen=True, slots=True)
class Detector:
    """One CCD: `shape` is (rows, columns) of the trimmed, assembled image."""

    id: int
    name: str
    shape: tuple[int, int]
    amplifiers: tuple[Amplifier, ...]
    serial: str = ""
    type: str = ""
    pixel_size_mm: float = 0.0
    centre_mm: tuple[float, float] = (0.0, 0.0)
    """Focal-plane position (x, y) of `reference_pixel`."""
    reference_pixel: tuple[float, float] = (0.0, 0.0)
    extra: Mapping[str, str | int | float | bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_detector(self)

    @property
    def imaging_shape(self) -> tuple[int, int]:
        """(rows, columns) of each amplifier's imaging box."""
        box = self.amplifiers[0].imaging
        return box.height, box.width

    @property
    def raw_shape(self) -> tuple[int, int]:
        """(rows, columns) of each amplifier's raw area."""
        return self.amplifiers[0].raw

    @property
    def amplifier_names(self) -> tuple[str, ...]:
        """Names in the order of the amplifiers."""
        return tuple(amplifier.name for amplifier in self.amplifiers)

    def __iter__(self) -> Iterator[Amplifier]:
        return iter(self.amplifiers)


@dataclass(frozen=True, slots=True)
class Camera:
    """The detectors of one instrument."""

    instrument: str
    detectors: tuple[Detector, ...]

    def detector(self, number: int) -> Detector:
        """Return the detector with this id.

        Raises
        ------
        InstrumentError
            If the camera has no such detector.
        """
        for detector in self.detectors:
            if detector.id == number:
                return detector
        known = ", ".join(str(d.id) for d in self.detectors[:20])
        raise InstrumentError(
            f"{self.instrument} has no detector {number}",
            hint=f"its detectors are {known or 'none'}",
        )

    def __iter__(self) -> Iterator[Detector]:
        return iter(self.detectors)


def check_detector(detector: Detector) -> None:
    """Refuse a detector whose amplifiers do not tile it.

    Raises
    ------
    InstrumentError
        If amplifiers are missing, differ in shape, overlap, or leave the detector partly uncovered.
    """
    name = f"detector {detector.id} ({detector.name})"
    if not detector.amplifiers:
        raise InstrumentError(f"{name} has no amplifiers")
    names = [amplifier.name for amplifier in detector.amplifiers]
    if len(set(names)) != len(names):
        raise InstrumentError(f"{name}: two amplifiers have the same name")
    rows, columns = detector.shape
    whole = Box(0, 0, columns, rows)
    area = 0
    for amplifier in detector.amplifiers:
        label = f"{name}, amplifier {amplifier.name}"
        if amplifier.raw != detector.raw_shape or (
            (amplifier.imaging.height, amplifier.imaging.width) != detector.imaging_shape
        ):
            raise InstrumentError(f"{label}: raw and imaging areas must have one size per detector")
        raw_rows, raw_columns = amplifier.raw
        raw = Box(0, 0, raw_columns, raw_rows)
        for what in ("imaging", "serial_overscan", "parallel_overscan", "serial_prescan"):
            box: Box = getattr(amplifier, what)
            if not box.empty and not raw.contains(box):
                raise InstrumentError(f"{label}: {what} ({box}) leaves its raw area ({raw})")
        if amplifier.imaging.empty:
            raise InstrumentError(f"{label}: the imaging box is empty")
        place = amplifier.detector_box
        if (place.width, place.height) != (amplifier.imaging.width, amplifier.imaging.height):
            raise InstrumentError(
                f"{label}: its place ({place}) has another size than its imaging box"
            )
        if not whole.contains(place):
            raise InstrumentError(f"{label}: its place ({place}) leaves the detector ({whole})")
        area += place.width * place.height
        if not amplifier.gain > 0:
            raise InstrumentError(f"{label}: the gain must be positive, not {amplifier.gain}")
    boxes = [amplifier.detector_box for amplifier in detector.amplifiers]
    for i, a in enumerate(boxes):
        for b in boxes[i + 1 :]:
            if a.x0 < b.x1 and b.x0 < a.x1 and a.y0 < b.y1 and b.y0 < a.y1:
                raise InstrumentError(f"{name}: two amplifiers overlap at ({a}) and ({b})")
    if area != rows * columns:
        raise InstrumentError(f"{name}: its amplifiers cover {area} of {rows * columns} pixels")
