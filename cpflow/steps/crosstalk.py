"""Crosstalk measured on exposures with bright stars (spec electro-optical 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cpflow.camera import Detector
from cpflow.errors import DataError
from cpflow.exposure import Exposure
from cpflow.kernels.crosstalk_measure import (
    CrosstalkRatios,
    DetectorImages,
    bright_pixels,
    ghost_mask,
    measure_ratios,
)
from cpflow.kernels.crosstalk_solve import solve_crosstalk
from cpflow.kernels.objects import fit_background
from cpflow.kernels.planes import BAD, NO_DATA, SAT, UNMASKEDNAN
from cpflow.stack import Column, Context, Frame, Stack, tabulate
from cpflow.stack.geometry import assemble_array, split_array
from cpflow.steps.options import CrosstalkMeasure

if TYPE_CHECKING:
    import xarray as xr

RATIOS = "crosstalk_ratios"
_NOT_SKY = BAD | SAT | NO_DATA | UNMASKEDNAN
_AMPS = ("source_amp", "target_amp")


def measure_crosstalk(exposures: Stack, options: CrosstalkMeasure) -> xr.Dataset:
    """Measure how much of each amplifier's signal appears in each other one; lazy.

    Parameters
    ----------
    exposures : Stack
        Signature removed, not corrected for crosstalk; bright stars all over the detector.
    options : CrosstalkMeasure

    Returns
    -------
    xarray.Dataset
        `coefficients` c and `quadratic` q, indexed [source, target] of the camera's amplifiers: a
        target reads c S + q S^2 of a source S at the same time of the readout.
    """
    stack = exposures.measure(RATIOS, MeasureRatios(options))
    units = stack.units
    ratio, per_count = {"units": f"{units}/{units}"}, {"units": f"1/{units}"}
    matrix = {
        "coefficients": (np.float64, ratio),
        "errors": (np.float64, ratio),
        "mean_errors": (np.float64, ratio),
        "valid": (np.bool_, {"units": "1"}),
        "counts": (np.int64, {"units": "1"}),
    }
    if options.order == 1:
        matrix["quadratic"] = (np.float64, per_count)
        matrix["quadratic_errors"] = (np.float64, per_count)
    columns = {name: Column(_AMPS, dtype, attrs) for name, (dtype, attrs) in matrix.items()}
    columns["n_ratios"] = Column(("exposure",), np.int64, {"units": "1"})
    columns["dropped"] = Column(("exposure",), np.bool_, {})
    names = list(stack.detector.amplifier_names)
    return tabulate(
        stack.solved(SolveCrosstalk(options), name="crosstalk"),
        columns,
        {"source_amp": len(names), "target_amp": len(names), "exposure": len(stack.sources)},
        {
            "source_amp": names,
            "target_amp": names,
            "exposure": [e.exposure for e in stack.exposures],
        },
    )


@dataclass(frozen=True, slots=True)
class MeasureRatios:
    """Ratios of targets to bright sources in one exposure, the sky subtracted from both."""

    options: CrosstalkMeasure

    def __call__(self, frame: Frame, context: Context) -> CrosstalkRatios:
        """Return the ratios of every pair of amplifiers."""
        options, detector = self.options, context.detector
        return measure_ratios(
            DetectorImages(frame.image, frame.mask, self._background(frame, detector)),
            threshold=options.threshold,
            margin=options.margin,
            star_level=options.star_level,
            most=options.most,
        )

    def _background(self, frame: Frame, detector: Detector) -> npt.NDArray[np.float32] | None:
        """Return the smooth sky without stars and ghosts, in the readout frame."""
        options = self.options
        if options.background_bin == 0:
            return None
        bright = bright_pixels(frame.image, None, options.threshold, excluded=0)
        sky = ~(bright | ghost_mask(bright, radius=options.grow))
        if frame.mask is not None:
            sky &= (frame.mask & np.uint16(_NOT_SKY)) == 0
        model = fit_background(
            assemble_array(detector, frame.image),
            assemble_array(detector, sky),
            bin_size=options.background_bin,
            model="SPLINE",
        )
        return split_array(detector, model, range(detector.imaging_shape[0]))


@dataclass(frozen=True, slots=True)
class SolveCrosstalk:
    """Combine the ratios of all exposures."""

    options: CrosstalkMeasure

    def __call__(
        self,
        values: Sequence[Mapping[str, Any] | None],
        exposures: Sequence[Exposure],
        shared: Mapping[str, Any],
    ) -> dict[str, npt.NDArray[Any]]:
        """Return the columns of the product.

        Raises
        ------
        DataError
            If no exposure has a bright source.
        """
        options = self.options
        ratios = [item[RATIOS] for item in values if item is not None]
        if not sum(len(one.ratios) for one in ratios):
            raise DataError(
                f"no pixel of {len(ratios)} exposures is as bright as {options.threshold:g}, so "
                "there is nothing to measure crosstalk with",
                hint="take exposures with bright stars, or a lower -c crosstalk.threshold",
            )
        found = solve_crosstalk(
            ratios,
            order=options.order,
            clip=options.clip,
            rounds=options.rounds,
            weighted=options.weighted,
            significance=options.significance,
            reject_negative=options.reject_negative,
            zero_invalid=options.zero_invalid,
        )
        counts = [0 if item is None else len(item[RATIOS].ratios) for item in values]
        return {
            "coefficients": found.coefficients,
            "errors": found.errors,
            "mean_errors": found.mean_errors,
            "valid": found.valid,
            "counts": found.counts,
            "quadratic": found.quadratic,
            "quadratic_errors": found.quadratic_errors,
            "n_ratios": np.array(counts, np.int64),
            "dropped": np.array([item is None for item in values]),
        }
