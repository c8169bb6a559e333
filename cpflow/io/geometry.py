"""Detectors as JSON-able mappings, for a registry that keeps what a header said."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from cpflow.camera import Amplifier, Box, Detector, Source

_BOXES = ("imaging", "detector_box", "serial_overscan", "parallel_overscan", "serial_prescan")


def geometry_of(detector: Detector) -> dict[str, Any]:
    """Return a detector as a JSON-able mapping; a number that is NaN becomes None."""
    fields = asdict(detector)
    for key in ("shape", "centre_mm", "reference_pixel"):
        fields[key] = list(fields[key])
    fields["extra"] = dict(fields["extra"])
    amplifiers = []
    for amplifier in fields["amplifiers"]:
        amplifier["raw"] = list(amplifier["raw"])
        amplifiers.append(
            {
                key: None if isinstance(value, float) and math.isnan(value) else value
                for key, value in amplifier.items()
            }
        )
    fields["amplifiers"] = amplifiers
    return fields


def detector_from_geometry(geometry: Mapping[str, Any]) -> Detector:
    """Rebuild the detector that `geometry_of` described.

    Raises
    ------
    InstrumentError
        If its amplifiers do not tile it.
    """
    fields = dict(geometry)
    for key in ("shape", "centre_mm", "reference_pixel"):
        fields[key] = tuple(fields[key])
    return Detector(
        **{**fields, "amplifiers": tuple(_amplifier(entry) for entry in fields["amplifiers"])}
    )


def _amplifier(entry: Mapping[str, Any]) -> Amplifier:
    fields: dict[str, Any] = {
        key: math.nan if value is None else value for key, value in entry.items()
    }
    source = fields["source"]
    fields["source"] = Source(**{**source, "box": Box(**source["box"])})
    fields["raw"] = tuple(fields["raw"])
    return Amplifier(**{**fields, **{name: Box(**fields[name]) for name in _BOXES}})
