"""Ratios of ghosts to their sources in one exposure (spec 4.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cpflow.kernels.masks import Mask, grow
from cpflow.kernels.planes import BAD, INTRP, NO_DATA, SAT, UNMASKEDNAN

#: Planes that keep a pixel from being a source or a target. A saturated source is brighter than it
#: reads; the reference of 2026 takes it nevertheless (`excluded` without SAT).
EXCLUDED = BAD | SAT | INTRP | NO_DATA | UNMASKEDNAN


@dataclass(frozen=True, slots=True)
class DetectorImages:
    """Amplifiers of one detector in readout order: no flips are needed between them.

    Attributes
    ----------
    image : array of floats, shape (amp, rows, columns)
        Adu or electrons, the sky still in it.
    mask : array of uint16, shape (amp, rows, columns), optional
        Planes of `cpflow.kernels.planes`.
    background : array of floats, shape (amp, rows, columns), optional
        Smooth sky, of pixels outside stars and `ghost_mask`. None: there is none to subtract.

    Raises
    ------
    ValueError
        If shapes do not fit.
    """

    image: npt.NDArray[Any]
    mask: npt.NDArray[np.uint16] | None = None
    background: npt.NDArray[Any] | None = None

    def __post_init__(self) -> None:
        if self.image.ndim != 3:
            raise ValueError(f"images have the shape (amp, rows, columns), not {self.image.shape}")
        for name, array in (("mask", self.mask), ("background", self.background)):
            if array is not None and array.shape != self.image.shape:
                raise ValueError(f"the {name} has the shape {array.shape}, not {self.image.shape}")


@dataclass(frozen=True, slots=True)
class CrosstalkRatios:
    """Ratios of target to source for every pair of amplifiers.

    Attributes
    ----------
    ratios, fluxes : array of float64, shape (n,)
        Ratio and background-subtracted source of each pixel, one pair of amplifiers after the
        other, targets faster.
    offsets : array of int64, shape (source * target + 1,)
        Where each pair begins.
    shape : (int, int)
        Source and target amplifiers.
    """

    ratios: npt.NDArray[np.float64]
    fluxes: npt.NDArray[np.float64]
    offsets: npt.NDArray[np.int64]
    shape: tuple[int, int]

    def pair(
        self, source: int, target: int
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return ratios and source fluxes of one pair of amplifiers."""
        if not (0 <= source < self.shape[0] and 0 <= target < self.shape[1]):
            raise IndexError(f"there is no pair ({source}, {target}) among {self.shape}")
        index = source * self.shape[1] + target
        part = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        return self.ratios[part], self.fluxes[part]


def bright_pixels(
    image: npt.NDArray[Any],
    mask: npt.NDArray[np.uint16] | None,
    threshold: float,
    *,
    excluded: int = EXCLUDED,
) -> Mask:
    """Flag pixels that are bright enough to be sources.

    Parameters
    ----------
    image : array of floats, any shape
    mask : array of uint16, same shape, or None
    threshold : float
        In the unit of the image, its sky included; a pixel at or above it is bright.
    excluded : int
        Planes that keep a pixel out; 0 for all that is bright.

    Returns
    -------
    array of bool, same shape
        False where the image is not finite.
    """
    bright = np.asarray(image >= threshold) & np.isfinite(image)
    if mask is not None and excluded:
        bright &= (mask & np.uint16(excluded)) == 0
    return np.asarray(bright, np.bool_)


