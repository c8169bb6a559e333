"""The edges of raw flats: the last imaging pixels, and what is read after them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cpflow.camera import Amplifier
from cpflow.kernels.eper import EdgeResponse, edge_response
from cpflow.kernels.linearity import linearize
from cpflow.kernels.overscan import OverscanFit, OverscanModel, fit_overscan
from cpflow.kernels.truncation import row_level_variance
from cpflow.stack import Context, Frame
from cpflow.steps.electronics import gains_of
from cpflow.steps.options import Cti, Isr
from cpflow.steps.readout import saturation_levels
from cpflow.steps.tables import LinearityOfAmplifier

#: Fewer columns have no level whose noise is known.
LEAST_COLUMNS = 3
# The tie-aware median of ISR takes the lower of two middle values, and of a few columns is half a
# count or more too low: profiles would have a pedestal of that size.
_FIT_TYPE = "MEAN_PER_ROW"


def baseline_columns(amplifier: Amplifier, isr: Isr, options: Cti) -> range:
    """Return the overscan columns, counted from the imaging area, that levels are taken from."""
    first = max(options.columns, isr.overscan.leading)
    return range(first, amplifier.serial_overscan.width - isr.overscan.trailing)


@dataclass(frozen=True, slots=True)
class Edges:
    """What one exposure has at the edges of one amplifier, in electrons; None: no such overscan.

    `baseline`, `level_variance` and `transfers` say what the serial profile was measured with.
    """

    serial: EdgeResponse | None
    parallel: EdgeResponse | None
    baseline: range
    level_variance: float
    transfers: int


@dataclass(frozen=True, slots=True)
class MeasureEdges:
    """Measure the extended-pixel edge responses of a whole raw frame."""

    isr: Isr
    options: Cti

    def __call__(self, frame: Frame, context: Context) -> tuple[Edges, ...]:
        """Return the edges of every amplifier."""
        linear: Sequence[LinearityOfAmplifier] | None = context.shared.get("linearizer")
        saturation, _ = saturation_levels(context.detector, self.isr)
        found = []
        for a, (amplifier, gain) in enumerate(
            zip(context.detector, gains_of(context), strict=True)
        ):
            curve = None if linear is None else linear[a]
            where = _Where(frame.image[a], amplifier, float(saturation[a]), float(gain), curve)
            baseline = baseline_columns(amplifier, self.isr, self.options)
            q = row_level_variance(_FIT_TYPE, len(baseline))
            found.append(
                Edges(
                    self._serial(where, baseline),
                    self._parallel(where, q),
                    baseline,
                    q,
                    amplifier.imaging.x1,
                )
            )
        return tuple(found)

    def _serial(self, where: _Where, baseline: range) -> EdgeResponse | None:
        box, imaging = where.amplifier.serial_overscan, where.amplifier.imaging
        if box.x0 != imaging.x1 or len(baseline) < LEAST_COLUMNS:
            return None
        rows = slice(max(box.y0, imaging.y0), min(box.y1, imaging.y1))
        model = self._level(where, rows)
        pixels = where.raw[rows, imaging.x1 - 1 : imaging.x1 + self.options.columns]
        electrons = where.electrons(pixels, model.level[:, None], self.isr)
        return self._response(electrons, imaging.x1, 0.0)

    def _parallel(self, where: _Where, level_variance: float) -> EdgeResponse | None:
        box, imaging = where.amplifier.parallel_overscan, where.amplifier.imaging
        if box.y0 != imaging.y1 or box.height < self.options.first:
            return None
        rows = slice(imaging.y1 - 1, min(box.y1, imaging.y1 + self.options.columns))
        model = self._level(where, slice(imaging.y0, rows.stop))
        level = model.level[rows.start - imaging.y0 :][:, None]
        electrons = where.electrons(where.raw[rows, imaging.columns], level, self.isr)
        noise = model.residual_stdev * where.gain
        return self._response(electrons.T, imaging.y1, noise * float(np.sqrt(level_variance)))

    def _response(
        self, electrons: npt.NDArray[np.float32], transfers: int, common_error: float
    ) -> EdgeResponse:
        return edge_response(
            electrons[:, 0],
            electrons[:, 1:],
            transfers,
            first=self.options.first,
            clip=self.options.clip,
            iterations=self.options.iterations,
            common_error=common_error,
        )

    def _level(self, where: _Where, rows: slice) -> OverscanModel:
        """Return the level of rows, from the overscan columns that hold no trail."""
        options = self.isr.overscan
        fit = OverscanFit(
            fit_type=_FIT_TYPE,
            clip=options.clip,
            leading=baseline_columns(where.amplifier, self.isr, self.options).start,
            trailing=options.trailing,
            max_deviation=options.max_deviation,
            cap_row_sigma=options.cap_row_sigma,
            fill_empty_rows=options.fill_empty_rows,
        )
        return fit_overscan(where.raw[rows, where.amplifier.serial_overscan.columns], fit)


@dataclass(frozen=True, slots=True)
class _Where:
    """One amplifier of a raw frame, and how its counts become electrons."""

    raw: npt.NDArray[Any]
    amplifier: Amplifier
    saturation: float
    gain: float
    linearity: LinearityOfAmplifier | None

    def electrons(
        self, pixels: npt.NDArray[Any], level: npt.NDArray[np.float64], isr: Isr
    ) -> npt.NDArray[np.float32]:
        """Return pixels in electrons; NaN where saturated."""
        subtracted = (pixels - level).astype(np.float32)
        tested = pixels if isr.saturation_stage == "raw" else subtracted
        full = tested >= self.saturation
        if self.linearity is not None:
            curve = self.linearity
            linearize(subtracted, curve.kind, curve.coefficients, curve.table)
        subtracted *= np.float32(self.gain)
        subtracted[full] = np.nan
        return subtracted
