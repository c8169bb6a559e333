"""What an instrument file describes, in words and tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from cpflow.camera import Amplifier, Box, Detector
from cpflow.io.instrument import Instrument
from cpflow.io.instrument_survey.hdus import counted
from cpflow.io.readout import adjusted_detector, read_frame

_NAMED: Final = 8
_NARROW: Final = 6
"""Columns of overscan that are too few for a level of each row."""
_TYPES_OF_GRAPHS: Final = ("bias", "dark", "flat", "science")


def detector_kinds(detectors: Sequence[Detector]) -> list[list[Detector]]:
    """Return detectors in groups that have the same amplifiers, gains and noise aside."""
    groups: dict[Any, list[Detector]] = {}
    for detector in detectors:
        shapes = tuple(
            (a.name, a.raw, a.source, a.imaging, a.detector_box, a.flip_x, a.flip_y)
            for a in detector
        )
        groups.setdefault((detector.type, detector.shape, shapes), []).append(detector)
    return list(groups.values())


def kind_words(detectors: Sequence[Detector]) -> list[str]:
    """Return what detectors of one kind are, in a few lines."""
    first = detectors[0]
    names = [f"{d.id} ({d.name})" for d in detectors[:_NAMED]]
    more = f" and {len(detectors) - _NAMED} more" if len(detectors) > _NAMED else ""
    one = "detector" if len(detectors) == 1 else "detectors"
    kind = f", type {first.type}" if first.type else ""
    rows, columns = first.shape
    height, width = first.imaging_shape
    lines = [
        f"{one} {', '.join(names)}{more}{kind}: {columns} x {rows} pixels, "
        f"{counted(len(first.amplifiers), 'output')} of {width} x {height}"
    ]
    raw_rows, raw_columns = first.raw_shape
    for boxes in dict.fromkeys(_boxes(a) for a in first):
        lines.append(
            f"  of {raw_columns} x {raw_rows} read out (x, y in the order of readout): {boxes}"
        )
    return lines


def _boxes(amplifier: Amplifier) -> str:
    named = (
        ("prescan", amplifier.serial_prescan),
        ("imaging", amplifier.imaging),
        ("overscan", amplifier.serial_overscan),
        ("parallel overscan", amplifier.parallel_overscan),
    )
    return "; ".join(f"{name} {box}" if not box.empty else f"no {name}" for name, box in named)


def output_rows(detectors: Sequence[Detector]) -> list[dict[str, Any]]:
    """Return a row for each output of detectors of one kind, the numbers those of the first."""
    return [
        {
            "output": a.name,
            "HDU": a.source.hdu,
            "stored": str(a.source.box),
            "read from": _corner(a),
            "on the detector": str(a.detector_box),
            "gain": a.gain,
            "read noise": None if math.isnan(a.read_noise) else a.read_noise,
            "saturation": None if math.isnan(a.saturation) else a.saturation,
        }
        for a in detectors[0]
    ]


def _corner(amplifier: Amplifier) -> str:
    upper, right = amplifier.source.flip_y, amplifier.source.flip_x
    return f"{'upper' if upper else 'lower'} {'right' if right else 'left'}"


def header_words(instrument: Instrument) -> list[str]:
    """Return what is read from the header of each file, for a camera that only headers describe."""
    keywords = instrument.header_geometry
    if keywords is None:
        return []
    named = {
        "imaging pixels": keywords.trim,
        "overscan": keywords.bias,
        "gain": keywords.gain,
        "read noise": keywords.read_noise,
        "saturation": keywords.saturation,
    }
    return [
        "geometry: in the header of each file, a detector for each image",
        *(f"  {what}: {_keywords(keys)}" for what, keys in named.items() if keys),
    ]


def _keywords(keys: Sequence[str | float]) -> str:
    return " or ".join(key if isinstance(key, str) else f"{key:g}" for key in keys)


def level_rows(detector: Detector, path: str, layout: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return levels of the overscan and of the imaging pixels of each output of one file.

    Raises
    ------
    RawError
        If its pixels cannot be read.
    """
    frame = read_frame(path, layout, detector)
    rows = []
    for amplifier, pixels in zip(adjusted_detector(detector, layout), frame, strict=True):
        light = _part(pixels, amplifier.imaging)
        row: dict[str, Any] = {
            "detector": detector.id,
            "output": amplifier.name,
            "imaging": float(np.median(light)),
        }
        for name, box in (
            ("overscan", amplifier.serial_overscan),
            ("parallel overscan", amplifier.parallel_overscan),
        ):
            if not box.empty:
                strip = _part(pixels, box)
                row[name] = float(np.median(strip))
                row[f"scatter of {name}"] = _scatter(strip)
        rows.append(row)
    return rows


def _part(pixels: Any, box: Box) -> Any:
    return pixels[box.rows, box.columns].astype(np.float64)


def _scatter(strip: Any) -> float:
    """Return the scatter about the level of each row, from the median of absolute deviations."""
    deviations = strip - np.median(strip, axis=1, keepdims=True)
    return round(1.4826 * float(np.median(np.abs(deviations))), 2)


def advice(instrument: Instrument, detectors: Sequence[Detector]) -> Iterator[str]:
    """Yield what is worth knowing of a camera before its files are used."""
    outputs = [amplifier for detector in detectors for amplifier in detector]
    if outputs and all(amplifier.gain == 1 for amplifier in outputs):
        yield "the gain is 1 everywhere: if it is not known, `cpflow run -p ptc` measures it"
    widths = {a.serial_overscan.width for a in outputs if not a.serial_overscan.empty}
    overlay = instrument.overlays.get("*", {})
    if widths and min(widths) < _NARROW and "isr.overscan.fit_type" not in overlay:
        yield (
            f"{counted(min(widths), 'column')} of overscan: too few for a level of each row. Add "
            'to the file:  overlays: {"*": {isr.overscan.fit_type: MEDIAN}}'
        )


def type_advice(types: Mapping[str, int]) -> Iterator[str]:
    """Yield what is worth knowing of the observation types of files."""
    others = {kind: count for kind, count in types.items() if kind not in _TYPES_OF_GRAPHS}
    if others:
        listed = ", ".join(f"{kind} ({counted(n, 'file')})" for kind, n in others.items())
        yield (
            f"no graph takes {listed}: observation_type in the instrument file may map a word to "
            f"{', '.join(_TYPES_OF_GRAPHS)}"
        )
