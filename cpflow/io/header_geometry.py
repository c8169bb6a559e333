"""A detector from the keywords of one image: BIASSEC, TRIMSEC, GAIN and their like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cpflow.camera import Amplifier, Box, Detector, Source
from cpflow.errors import InstrumentError, RawError
from cpflow.io.cards import Hdu, Value
from cpflow.io.fits_file import FitsFile
from cpflow.io.placement import Place, Placement
from cpflow.io.sections import parse_section
from cpflow.io.values import BadValueError, as_number, is_blank

if TYPE_CHECKING:
    from cpflow.io.schema import HeaderGeometryModel

_HINT = "mend the keyword, or write an instrument file that describes the camera"
_ANONYMOUS = ("", "COMPRESSED_IMAGE")


def detectors_from_headers(
    file: FitsFile, keywords: HeaderGeometryModel
) -> list[tuple[Detector, Placement]]:
    """Return a detector with one amplifier for each image of a file, and where its pixels are.

    An overscan at the left or below is read as if the amplifier read out from the right or from
    above, so that it follows the imaging pixels; the assembled image is as the file shows it.

    Raises
    ------
    RawError
        If the file has no image, or a keyword makes no sense.
    """
    images = [hdu for hdu in file.hdus if hdu.is_image]
    if not images:
        raise RawError("the file holds no image", file=file.path, hint="leave it out")
    found = []
    for index, hdu in enumerate(images):
        header = {**file.hdus[0].header, **hdu.header}
        try:
            detector = _Reader(header, file.path, keywords).detector(index, hdu)
        except InstrumentError as error:
            raise RawError(error.message, file=file.path, hint=_HINT) from error
        found.append((detector, Placement(hdu.image_shape, (Place(hdu.index, 0, 0),))))
    return found


class _Reader:
    """The header of one image."""

    def __init__(
        self, header: Mapping[str, Value], path: str, keywords: HeaderGeometryModel
    ) -> None:
        self.header = header
        self.path = path
        self.keywords = keywords

    def detector(self, index: int, hdu: Hdu) -> Detector:
        keywords = self.keywords
        rows, columns = hdu.image_shape
        whole = Box(0, 0, columns, rows)
        trim = self._section(keywords.trim, whole)
        bias = self._section(keywords.bias, whole)
        if trim is None:
            trim = whole if bias is None else _without(whole, bias)
        flip_x = bias is not None and bias.x1 <= trim.x0
        flip_y = bias is not None and not flip_x and bias.y1 <= trim.y0
        boxes: dict[str, Any] = {}
        if bias is not None:
            # Shorter sections only leave out edges: the same pixels of every row are overscan.
            if flip_x or bias.x0 >= trim.x1:
                boxes["serial_overscan"] = Box(bias.x0, trim.y0, bias.width, trim.height)
            elif flip_y or bias.y0 >= trim.y1:
                boxes["parallel_overscan"] = Box(trim.x0, bias.y0, trim.width, bias.height)
            else:
                raise self._error("the overscan section overlaps the trimmed section")
        boxes = {key: _turned(box, whole, flip_x, flip_y) for key, box in boxes.items()}
        numbers: dict[str, Any] = {}
        for key in ("gain", "read_noise", "saturation"):
            number = self._number(getattr(keywords, key))
            if number is not None:
                numbers[key] = number
        name = f"ccd{index}" if hdu.name in _ANONYMOUS else hdu.name
        amplifier = Amplifier(
            name="A",
            raw=(rows, columns),
            source=Source(index, whole, flip_x, flip_y),
            imaging=_turned(trim, whole, flip_x, flip_y),
            detector_box=Box(0, 0, trim.width, trim.height),
            flip_x=flip_x,
            flip_y=flip_y,
            **boxes,
            **numbers,
        )
        return Detector(index, name, (trim.height, trim.width), (amplifier,))

    def _section(self, keys: Sequence[str], whole: Box) -> Box | None:
        for key in keys:
            value = self.header.get(key)
            if is_blank(value):
                continue
            try:
                box = parse_section(str(value))
            except ValueError as error:
                raise self._error(f"{key}: {error}") from error
            if not whole.contains(box):
                raise self._error(f"{key} {value} is not inside the image ({whole})")
            return box
        return None

    def _number(self, keys: Sequence[str | float]) -> float | None:
        for key in keys:
            if not isinstance(key, str):
                return key
            value = self.header.get(key)
            if is_blank(value):
                continue
            try:
                number = float(as_number(value))
            except BadValueError as error:
                raise self._error(f"{key}: {error}") from error
            if number > 0:
                return number
            if key in self.keywords.gain:
                raise self._error(f"{key} is {value}, it must be positive")
            # A noise or saturation of zero only says that nobody filled it in.
        return None

    def _error(self, message: str) -> RawError:
        return RawError(message, file=self.path, hint=_HINT)


def _without(whole: Box, bias: Box) -> Box:
    """Return the largest part of an image beside an overscan strip."""
    parts = [
        Box(0, 0, bias.x0, whole.height),
        Box(bias.x1, 0, whole.width - bias.x1, whole.height),
        Box(0, 0, whole.width, bias.y0),
        Box(0, bias.y1, whole.width, whole.height - bias.y1),
    ]
    return max(parts, key=lambda box: box.width * box.height)


def _turned(box: Box, whole: Box, flip_x: bool, flip_y: bool) -> Box:
    x0 = whole.width - box.x1 if flip_x else box.x0
    y0 = whole.height - box.y1 if flip_y else box.y0
    return Box(x0, y0, box.width, box.height)
