"""What pixels tell of how a chip is read out: steps between outputs, strips that saw no light.

It is evidence for whoever answers the question, never an answer: a dark frame shows no overscan.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cpflow.errors import RawError
from cpflow.io.instrument_survey.hdus import Look

_BESIDE: Final = 24
"""Columns on each side of the middle that are compared."""
_SKIPPED: Final = 4
"""Columns next to the middle that are not: the first pixels of an output are often odd."""
_SIGNIFICANT: Final = 10.0
_EDGE: Final = 0.15
"""Part of the picture at each edge where a strip is looked for."""
_STRIP: Final = 3
"""Columns that a strip has at least."""

Image = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PixelEvidence:
    """What one picture shows."""

    step_x: float
    """Step of level at the middle column in adu; 0 if there is none."""
    step_y: float
    left: int
    """Columns at the left edge that are darker than the rest."""
    right: int
    lower: int
    upper: int

    @property
    def corners(self) -> tuple[str, ...]:
        """Corners that seem to have an output."""
        across = ("L", "R") if self.step_x else ("L",)
        along = ("L", "U") if self.step_y else ("L",)
        return tuple(a + b for a in along for b in across)

    @property
    def counts(self) -> dict[str, int]:
        """Columns and rows beside the imaging pixels of each output, where some are seen."""
        columns = _beside(self.left, self.right, bool(self.step_x))
        rows = _beside(self.lower, self.upper, bool(self.step_y))
        named = {
            "prescan_columns": columns[0],
            "overscan_columns": columns[1],
            "prescan_rows": rows[0],
            "overscan_rows": rows[1],
        }
        return {name: count for name, count in named.items() if count}

    def words(self) -> str:
        """Return it in words."""
        told = []
        steps = [
            f"by {step:.0f} adu at the middle {axis}"
            for step, axis in ((self.step_x, "column"), (self.step_y, "row"))
            if step
        ]
        if steps:
            told.append(f"the level jumps {' and '.join(steps)}")
        for name, columns, what in (
            ("left", self.left, "column"),
            ("right", self.right, "column"),
            ("lower edge", self.lower, "row"),
            ("upper edge", self.upper, "row"),
        ):
            if columns:
                told.append(f"{columns} {what}s at the {name} are darker")
        return "; ".join(told) or "no step at the middle, no strip at an edge"


def _beside(first: int, last: int, shared: bool) -> tuple[int, int]:
    """Return what is read before and after the imaging pixels, given the strips at both edges."""
    return (min(first, last), 0) if shared else (first, last)


def pixel_evidence(look: Look) -> PixelEvidence | None:
    """Look at the first image of a file; None if it is too small, or cannot be read."""
    image = _read(look)
    if image is None or min(image.shape) < 4 * _BESIDE:
        return None
    left, right = _strips(np.median(image, axis=0))
    lower, upper = _strips(np.median(image, axis=1))
    return PixelEvidence(_step(image), _step(image.T), left, right, lower, upper)


def _read(look: Look) -> Image | None:
    from astropy.io import fits

    try:
        with fits.open(look.path, memmap=False) as hdus:
            data: Any = hdus[look.images[0].index].data
            return np.asarray(data, dtype=np.float64)
    except (OSError, ValueError, TypeError, RawError):
        return None


def _step(image: Image) -> float:
    """Return the step at the middle column, seen in both halves of the rows; 0 if there is none."""
    middle, half = image.shape[1] // 2, image.shape[0] // 2
    steps = []
    for rows in (slice(0, half), slice(half, None)):
        before = np.median(image[rows, middle - _BESIDE : middle - _SKIPPED], axis=0)
        after = np.median(image[rows, middle + _SKIPPED : middle + _BESIDE], axis=0)
        step = float(np.median(after) - np.median(before))
        noise = max(float(np.std(before)), float(np.std(after)), 0.5)
        if abs(step) < _SIGNIFICANT * noise:
            return 0.0
        steps.append(abs(step))
    return max(steps)


def _strips(profile: Image) -> tuple[int, int]:
    return _strip(profile), _strip(profile[::-1])


def _strip(profile: Image) -> int:
    """Return how many elements at the beginning are darker than what follows."""
    length = max(int(_EDGE * len(profile)), _STRIP + 1)
    jumps = np.diff(profile)
    noise = max(1.4826 * float(np.median(np.abs(jumps - np.median(jumps)))), 0.5)
    edge = int(np.argmax(jumps[:length])) + 1
    if edge < _STRIP:
        return 0
    inside = profile[edge : edge + 2 * _BESIDE]
    contrast = float(np.median(inside) - np.median(profile[:edge]))
    return edge if contrast > _SIGNIFICANT * noise and jumps[edge - 1] > contrast / 2 else 0