def ghost_mask(bright: Mask, *, radius: int = 20, own: bool = False) -> Mask:
    """Flag the places where other amplifiers are bright, to keep ghosts out of a background.

    Parameters
    ----------
    bright : array of bool, shape (amp, rows, columns)
        Bright pixels in readout order, saturated ones among them: `bright_pixels` with nothing
        excluded.
    radius : int
        Pixels by which the places grow, as a disc.
    own : bool
        Take an amplifier's own bright pixels too: the amplifiers are those of another detector.

    Returns
    -------
    array of bool, shape (amp, rows, columns)

    Raises
    ------
    ValueError
        If the flags have another number of axes, or the radius is negative.

    Notes
    -----
    Spec 4.1 steps 1 and 2; what acts is the readout order, so that the boxes always fit (spec 8,
    Q17).
    """
    if bright.ndim != 3:
        raise ValueError(f"flags have the shape (amp, rows, columns), not {bright.shape}")
    count = bright.sum(axis=0, dtype=np.int32)
    if own:
        return np.broadcast_to(grow(count > 0, radius, "circular"), bright.shape).copy()
    out = np.empty(bright.shape, np.bool_)
    for amp, flags in enumerate(bright):
        out[amp] = grow(count > flags, radius, "circular")
    return out


def measure_ratios(
    source: DetectorImages,
    target: DetectorImages | None = None,
    *,
    threshold: float = 30_000.0,
    excluded: int = EXCLUDED,
    exclude_coincident: bool = True,
    margin: int = 10,
    star_level: float | None = None,
    most: int = 5000,
) -> CrosstalkRatios:
    """Divide what every amplifier reads while another one reads a bright source by that source.

    Parameters
    ----------
    source : DetectorImages
    target : DetectorImages, optional
        Another detector read at the same time; then each amplifier is also paired with the one of
        its own number. Without it the source's detector, whose amplifiers have no ratio to
        themselves.
    threshold : float
        Sources are at or above it, targets below; in the unit of the image, its sky included.
    excluded : int
        Planes that keep a pixel from being a source or a target.
    exclude_coincident : bool
        Leave out pixels where a third amplifier is bright: its ghost is in the same target.
    margin : int
        What is near to bright pixels, of the target or a third amplifier, is left out as well: so
        many pixels around them, as a disc. The light around stars is too faint to be clipped but
        always positive; without a margin coefficients of crowded fields are wrong by many errors.
    star_level : float, optional
        What is so far above the background is a star, though too faint to be a source, and is kept
        clear of in the same way. Above any ghost: some 1000 adu. None: the threshold.
    most : int
        Ratios of each pair of amplifiers at most. Of n pixels in readout order those at
        ``i * n // most`` are taken, so that their fluxes are distributed as those of all.

    Returns
    -------
    CrosstalkRatios

    Raises
    ------
    ValueError
        If the detectors' amplifiers have different sizes, or `most` is not positive.

    Notes
    -----
    Spec 4.1 steps 3 and 4. The background is subtracted from source and target: that of the
    target holds the crosstalk of the sky, so that with a source that keeps its sky coefficients
    come out low by sky/source.
    """
    sources = bright_sources(
        source,
        threshold=threshold,
        excluded=excluded,
        exclude_coincident=exclude_coincident,
        margin=margin,
        star_level=star_level,
    )
    return ratios_to(
        sources,
        source if target is None else target,
        own=target is None,
        threshold=threshold,
        excluded=excluded,
        margin=margin,
        star_level=star_level,
        most=most,
    )


@dataclass(frozen=True, slots=True)
class BrightSources:
    """Pixels of one detector that leave ghosts, by amplifier.

    Attributes
    ----------
    pixels : tuple of array of int64
        Places ``row * columns + column`` in readout order, ascending.
    fluxes : tuple of array of float64
        Background subtracted.
    shape : (int, int)
        Rows and columns of an amplifier.
    """

    pixels: tuple[npt.NDArray[np.int64], ...]
    fluxes: tuple[npt.NDArray[np.float64], ...]
    shape: tuple[int, int]


