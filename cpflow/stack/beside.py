"""What other detectors saw in the same exposures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cpflow.camera import Detector
from cpflow.stack.frame import Failure
from cpflow.stack.tasks import Source, read_frame


@dataclass(frozen=True, slots=True)
class Beside:
    """Raw frames of another detector, and what was measured of them, by exposure id.

    An exposure that the detector does not have, or not whole, is not there.
    """

    detector: Detector
    sources: Mapping[int, Source]
    measured: Mapping[int, Mapping[str, Any]]

    def read(self, exposure: int, rows: range) -> tuple[Any, Detector] | None:
        """Return the raw rows that hold imaging `rows`, shape (amp, rows, columns); None if none.

        The detector that is returned has the overscan of the very file.
        """
        if exposure not in self.sources:
            return None
        frame, detector = read_frame(self.sources[exposure], self.detector, rows)
        return frame.image, detector


def beside_of(
    detector: Detector, sources: Sequence[Source], measured: Sequence[Mapping[str, Any]]
) -> Beside:
    """Put together what is known of the usable exposures of another detector."""
    usable = {
        source.exposure.exposure: (source, values)
        for source, values in zip(sources, measured, strict=True)
        if not any(isinstance(value, Failure) for value in values.values())
    }
    return Beside(
        detector,
        {id_: source for id_, (source, _) in usable.items()},
        {id_: values for id_, (_, values) in usable.items()},
    )
