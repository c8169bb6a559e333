"""Verification of a photon transfer curve: the curve itself is inspected (verification 2.7)."""

from __future__ import annotations

import math
from collections.abc import Mapping
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


class PtcLimits(Limits):
    """Limits of a photon transfer curve."""

    gain: Limit = Limit(low=-0.05, high=0.05, sigma=3.0)
    """GAIN: over that of the camera, less 1 (DMTN-101 16.1)."""
    noise: Limit = Limit(low=-0.05, high=0.05, sigma=3.0, severity="informational")
    """NOISE: fitted read noise over the camera's, less 1 (DMTN-101 16.2); a fit to bright flats
    knows little of it."""
    overscan_noise: Limit = Limit(low=-0.05, high=0.05, sigma=3.0)
    """OVERSCAN_NOISE: noise of the overscans of the pairs over the camera's, less 1."""
    noise_drift: Limit = Limit(high=0.02, sigma=5.0, severity="informational")
    """NOISE_DRIFT: scatter of the overscan noise over the pairs, over its mean: it should not
    depend on the signal."""
    turnoff: Limit = Limit()
    """TURNOFF: largest signal of the curve, electrons (DMTN-101 16.3); instruments say how much."""
    a00: Limit = Limit(low=-1e-5, high=0.0, sigma=5.0)
    """A00: brighter-fatter coefficient, 1/electron (DMTN-101 16.4)."""
    chi2: Limit = Limit(high=3.0, sigma=5.0, severity="informational")
    """CHI2: of the fit, over its degrees of freedom."""
    pairs: Limit = Limit(low=5.0)
    """PAIRS: that were fitted."""


_OFF = Limit(severity="off")


@dataclass(frozen=True, slots=True)
class JudgePtc:
    """Turns a photon transfer curve into rows."""

    limits: PtcLimits
    detector: Detector

    def __call__(self, ptc: xr.Dataset) -> dict[str, npt.NDArray[Any]]:
        """Return the table."""
        return self.rows(ptc).table()

    def rows(self, ptc: xr.Dataset | None) -> Rows:
        """Return the rows; without a curve those that there would be."""
        rows = Rows(self.limits, self.detector.id)
        for a, amplifier in enumerate(self.detector.amplifiers):
            of = Of(amp=amplifier.name)
            value = _values(ptc, a)
            gain, nominal, noise = value["gain"], amplifier.gain, amplifier.read_noise
            rows.test(of, "GAIN", gain / nominal - 1, "1", value["gain_error"] / nominal)
            rows.test(of, "NOISE", value["noise"] / noise - 1, "1", value["noise_error"] / noise)
            overscan = value["overscan_noise"] * gain
            error = value["overscan_noise_error"] * gain / noise
            # Without an overscan there is no such noise, and not every fit has a coefficient.
            known = None if amplifier.serial_overscan.width else _OFF
            rows.test(of, "OVERSCAN_NOISE", overscan / noise - 1, "1", error, limit=known)
            rows.test(of, "NOISE_DRIFT", value["noise_drift"], "1", value["noise_drift_error"])
            error = value["turnoff_error"] * gain
            rows.test(of, "TURNOFF", value["turnoff"] * gain, "electron", error)
            known = _OFF if ptc is not None and ptc.attrs.get("fit_type") == "POLYNOMIAL" else None
            rows.test(of, "A00", value["a00"], "1/electron", value["a00_error"], limit=known)
            dof = max(value["dof"], 1.0)
            rows.test(of, "CHI2", value["chi2"] / dof, "1", math.sqrt(2 / dof))
            rows.test(of, "PAIRS", value["pairs"], "1")
            rows.record(of, "gain", gain, "electron/adu", value["gain_error"])
            rows.record(of, "noise", value["noise"], "electron", value["noise_error"])
            rows.record(of, "camera_gain", nominal, "electron/adu")
        return rows


_OF_AMP = (
    *("gain", "gain_error", "noise", "noise_error", "turnoff", "turnoff_error", "chi2", "dof"),
)


def _values(ptc: xr.Dataset | None, a: int) -> Mapping[str, float]:
    names = (
        *(*_OF_AMP, "a00", "a00_error", "overscan_noise", "overscan_noise_error"),
        *("noise_drift", "noise_drift_error", "pairs"),
    )
    found = dict.fromkeys(names, math.nan)
    if ptc is None:
        return found
    found |= {name: float(ptc[name].values[a]) for name in _OF_AMP if name in ptc}
    found |= {"a00": float(ptc["a"].values[a, 0, 0])}
    found |= {"a00_error": float(ptc["a_error"].values[a, 0, 0])}
    used = ptc["used"].values[a]
    # An amplifier without a solution has nothing to count.
    found["pairs"] = float(used.sum()) if math.isfinite(found["gain"]) else math.nan
    if "overscan_noise" in ptc and used.any():
        noises = ptc["overscan_noise"].values[a][used]
        noises = noises[np.isfinite(noises)]
        if noises.size > 1:
            mean, scatter = float(noises.mean()), float(noises.std(ddof=1))
            found["overscan_noise"] = mean
            found["overscan_noise_error"] = scatter / math.sqrt(noises.size)
            found["noise_drift"] = scatter / mean
            found["noise_drift_error"] = scatter / mean / math.sqrt(2 * (noises.size - 1))
    return found


def verify_ptc(detector: Detector, ptc: Any, limits: PtcLimits) -> xr.Dataset:
    """Verify a photon transfer curve; lazy.

    Parameters
    ----------
    detector : Detector
    ptc : xarray.Dataset, or Delayed of one
    limits : PtcLimits

    Returns
    -------
    xarray.Dataset
        The table of the verification.
    """
    judge = JudgePtc(limits, detector)
    return tabulated(table(ptc, judge), len(judge.rows(None).rows))
