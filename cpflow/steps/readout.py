"""The measure pass of ISR: overscan models, read noise and saturated amplifiers of one exposure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cpflow.camera import Amplifier, Box, Detector
from cpflow.errors import RawError
from cpflow.kernels.overscan import OverscanFit, OverscanModel, fit_overscan
from cpflow.kernels.parallel_overscan import fit_parallel_overscan
from cpflow.kernels.truncation import (
    clipped_stdev_of_normal,
    row_level_variance,
    row_subtraction_factor,
)
from cpflow.stack import Context, Frame
from cpflow.steps.options import Isr


@dataclass(frozen=True, slots=True)
class Readout:
    """What the overscan regions of one exposure say.

    Parameters
    ----------
    level : array of float64, shape (amp, imaging rows)
        Serial overscan model, adu; zero where nothing is corrected.
    columns : array of float64, shape (amp, imaging columns)
        Parallel overscan model, adu; zero where nothing is corrected.
    mean : array of float64, shape (amp,)
        Mean of the serial model, adu; NaN without overscan.
    noise : array of float64, shape (amp,)
        Read noise: clipped standard deviation of the corrected serial overscan, adu, divided by
        what clipping and the subtraction leave of it (the reference does not, and is 1.9 % low with
        64 columns); NaN without overscan.
    bad : array of bool, shape (amp,)
        All imaging pixels are saturated or suspect.
    level_variance : array of float64, shape (amp,)
        Noise that the subtraction of a row's level adds to its pixels, as a fraction of the
        variance of the read noise.
    """

    level: npt.NDArray[np.float64]
    columns: npt.NDArray[np.float64]
    mean: npt.NDArray[np.float64]
    noise: npt.NDArray[np.float64]
    bad: npt.NDArray[np.bool_]
    level_variance: npt.NDArray[np.float64]


def saturation_levels(
    detector: Detector, options: Isr
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the saturation and suspect levels per amplifier, adu; NaN where nothing is tested."""
    nan = np.full(len(detector.amplifiers), np.nan)
    saturation = np.array([amplifier.saturation for amplifier in detector.amplifiers])
    if options.saturation_level is not None:
        saturation[:] = options.saturation_level
    suspect = np.array([amplifier.suspect for amplifier in detector.amplifiers])
    return (
        saturation if options.saturation else nan,
        suspect if options.suspect else nan,
    )


@dataclass(frozen=True, slots=True)
class MeasureReadout:
    """Measure the overscan of a whole raw frame (spec 2.5, 2.6)."""

    options: Isr

    def __call__(self, frame: Frame, context: Context) -> Readout:
        """Fit the overscan of every amplifier.

        Raises
        ------
        RawError
            If every amplifier is saturated: the exposure cannot be processed (spec 2.5).
        """
        detector = context.detector
        rows, columns = detector.imaging_shape
        count = len(detector.amplifiers)
        level = np.zeros((count, rows))
        parallel = np.zeros((count, columns))
        mean = np.full(count, np.nan)
        noise = np.full(count, np.nan)
        bad = np.zeros(count, bool)
        added = np.zeros(count)
        saturation, suspect = saturation_levels(detector, self.options)
        for a, amplifier in enumerate(detector.amplifiers):
            raw = frame.image[a]
            full = np.fmin(saturation[a], suspect[a])
            imaging = raw[amplifier.imaging.rows, amplifier.imaging.columns]
            model = self._serial(raw, amplifier, saturation[a])
            subtracted = self.options.saturation_stage == "overscan_subtracted"
            offset = model.mean if subtracted and model is not None else 0.0
            # The minimum decides first: a sound frame costs one pass and no temporary.
            bad[a] = bool(imaging.min() - offset >= full)
            if bad[a] or model is None:
                continue
            box = self._rows_of(amplifier)
            index = np.clip(
                np.arange(amplifier.imaging.y0, amplifier.imaging.y1) - box.y0, 0, box.height - 1
            )
            level[a] = model.level[index]
            mean[a] = model.mean
            noise[a] = model.residual_stdev / self._noise_factor(amplifier)
            added[a] = row_level_variance(self.options.overscan.fit_type, self._columns(amplifier))
            if self.options.parallel_overscan.enabled and not amplifier.parallel_overscan.empty:
                parallel[a] = self._parallel(raw, amplifier, model.level, box)
        if bad.all():
            raise RawError("all pixels of all amplifiers are saturated")
        return Readout(level, parallel, mean, noise, bad, added)

    def _rows_of(self, amplifier: Amplifier) -> Box:
        """Return the serial overscan region, extended over the parallel rows if asked for."""
        box = amplifier.serial_overscan
        wide = self.options.overscan.extend or self.options.parallel_overscan.enabled
        if wide and not amplifier.parallel_overscan.empty:
            top = max(box.y1, amplifier.parallel_overscan.y1)
            return Box(box.x0, box.y0, box.width, top - box.y0)
        return box

    def _noise_factor(self, amplifier: Amplifier) -> float:
        """Return how much too low the clipped residual of the overscan is as a read noise."""
        fit_type = self.options.overscan.fit_type
        factor = row_subtraction_factor(fit_type, self._columns(amplifier))
        return clipped_stdev_of_normal() * factor

    def _columns(self, amplifier: Amplifier) -> int:
        """Return how many overscan columns are used."""
        options = self.options.overscan
        return amplifier.serial_overscan.width - options.leading - options.trailing

    def _serial(
        self, raw: npt.NDArray[Any], amplifier: Amplifier, saturation: float
    ) -> OverscanModel | None:
        options = self.options.overscan
        if not options.enabled or amplifier.serial_overscan.empty:
            return None
        box = self._rows_of(amplifier)
        pixels = raw[box.rows, box.columns]
        if box.x0 < amplifier.imaging.x0:
            pixels = pixels[:, ::-1]  # "leading" means next to the imaging columns
        fit = OverscanFit(
            fit_type=options.fit_type,
            order=options.order,
            clip=options.clip,
            integer=options.integer and raw.dtype.kind in "iu",
            leading=options.leading,
            trailing=options.trailing,
            max_deviation=options.max_deviation,
            cap_row_sigma=options.cap_row_sigma,
            fill_empty_rows=options.fill_empty_rows,
            noise_full_width=options.noise_full_width,
        )
        # Levels that hold after subtraction say nothing of raw counts (ERA26 knows no SAT here).
        raw_level = self.options.saturation_stage == "raw" and not np.isnan(saturation)
        masked = pixels >= saturation if raw_level else None
        return fit_overscan(pixels, fit, masked)

    def _parallel(
        self,
        raw: npt.NDArray[Any],
        amplifier: Amplifier,
        level: npt.NDArray[np.float64],
        serial: Box,
    ) -> npt.NDArray[np.float64]:
        options = self.options.parallel_overscan
        box = amplifier.parallel_overscan
        index = np.clip(np.arange(box.y0, box.y1) - serial.y0, 0, serial.height - 1)
        pixels = raw[box.rows, box.columns] - level[index][:, None]
        fit = OverscanFit(
            fit_type=options.fit_type,
            order=options.order,
            clip=options.clip,
            integer=False,
            leading=options.leading,
            trailing=options.trailing,
            max_deviation=options.max_deviation,
            deviation_sign=options.deviation_sign,
            cap_row_sigma=True,
            fill_empty_rows=True,
        )
        return fit_parallel_overscan(
            pixels,
            fit,
            saturation=options.saturation,
            grow=options.saturation_grow,
            smoothing_rejection=options.smoothing_rejection,
        )