def bright_sources(
    source: DetectorImages,
    *,
    threshold: float = 30_000.0,
    excluded: int = EXCLUDED,
    exclude_coincident: bool = True,
    margin: int = 10,
    star_level: float | None = None,
    most: int | None = None,
) -> BrightSources:
    """Find the pixels of a detector that are bright enough to leave ghosts.

    Parameters are those of `measure_ratios`; of more than `most` pixels of an amplifier an even
    selection is kept.

    Returns
    -------
    BrightSources
    """
    bright = bright_pixels(source.image, source.mask, threshold, excluded=excluded)
    crowd = _stars(source, threshold, star_level, margin).sum(axis=0, dtype=np.int32).ravel()
    places, fluxes = [], []
    for s in range(len(source.image)):
        pixels = np.flatnonzero(bright[s])
        if exclude_coincident:
            # One is the source itself.
            pixels = pixels[crowd[pixels] == 1]
        flux = _subtracted(source, s, pixels)
        positive = flux > 0
        pixels, flux = pixels[positive], flux[positive]
        if most is not None and len(pixels) > most:
            kept = np.arange(most) * len(pixels) // most
            pixels, flux = pixels[kept], flux[kept]
        places.append(pixels)
        fluxes.append(flux)
    return BrightSources(tuple(places), tuple(fluxes), source.image.shape[1:])


def ratios_to(
    sources: BrightSources,
    target: DetectorImages,
    *,
    own: bool,
    threshold: float = 30_000.0,
    excluded: int = EXCLUDED,
    margin: int = 10,
    star_level: float | None = None,
    most: int = 5000,
) -> CrosstalkRatios:
    """Divide what the amplifiers of a detector read at the places of sources by the sources.

    Parameters
    ----------
    sources : BrightSources
    target : DetectorImages
    own : bool
        Whether the sources are of this very detector: no amplifier has a ratio to itself then.
    threshold, excluded, margin, star_level, most
        Of `measure_ratios`.

    Returns
    -------
    CrosstalkRatios

    Raises
    ------
    ValueError
        If the amplifiers have other sizes than those of the sources, or `most` is not positive.
    """
    if most < 1:
        raise ValueError(f"{most} ratios cannot be kept")
    if target.image.shape[1:] != sources.shape:
        raise ValueError(
            f"amplifiers of {sources.shape} and {target.image.shape[1:]} pixels are not "
            "read at the same time"
        )
    stars = _stars(target, threshold, star_level, margin)
    usable = _usable(target, stars, excluded).reshape(len(target.image), -1)
    ratios, fluxes = [np.empty(0)], [np.empty(0)]
    offsets = [0]
    for s, (pixels, flux) in enumerate(zip(sources.pixels, sources.fluxes, strict=True)):
        for t in range(len(target.image)):
            if own and s == t:
                offsets.append(offsets[-1])
                continue
            chosen = np.flatnonzero(usable[t, pixels])
            if len(chosen) > most:
                chosen = chosen[np.arange(most) * len(chosen) // most]
            ratio = _subtracted(target, t, pixels[chosen]) / flux[chosen]
            ratios.append(ratio)
            fluxes.append(flux[chosen])
            offsets.append(offsets[-1] + len(ratio))
    return CrosstalkRatios(
        np.concatenate(ratios),
        np.concatenate(fluxes),
        np.array(offsets, np.int64),
        (len(sources.pixels), len(target.image)),
    )


def _stars(images: DetectorImages, threshold: float, star_level: float | None, margin: int) -> Mask:
    """Flag bright sources and fainter stars, grown by a margin."""
    level: npt.NDArray[Any] | float = threshold
    if star_level is not None:
        sky = 0.0 if images.background is None else images.background
        level = np.minimum(threshold, sky + star_level)
    with np.errstate(invalid="ignore"):
        bright = np.asarray(images.image >= level)
    out = np.empty(bright.shape, np.bool_)
    for amp, flags in enumerate(bright):
        out[amp] = grow(flags, margin, "circular")
    return out


def _usable(images: DetectorImages, stars: Mask, excluded: int) -> Mask:
    usable = np.isfinite(images.image) & ~stars
    if images.mask is not None:
        usable &= (images.mask & np.uint16(excluded)) == 0
    if images.background is not None:
        usable &= np.isfinite(images.background)
    return np.asarray(usable, np.bool_)


def _subtracted(
    images: DetectorImages, amp: int, pixels: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    values = images.image[amp].reshape(-1)[pixels].astype(np.float64)
    if images.background is not None:
        values -= images.background[amp].reshape(-1)[pixels]
    return np.asarray(values, np.float64)
