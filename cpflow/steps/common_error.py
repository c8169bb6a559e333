"""What exposures have in common is no scatter between them: the errors of their calibrations."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cpflow.stack import BandStack, Choice, Context, Planes
from cpflow.steps.electronics import gains_of
from cpflow.steps.images import in_units


def common_variance(
    band: BandStack,
    image: npt.NDArray[np.float32],
    scale: npt.NDArray[np.float64] | None,
    units: str,
) -> npt.NDArray[np.float32] | None:
    """Return the variance that the calibrations of a combined band bring along.

    The scatter of N exposures tells the error of their mean, but not of what was subtracted from
    all of them alike: a dark from biases of which there were as many is off by sqrt(2) of that.

    Parameters
    ----------
    band : BandStack
    image : array of float32, shape (amp, rows, columns)
        The combined band.
    scale : array of float64, shape (exposure,), or None
        What the exposures were divided by.
    units : str
        Of the exposures before scaling.

    Returns
    -------
    array of float32, shape (amp, rows, columns), or None
        In the unit of the combined image, squared; None if there are no such calibrations. With
        weights w_e = 1 / (N scale_e): ``(sum w_e)^2 V_bias + (sum w_e t_e)^2 V_dark``, divided by
        ``F^2`` where a flat F was applied, plus ``I^2 V_F / F^2``.
    """
    count = len(band.exposures)
    weights = np.full(count, 1 / count) if scale is None else 1 / (count * scale)
    gains = None
    if units == "electron":
        gains = gains_of(Context(band.detector, band.exposures[0], shared=band.shared))
    total: npt.NDArray[np.float32] | None = None
    seconds = np.array([e.dark_time or 0.0 for e in band.exposures])
    terms = (("bias", units, weights), ("dark", f"{units}/s", weights * seconds))
    for name, expected, weight in terms:
        for planes, used in _used(band, name):
            known = in_units(name, planes, expected, gains)
            if known.variance is not None:
                factor = np.float32(weight[used].sum() ** 2)
                term = factor * known.part(band.rows).variance  # type: ignore[operator]
                total = term if total is None else total + term
    for planes, _ in _used(band, "flat"):
        flat = planes.part(band.rows)
        with np.errstate(divide="ignore", invalid="ignore"):
            if total is not None:
                total = total / flat.image**2
            if flat.variance is not None:
                term = image**2 * flat.variance / flat.image**2
                total = term if total is None else total + term
        break
    return total


def _used(band: BandStack, name: str) -> list[tuple[Planes, list[int]]]:
    """Return the calibrations of this name, and the exposures of the band that take each."""
    found = band.shared.get(name)
    if found is None:
        return []
    if not isinstance(found, Choice):
        return [(found, list(range(len(band.exposures))))]
    takes = [found.index[i] for i in band.indices]
    return [
        (planes, [e for e, which in enumerate(takes) if which == number])
        for number, planes in enumerate(found.values)
        if number in takes
    ]
