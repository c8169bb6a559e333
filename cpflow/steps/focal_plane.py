"""Levels of exposures solved over all detectors at once (spec 4.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cpflow.errors import DataError, RawError
from cpflow.kernels.focal_plane_flat import solve_focal_plane
from cpflow.kernels.planes import bits
from cpflow.kernels.statistics import clipped_statistics
from cpflow.stack import Context, Failure, Frame, Stack, solve_together

LEVEL = "level"
FOCAL_PLANE = "focal_plane_scale"
_STATISTICS_MASK = bits(("DETECTED", "BAD", "NO_DATA"))


@dataclass(frozen=True, slots=True)
class Level:
    """Clipped mean of one detector in one exposure, and how many pixels it was taken from."""

    mean: float
    pixels: int


@dataclass(frozen=True, slots=True)
class MeasureLevel:
    """Clipped mean of an exposure over the detector (spec 3.1: MEANCLIP, 3 sigma, 3 passes)."""

    def __call__(self, frame: Frame, context: Context) -> Level:
        """Return the level, in the units of the frame.

        Raises
        ------
        RawError
            If there is no light.
        """
        good = None if frame.mask is None else (frame.mask & np.uint16(_STATISTICS_MASK)) == 0
        found = clipped_statistics(frame.image, good)
        if found.n == 0:
            raise RawError(
                "no pixel is usable: all are saturated or masked, so there is no level to scale by",
                hint="leave it out of the query, or --drop-bad 1",
            )
        # Ten standard errors: below that the "light" may be nothing but what the bias left.
        if not found.mean > 10 * found.stdev / np.sqrt(max(found.used, 1)):
            raise RawError(
                f"its mean level is {found.mean:.4g} {frame.units}: there is no light to scale by",
                hint="leave it out of the query, or --drop-bad 1",
            )
        return Level(float(found.mean), int(found.n))


def scale_over_focal_plane(stacks: Mapping[int, Stack]) -> dict[int, Stack]:
    """Let all detectors tell the level of each exposure; lazy.

    The levels factor into responses of detectors, which stay in the flats with the mean 1 over the
    focal plane, and levels of exposures, which divide them. With one detector it is its own level.

    Parameters
    ----------
    stacks : mapping of int to Stack
        By detector: exposures of one filter, signature removed.

    Returns
    -------
    dict of int to Stack
        With the solution among what their operations share: a level for each exposure id.
    """
    from dask.delayed import delayed

    measured = {id_: stack.measure(LEVEL, MeasureLevel()) for id_, stack in stacks.items()}
    solution = solve_together(
        "focal-plane",
        solve_levels,
        [[[e.exposure for e in stack.exposures] for stack in measured.values()]],
        [
            delayed(_levels_of, pure=False)(
                stack.measurements(), dask_key_name=f"levels-{stack.token[:16]}"
            )
            for stack in measured.values()
        ],
    )
    return {id_: stack.share(FOCAL_PLANE, solution) for id_, stack in measured.items()}


def _levels_of(measured: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the levels alone: the overscan models of all detectors would be gigabytes."""
    return [{LEVEL: values[LEVEL]} for values in measured]


def solve_levels(
    exposures: Sequence[Sequence[int]], measured: Sequence[Sequence[Mapping[str, Any]]]
) -> dict[int, float]:
    """Return the level of each exposure id from those of all detectors.

    Raises
    ------
    DataError
        If the exposures cannot be compared with each other.
    """
    columns = {id_: i for i, id_ in enumerate(sorted({id_ for ids in exposures for id_ in ids}))}
    levels = np.full((len(exposures), len(columns)), np.nan)
    weights = np.zeros(levels.shape)
    for chip, (ids, values) in enumerate(zip(exposures, measured, strict=True)):
        for id_, value in zip(ids, values, strict=True):
            if any(isinstance(item, Failure) for item in value.values()):
                continue
            levels[chip, columns[id_]] = value[LEVEL].mean
            weights[chip, columns[id_]] = value[LEVEL].pixels
    if not weights.any():
        # Nothing to solve; each product names its own failures.
        return dict.fromkeys(columns, float("nan"))
    try:
        solved = solve_focal_plane(levels, weights)
    except ValueError as error:
        raise DataError(
            f"the flats cannot be scaled over the focal plane: {error}",
            hint="-c combine.scale=mean scales each detector by itself",
        ) from error
    return {id_: float(solved.exposures[i]) for id_, i in columns.items()}
