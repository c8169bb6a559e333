"""Brighter-fatter kernels from a photon transfer curve (spec electro-optical 3)."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cpflow.camera import Detector
from cpflow.errors import DataError
from cpflow.kernels.bf_covariances import AmplifierCovariances
from cpflow.kernels.bf_kernel import BrighterFatterKernel, solve_bf_kernel
from cpflow.stack import Column, tabulate
from cpflow.steps.options import BfKernel
from cpflow.steps.tables import table

if TYPE_CHECKING:
    import xarray as xr

logger = logging.getLogger(__name__)

_KERNEL = ("kernel_x", "kernel_y")


def solve_kernels(detector: Detector, ptc: Any, options: BfKernel) -> xr.Dataset:
    """Solve for the kernel of each amplifier, and of the detector; lazy.

    Parameters
    ----------
    detector : Detector
    ptc : xarray.Dataset, or Delayed of one
        With covariances to `options.side` lags.
    options : BfKernel

    Returns
    -------
    xarray.Dataset
        `kernel` (amp, kernel_x, kernel_y) and `detector_kernel`, in 1/electron, the middle at the
        centre; x runs along rows. One that is not valid is there to look at: it is not applied.
    """
    value = table(ptc, SolveKernels(options, detector.amplifier_names))
    units = {"units": "1/electron"}
    side = 2 * options.side + 1
    columns = {
        "kernel": Column(("amp", *_KERNEL), np.float64, units),
        "kernel_error": Column(("amp", *_KERNEL), np.float64, units),
        "pre_kernel": Column(("amp", *_KERNEL), np.float64, units),
        "detector_kernel": Column(_KERNEL, np.float64, units),
        "detector_kernel_error": Column(_KERNEL, np.float64, units),
        "detector_valid": Column((), np.bool_, {}),
        "detector_reason": Column((), "U160", {}),
        "valid": Column(("amp",), np.bool_, {}),
        "reason": Column(("amp",), "U160", {}),
        "total": Column(("amp",), np.float64, units),
    }
    sizes = {"amp": len(detector.amplifiers), "kernel_x": side, "kernel_y": side}
    lags = list(range(-options.side, options.side + 1))
    coords = {"amp": list(detector.amplifier_names), "kernel_x": lags, "kernel_y": lags}
    product = tabulate(value, columns, sizes, coords)
    product.attrs["method"] = options.method
    return product


@dataclass(frozen=True, slots=True)
class SolveKernels:
    """Solve all kernels of a detector."""

    options: BfKernel
    names: tuple[str, ...]

    def __call__(self, ptc: xr.Dataset) -> dict[str, npt.NDArray[Any]]:
        """Return the columns of the product.

        Raises
        ------
        DataError
            If the curve has fewer lags than are wanted, or no amplifier gives a kernel.
        """
        options = self.options
        if ptc.sizes["lag_x"] < options.side:
            raise DataError(
                f"the photon transfer curve has covariances at {ptc.sizes['lag_x']} lags, a "
                f"kernel of {options.side} is wanted",
                hint=f"-c kernel.side={ptc.sizes['lag_x']}, or measure it again with ptc.max_lag",
            )
        if options.method == "a_matrix" and not np.isfinite(ptc["a"].values[..., 1:, 1:]).any():
            raise DataError(
                f"the photon transfer curve ({ptc.attrs.get('fit_type')}) has no coefficients of "
                "neighbours to make a kernel of",
                hint="measure it with ptc.fit_type=FULLCOVARIANCE, or -c kernel.method=average",
            )
        amplifiers = [_covariances(ptc, a, options) for a in range(ptc.sizes["amp"])]
        unknown = sorted(set(options.ignored_amplifiers) - set(self.names))
        if unknown:
            raise DataError(
                f"kernel.ignored_amplifiers names {', '.join(unknown)}",
                hint=f"the amplifiers are {', '.join(self.names)}",
            )
        ignored = [self.names.index(n) for n in options.ignored_amplifiers if n in self.names]
        single = [self._solve(amplifier) for amplifier in amplifiers]
        good = [
            amp for a, amp in enumerate(amplifiers) if a not in ignored and single[a].used[0].any()
        ]
        if not good:
            raise DataError(
                "no amplifier gives a kernel: "
                + "; ".join(f"{n}: {k.reason}" for n, k in zip(self.names, single, strict=True))
            )
        pooled = solve_bf_kernel(good, **self._arguments())
        if not pooled.valid:
            logger.warning(
                "the kernel of the detector is not valid: %s",
                pooled.reason,
                extra={"detector": ptc.attrs.get("detector")},
            )
        return {
            "kernel": np.array([k.kernel for k in single]),
            "kernel_error": np.array([k.kernel_errors for k in single]),
            "pre_kernel": np.array([k.pre_kernel for k in single]),
            "valid": np.array([k.valid for k in single]),
            "reason": np.array([k.reason for k in single]),
            "total": np.array([k.total for k in single]),
            "detector_kernel": pooled.kernel,
            "detector_kernel_error": pooled.kernel_errors,
            "detector_valid": np.array(pooled.valid),
            "detector_reason": np.array(pooled.reason),
        }

    def _solve(self, amplifier: AmplifierCovariances) -> BrighterFatterKernel:
        return solve_bf_kernel(amplifier, **self._arguments())

    def _arguments(self) -> dict[str, Any]:
        options = self.options
        return {
            "method": options.method,
            "side": options.side,
            "clip": options.clip,
            "model_flux": options.model_flux,
            "force_zero_sum": options.force_zero_sum,
        }


def _covariances(ptc: xr.Dataset, amplifier: int, options: BfKernel) -> AmplifierCovariances:
    """Return what a photon transfer curve knows of one amplifier."""

    def of(name: str) -> npt.NDArray[np.float64]:
        return np.asarray(ptc[name].values[amplifier], np.float64)

    noise_matrix = of("noise_matrix")
    return AmplifierCovariances(
        covariances=of("covariances"),
        means=of("mean"),
        gain=float(of("gain")),
        noise=float(of("noise")),
        mask=np.asarray(ptc["used"].values[amplifier], np.bool_),
        covariance_errors=of("covariance_errors"),
        a_matrix=of("a") if options.method == "a_matrix" else None,
        a_errors=of("a_error") if options.method == "a_matrix" else None,
        noise_matrix=noise_matrix if np.isfinite(noise_matrix).all() else None,
        model=of("covariances_model") if options.method == "covariance_model" else None,
    )
