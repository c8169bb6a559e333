"""Crosstalk measured on exposures with bright stars (spec electro-optical 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from cpflow.camera import Detector
from cpflow.errors import DataError
from cpflow.exposure import Exposure
from cpflow.kernels.crosstalk_measure import (
    BrightSources,
    CrosstalkRatios,
    DetectorImages,
    bright_pixels,
    bright_sources,
    ghost_mask,
    measure_ratios,
    ratios_to,
)
from cpflow.kernels.crosstalk_solve import CrosstalkSolution, solve_crosstalk
from cpflow.kernels.objects import fit_background
from cpflow.kernels.planes import BAD, NO_DATA, SAT, UNMASKEDNAN
from cpflow.stack import Column, Context, Failure, Frame, Stack, solve_together, tabulate
from cpflow.stack.geometry import assemble_array, split_array
from cpflow.steps.options import CrosstalkMeasure

if TYPE_CHECKING:
    import xarray as xr

RATIOS = "crosstalk_ratios"
SOURCES = "crosstalk_sources"
OTHERS = "crosstalk_sources_of_others"
_NOT_SKY = BAD | SAT | NO_DATA | UNMASKEDNAN
_AMPS = ("source_amp", "target_amp")
_BETWEEN = ("source_detector", "other_amp", "target_amp")


@overload
def measure_crosstalk(exposures: Stack, options: CrosstalkMeasure) -> xr.Dataset: ...
@overload
def measure_crosstalk(
    exposures: Mapping[int, Stack], options: CrosstalkMeasure
) -> dict[int, xr.Dataset]: ...
def measure_crosstalk(
    exposures: Stack | Mapping[int, Stack], options: CrosstalkMeasure
) -> xr.Dataset | dict[int, xr.Dataset]:
    """Measure how much of each amplifier's signal appears in each other one; lazy.

    Parameters
    ----------
    exposures : Stack, or mapping of int to Stack
        Of one detector, or of several by detector: signature removed, not corrected for crosstalk;
        bright stars all over the detector.
    options : CrosstalkMeasure

    Returns
    -------
    xarray.Dataset, or dict of int to xarray.Dataset
        `coefficients` c and `quadratic` q, indexed [source, target] of the camera's amplifiers: a
        target reads c S + q S^2 of a source S at the same time of the readout. `between` has the c
        of sources in other detectors.
    """
    if isinstance(exposures, Stack):
        return _measured(exposures, options, ())
    if not options.between_detectors:
        return {number: _measured(stack, options, ()) for number, stack in exposures.items()}
    return _measured_together(exposures, options)


def _measured_together(
    stacks: Mapping[int, Stack], options: CrosstalkMeasure
) -> dict[int, xr.Dataset]:
    """Let each detector find its sources, and measure their ghosts in each other one."""
    from dask.delayed import delayed

    found = {
        number: stack.measure(SOURCES, FindSources(options)) for number, stack in stacks.items()
    }
    sources = solve_together(
        "crosstalk-sources",
        by_detector,
        [list(stacks)],
        [
            delayed(sources_by_exposure, pure=True)(
                [e.exposure for e in stack.exposures], stack.measurements()
            )
            for stack in found.values()
        ],
    )
    products = {}
    for number, stack in stacks.items():
        others = tuple(
            other
            for other, its in stacks.items()
            if other != number and _size(its.detector) == _size(stack.detector)
        )
        shared = delayed(of_detectors, pure=True)(sources, others)
        products[number] = _measured(stack.share(OTHERS, shared), options, others)
    return products


def by_detector(
    numbers: Sequence[int], sources: Sequence[dict[int, BrightSources]]
) -> dict[int, dict[int, BrightSources]]:
    """Return the sources of all detectors."""
    return dict(zip(numbers, sources, strict=True))


def of_detectors(
    sources: Mapping[int, dict[int, BrightSources]], numbers: Sequence[int]
) -> dict[int, dict[int, BrightSources]]:
    """Return the sources of some detectors."""
    return {number: sources[number] for number in numbers}


def _size(detector: Detector) -> tuple[int, int, int]:
    return (len(detector.amplifiers), *detector.imaging_shape)


def sources_by_exposure(
    ids: Sequence[int], measured: Sequence[Mapping[str, Any]]
) -> dict[int, BrightSources]:
    """Return the sources of one detector by exposure id, of the exposures that can be used."""
    return {
        id_: values[SOURCES]
        for id_, values in zip(ids, measured, strict=True)
        if not any(isinstance(value, Failure) for value in values.values())
    }


def _measured(stack: Stack, options: CrosstalkMeasure, others: tuple[int, ...]) -> xr.Dataset:
    stack = stack.measure(RATIOS, MeasureRatios(options))
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
    sizes = {"source_amp": len(names), "target_amp": len(names), "exposure": len(stack.sources)}
    coords: dict[str, Any] = {
        "source_amp": names,
        "target_amp": names,
        "exposure": [e.exposure for e in stack.exposures],
    }
    if others:
        columns["between"] = Column(_BETWEEN, np.float64, ratio)
        columns["between_errors"] = Column(_BETWEEN, np.float64, ratio)
        columns["between_valid"] = Column(_BETWEEN, np.bool_, {"units": "1"})
        sizes |= {"source_detector": len(others), "other_amp": len(names)}
        coords["source_detector"] = list(others)
    value = stack.solved(SolveCrosstalk(options, others), name="crosstalk")
    return tabulate(value, columns, sizes, coords)


@dataclass(frozen=True, slots=True)
class Ratios:
    """Ratios of one exposure: within the detector, and to sources of others by detector."""

    own: CrosstalkRatios
    others: Mapping[int, CrosstalkRatios]


@dataclass(frozen=True, slots=True)
class FindSources:
    """Find the bright sources of one exposure, for the other detectors."""

    options: CrosstalkMeasure

    def __call__(self, frame: Frame, context: Context) -> BrightSources:
        """Return them, with the sky subtracted."""
        options = self.options
        return bright_sources(
            images_of(frame, context.detector, options),
            threshold=options.threshold,
            margin=options.margin,
            star_level=options.star_level,
            most=4 * options.most,
        )


@dataclass(frozen=True, slots=True)
class MeasureRatios:
    """Ratios of targets to bright sources in one exposure, the sky subtracted from both."""

    options: CrosstalkMeasure

    def __call__(self, frame: Frame, context: Context) -> Ratios:
        """Return the ratios of every pair of amplifiers."""
        options = self.options
        images = images_of(frame, context.detector, options)
        own = measure_ratios(
            images,
            threshold=options.threshold,
            margin=options.margin,
            star_level=options.star_level,
            most=options.most,
        )
        others = {}
        for number, by_exposure in context.shared.get(OTHERS, {}).items():
            sources = by_exposure.get(context.exposure.exposure)
            if sources is not None:
                others[number] = ratios_to(
                    sources,
                    images,
                    own=False,
                    threshold=options.threshold,
                    margin=options.margin,
                    star_level=options.star_level,
                    most=options.most,
                )
        return Ratios(own, others)


def images_of(frame: Frame, detector: Detector, options: CrosstalkMeasure) -> DetectorImages:
    """Return a frame with its smooth sky without stars and ghosts, in the readout frame."""
    if options.background_bin == 0:
        return DetectorImages(frame.image, frame.mask)
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
    rows = range(detector.imaging_shape[0])
    return DetectorImages(frame.image, frame.mask, split_array(detector, model, rows))


@dataclass(frozen=True, slots=True)
class SolveCrosstalk:
    """Combine the ratios of all exposures."""

    options: CrosstalkMeasure
    others: tuple[int, ...] = ()

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
        measured: list[Ratios] = [item[RATIOS] for item in values if item is not None]
        ratios = [one.own for one in measured]
        total = sum(
            len(one.ratios) for each in measured for one in (each.own, *each.others.values())
        )
        if not total:
            raise DataError(
                f"no pixel of {len(ratios)} exposures is as bright as {options.threshold:g}, so "
                "there is nothing to measure crosstalk with",
                hint="take exposures with bright stars, or a lower -c crosstalk.threshold",
            )
        found = self._solve(ratios)
        shape = found.coefficients.shape
        between = []
        for number in self.others:
            theirs = [one.others[number] for one in measured if number in one.others]
            between.append(self._solve(theirs) if theirs else _unknown(shape))
        counts = [0 if item is None else len(item[RATIOS].own.ratios) for item in values]
        return {
            "coefficients": found.coefficients,
            "errors": found.errors,
            "mean_errors": found.mean_errors,
            "valid": found.valid,
            "counts": found.counts,
            "quadratic": found.quadratic,
            "quadratic_errors": found.quadratic_errors,
            "between": np.array([one.coefficients for one in between]),
            "between_errors": np.array([one.mean_errors for one in between]),
            "between_valid": np.array([one.valid for one in between]),
            "n_ratios": np.array(counts, np.int64),
            "dropped": np.array([item is None for item in values]),
        }

    def _solve(self, ratios: Sequence[CrosstalkRatios]) -> CrosstalkSolution:
        options = self.options
        solution = solve_crosstalk(
            ratios,
            order=options.order,
            clip=options.clip,
            rounds=options.rounds,
            weighted=options.weighted,
            significance=options.significance,
            reject_negative=options.reject_negative,
            zero_invalid=options.zero_invalid,
        )
        return replace(solution, valid=solution.valid & (solution.counts >= options.least_ratios))


def _unknown(shape: tuple[int, ...]) -> CrosstalkSolution:
    """Return what is known of a detector that has no usable exposure in common."""
    nan, nothing = np.full(shape, np.nan), np.zeros(shape)
    never = np.zeros(shape, np.bool_)
    return CrosstalkSolution(nan, nan, nan, nothing.astype(np.int64), never, nothing, nothing)
