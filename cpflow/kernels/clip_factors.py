"""What clipping about the median does to a standard deviation and to the error of a mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from scipy.special import ndtri


@dataclass(frozen=True, slots=True)
class ClipFactors:
    """Factors on the root mean square s of the n values that clipping left.

    Attributes
    ----------
    scatter : float
        ``scatter * s`` is the standard deviation of all values.
    mean_error : float
        ``mean_error * s / sqrt(n)`` is the standard error of the mean of those left.
    """

    scatter: float
    mean_error: float


def _density(x: float) -> float:
    return math.exp(-0.5 * x * x) / math.sqrt(2 * math.pi) if math.isfinite(x) else 0.0


def _within(x: float) -> float:
    return math.erf(x / math.sqrt(2))


@lru_cache(maxsize=64)
def median_clip_factors(clip: float = 2.0, rounds: int = 3) -> ClipFactors:
    """Return the factors for many normal values clipped about their median.

    Parameters
    ----------
    clip : float
        Half-width of what a round keeps, in standard deviations as the quartiles of what is left
        give them: ``clip * 0.7413 * (q75 - q25)``.
    rounds : int
        Each clips what the one before left.

    Returns
    -------
    ClipFactors

    Raises
    ------
    ValueError
        If `clip` is not positive or `rounds` is negative.

    Notes
    -----
    After one round the scatter has spec 0.3's factor, ``f(2) = 1.13685``; later rounds take
    narrower quartiles and cut more: 1.178 after three, for which f(2) is 3.5 % too small. The
    mean follows the medians that it was clipped about, each of which follows the one before. With

        I_0 = sign(x) / 2 phi(0)
        I_j = [sign(x) (abs(x) < k_j) + 2 phi(k_j) I_(j-1)] / 2 phi(0)

    as what a value x adds to the median after j rounds of half-width k_j, it adds to the mean
    ``[x (abs(x) < k) + 2 k phi(k) I] / (2 Phi(k) - 1)``, k and I those of the last clipping. The
    square of that, integrated over the normal distribution, is the variance of the mean times the
    number of values (influence functions: Hampel et al. 1986, Robust Statistics). Values weighted
    by the inverse of their variance have the same factors.
    """
    if not clip > 0 or rounds < 0:
        raise ValueError(f"{rounds} rounds at {clip} sigma are no clipping")
    if rounds == 0:
        return ClipFactors(1.0, 1.0)
    widths: list[float] = []
    narrowing = 1.0
    for _ in range(rounds):
        widths.append(clip * narrowing)
        narrowing = float(ndtri(0.5 + 0.25 * _within(widths[-1])) / ndtri(0.75))
    last = widths[-1]
    kept = _within(last)
    follow = 2 * last * _density(last)
    # The median as steps: the height within each half-width, infinite for the first one.
    steps = [(math.inf, 1 / (2 * _density(0)))]
    for width in widths[:-1]:
        share = _density(width) / _density(0)
        steps = [(reach, share * height) for reach, height in steps]
        steps.append((width, 1 / (2 * _density(0))))
    edges = [0.0, *sorted({last, *(reach for reach, _ in steps)})]
    variance = 0.0
    for low, high in pairwise(edges):
        slope = 1.0 if high <= last else 0.0
        level = follow * sum(height for reach, height in steps if high <= reach)
        # Integrals of 1, x and x**2 over the normal density between low and high.
        mass = 0.5 * (_within(high) - _within(low))
        first = _density(low) - _density(high)
        tail = high * _density(high) if math.isfinite(high) else 0.0
        second = mass + low * _density(low) - tail
        variance += 2 * (slope**2 * second + 2 * slope * level * first + level**2 * mass)
    variance /= kept**2
    stdev = math.sqrt(1 - follow / kept)
    return ClipFactors(1 / stdev, math.sqrt(variance * kept) / stdev)
