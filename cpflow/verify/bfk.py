"""Verification of a brighter-fatter kernel: the kernel itself is inspected (verification 2.10)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cpflow.camera import Detector
from cpflow.steps.tables import table
from cpflow.verify.limits import Limit, Limits
from cpflow.verify.rows import Of, Rows, tabulated

if TYPE_CHECKING:
    import xarray as xr


class KernelLimits(Limits):
    """Limits of a brighter-fatter kernel."""

    valid: Limit = Limit(low=1.0)
    """VALID: 1 where the solution calls it valid; ISR applies no other."""
    extremum: Limit = Limit(low=1.0)
    """EXTREMUM: 1 where the largest value, whatever its sign, is at the centre."""
    symmetry: Limit = Limit(high=0.02)
    """SYMMETRY: largest difference from its mirror images, over the centre."""
    boundary: Limit = Limit(high=0.1)
    """BOUNDARY: largest value at the border, over the centre: a kernel has to fall off."""
    centre: Limit = Limit(low=-0.2, high=0.2, sigma=5.0)
    """CENTRE: of an amplifier over the detector's, less 1."""


@dataclass(frozen=True, slots=True)
class JudgeKernel:
    """Turns a brighter-fatter kernel into rows."""

    limits: KernelLimits
    detector: Detector

    def __call__(self, bfk: xr.Dataset) -> dict[str, npt.NDArray[Any]]:
        """Return the table."""
        return self.rows(bfk).table()

    def rows(self, bfk: xr.Dataset | None) -> Rows:
        """Return the rows; without a kernel those that there would be."""
        rows = Rows(self.limits, self.detector.id)
        whole = None if bfk is None else np.asarray(bfk["detector_kernel"].values)
        valid = math.nan if bfk is None else float(bfk["detector_valid"].values)
        self._shape(rows, Of(), whole, valid)
        for a, amplifier in enumerate(self.detector.amplifiers):
            of = Of(amp=amplifier.name)
            own = None if bfk is None else np.asarray(bfk["kernel"].values[a])
            self._shape(rows, of, own, math.nan if bfk is None else float(bfk["valid"].values[a]))
            ratio = error = math.nan
            if own is not None and whole is not None and _centre(whole) != 0:
                ratio = _centre(own) / _centre(whole) - 1
                if bfk is not None and "kernel_error" in bfk:
                    errors = np.asarray(bfk["kernel_error"].values[a])
                    error = abs(_centre(errors) / _centre(whole))
            rows.test(of, "CENTRE", ratio, "1", error)
        return rows

    def _shape(
        self, rows: Rows, of: Of, kernel: npt.NDArray[np.float64] | None, valid: float
    ) -> None:
        extremum = symmetry = boundary = math.nan
        if kernel is not None and np.isfinite(kernel).all() and _centre(kernel) != 0:
            centre = abs(_centre(kernel))
            extremum = float(np.abs(kernel).max() <= centre)
            mirrored = (kernel[::-1], kernel[:, ::-1], kernel[::-1, ::-1])
            symmetry = max(float(np.abs(kernel - other).max()) for other in mirrored) / centre
            border = np.concatenate([kernel[0], kernel[-1], kernel[:, 0], kernel[:, -1]])
            boundary = float(np.abs(border).max()) / centre
        rows.test(of, "VALID", valid, "1")
        rows.test(of, "EXTREMUM", extremum, "1")
        rows.test(of, "SYMMETRY", symmetry, "1")
        rows.test(of, "BOUNDARY", boundary, "1")
        value = math.nan if kernel is None else _centre(kernel)
        rows.record(of, "centre", value, "1/electron")
        total = math.nan if kernel is None else float(kernel.sum())
        rows.record(of, "sum", total, "1/electron")


def _centre(kernel: npt.NDArray[np.float64]) -> float:
    return float(kernel[kernel.shape[0] // 2, kernel.shape[1] // 2])


def verify_kernel(detector: Detector, bfk: Any, limits: KernelLimits) -> xr.Dataset:
    """Verify a brighter-fatter kernel; lazy.

    Parameters
    ----------
    detector : Detector
    bfk : xarray.Dataset, or Delayed of one
    limits : KernelLimits

    Returns
    -------
    xarray.Dataset
        The table of the verification.
    """
    judge = JudgeKernel(limits, detector)
    return tabulated(table(bfk, judge), len(judge.rows(None).rows))
