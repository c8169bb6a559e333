"""What other detectors saw in the same exposures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cpflow.camera import Detector
from cpflow.errors import DataError
from cpflow.stack.frame import Failure
from cpflow.stack.tasks import Source, read_frame


@dataclass(frozen=True, slots=True)
class Beside:
    """Raw frames of another detector, and what was measured of them, by exposure id.

    An exposure that the detector does not have is not there; `failures` are those that cannot be
    used.
    """

    detector: Detector
    sources: Mapping[int, Source]
    measured: Mapping[int, Mapping[str, Any]]
    failures: Mapping[int, DataError] = field(default_factory=dict)

    def read(self, exposure: int, rows: range) -> tuple[Any, Detector] | None:
        """Return the raw rows that hold imaging `rows`, shape (amp, rows, columns); None if none.

        The detector that is returned has the overscan of the very file.

        Raises
        ------
        DataError
            If the frame is there and cannot be used.
        """
        if exposure in self.failures:
            raise self.failures[exposure]
        if exposure not in self.sources:
            return None
        frame, detector = read_frame(self.sources[exposure], self.detector, rows)
        return frame.image, detector


def beside_of(
    detector: Detector, sources: Sequence[Source], measured: Sequence[Mapping[str, Any]]
) -> Beside:
    """Put together what is known of the exposures of another detector."""
    failures = {
        source.exposure.exposure: value.error
        for source, values in zip(sources, measured, strict=True)
        for value in values.values()
        if isinstance(value, Failure)
    }
    usable = {
        source.exposure.exposure: (source, values)
        for source, values in zip(sources, measured, strict=True)
        if not any(isinstance(value, Failure) for value in values.values())
    }
    return Beside(
        detector,
        {id_: source for id_, (source, _) in usable.items()},
        {id_: values for id_, (_, values) in usable.items()},
        failures,
    )
