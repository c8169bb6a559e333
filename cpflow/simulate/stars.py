"""Stars of a known catalogue."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from cpflow.camera import Detector
from cpflow.options import Options

_REACH = 6.0


class StarField(Options):
    """The stars of a target."""

    density: float = 200.0
    """Stars per megapixel."""
    flux: tuple[float, float] = (50.0, 2e5)
    """Range of the fluxes in electron/s; the number brighter than f goes as 1/f."""
    sigma: float = 1.8
    """Standard deviation of the Gaussian images, in pixels."""
    dither: float = 30.0
    """Largest offset of an exposure along x and y, in pixels."""


class Catalogue(NamedTuple):
    """Positions (pixel centres are whole numbers) and fluxes."""

    y: NDArray[np.float64]
    x: NDArray[np.float64]
    flux: NDArray[np.float64]
    """Electron/s."""


def draw_field(model: StarField, detector: Detector, rng: np.random.Generator) -> Catalogue:
    """Draw the stars of a target, also a dither's width beyond the detector.

    Fluxes follow ``f = f0 / (1 - u (1 - f0 / f1))`` with u uniform, the inverse of the cumulative
    distribution of ``dN/df ~ f^-2`` between f0 and f1.
    """
    rows, columns = (n + 2 * model.dither for n in detector.shape)
    count = round(model.density * rows * columns / 1e6)
    faint, bright = model.flux
    flux = faint / (1 - rng.random(count) * (1 - faint / bright))
    y = rng.uniform(0, rows, count) - model.dither - 0.5
    x = rng.uniform(0, columns, count) - model.dither - 0.5
    return Catalogue(y, x, flux)


def dithered(
    field: Catalogue, model: StarField, shape: tuple[int, int], rng: np.random.Generator
) -> Catalogue:
    """Move a field by a random dither and keep the stars whose light reaches the detector."""
    dy, dx = rng.uniform(-model.dither, model.dither, 2)
    y, x = field.y + dy, field.x + dx
    margin = _REACH * model.sigma
    rows, columns = shape
    seen = (y > -margin) & (y < rows + margin) & (x > -margin) & (x < columns + margin)
    return Catalogue(y[seen], x[seen], field.flux[seen])


def render(stars: Catalogue, sigma: float, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Draw the images of stars: Gaussians integrated over each pixel, cut off beyond 6 sigma.

    The second moment of an image along either axis is ``sigma^2 + 1/12`` pixels squared.

    Parameters
    ----------
    stars : Catalogue
        Positions and fluxes.
    sigma : float
        Pixels.
    shape : tuple of int
        Rows and columns.

    Returns
    -------
    ndarray of float32 (y, x)
        Electron/s.
    """
    image = np.zeros(shape, np.float32)
    reach = int(np.ceil(_REACH * sigma)) + 1
    for y, x, flux in zip(*stars, strict=True):
        (y0, across_y), (x0, across_x) = (_profile(c, sigma, reach) for c in (y, x))
        top, left = max(0, y0), max(0, x0)
        part = image[top : max(0, y0 + across_y.size), left : max(0, x0 + across_x.size)]
        stamp = flux * across_y[top - y0 :, None] * across_x[None, left - x0 :]
        part += stamp[: part.shape[0], : part.shape[1]].astype(np.float32)
    return image


def _profile(centre: float, sigma: float, reach: int) -> tuple[int, NDArray[np.float64]]:
    """Return the first pixel of a star's image along an axis, and the light in each pixel."""
    first = round(centre) - reach
    edges = first + np.arange(2 * reach + 2) - 0.5 - centre
    return first, np.diff(erf(edges / (np.sqrt(2) * sigma))) / 2
