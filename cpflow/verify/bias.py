"""Verification of a bias: biases that it is subtracted from."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from cpflow.stack import Stack
from cpflow.verify.limits import Limit
from cpflow.verify.residuals import Previews, Residuals, measure_residuals, preview_shape
from cpflow.verify.rows import count_rows, tabulated
from cpflow.verify.subtracted import JudgeSubtracted, SubtractedLimits

if TYPE_CHECKING:
    import xarray as xr


class BiasLimits(SubtractedLimits):
    """Limits of a bias."""

    level: Limit = Limit(low=-1.0, high=1.0, sigma=5.0, severity="informational")


def verify_bias(
    residuals: Stack, calibrations: Mapping[str, Any], options: Residuals, limits: BiasLimits
) -> xr.Dataset:
    """Verify a bias by exposures that it was subtracted from; lazy.

    Parameters
    ----------
    residuals : Stack
        Biases with the candidate subtracted, in electrons.
    calibrations : mapping
        With the candidate as "bias".
    options : Residuals
    limits : BiasLimits

    Returns
    -------
    xarray.Dataset
        The table of the verification, and small pictures of the residuals.
    """
    stack = measure_residuals(residuals, calibrations["bias"], "bias", "bias", options)
    judge = JudgeSubtracted(limits, options, stack.detector)
    unmeasured = [None] * len(stack.sources)
    count = count_rows(partial(judge.rows, unmeasured, stack.exposures))
    return with_previews(tabulated(stack.solved(judge, name="verify"), count), stack)


def with_previews(verification: xr.Dataset, stack: Stack) -> xr.Dataset:
    """Return a verification with small pictures of what was measured."""
    shape = preview_shape(stack.detector.shape)
    verification["residual"] = stack.gather(
        Previews(shape),
        ("frame", "y_binned", "x_binned"),
        "float32",
        name="previews",
        sizes={"frame": len(stack.sources), "y_binned": shape[0], "x_binned": shape[1]},
    ).assign_attrs(units=stack.units)
    return verification.assign_coords(frame=[exposure.exposure for exposure in stack.exposures])
