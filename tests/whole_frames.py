"""Independent whole-frame numpy and scipy code for backgrounds and objects, to compare with."""

from __future__ import annotations

import numpy as np
import reference
from numpy.polynomial import chebyshev
from scipy.interpolate import CubicSpline
from scipy.ndimage import correlate1d, distance_transform_edt

from cpflow.camera import Amplifier, Box, Detector, Source
from cpflow.exposure import Exposure
from cpflow.timespan import Timespan


def four_amplifiers(rows=64, columns=80, number=0, **changes):
    """A detector of 2 x 2 outputs, one read from each corner; `rows` and `columns` are of one."""
    amplifiers = tuple(
        Amplifier(
            name=f"{x}{y}",
            raw=(rows, columns),
            source=Source(1, Box(0, 0, columns, rows)),
            imaging=Box(0, 0, columns, rows),
            detector_box=Box(x * columns, y * rows, columns, rows),
            flip_x=x == 1,
            flip_y=y == 1,
        )
        for y in (0, 1)
        for x in (0, 1)
    )
    values = {"pixel_size_mm": 0.01, **changes}
    return Detector(number, f"four{number}", (2 * rows, 2 * columns), amplifiers, **values)


def exposure(number=1):
    return Exposure("X", number, f"X{number}", 20210101, number, Timespan.at(number), "science")


def clipped_mean_of(values):
    """Clipped mean of all values, its standard error and how many there were."""
    flat = np.asarray(values, np.float64).reshape(-1, 1)
    mean, variance, _ = reference.clipped_mean(flat)
    return mean[0], np.sqrt(variance[0]), len(flat)


def edges(size, bins):
    return [0] + [int(((i + 1) * size + bins // 2) // bins) for i in range(bins)]


def bins(image, counts, good):
    """Clipped mean, its error and the usable pixels of each bin, and the centres of the bins."""
    y, x = (edges(n, b) for n, b in zip(image.shape, counts, strict=True))
    values, errors, pixels = (np.full(counts, np.nan) for _ in range(3))
    for j in range(counts[0]):
        for i in range(counts[1]):
            box = slice(y[j], y[j + 1]), slice(x[i], x[i + 1])
            part = image[box][good[box]]
            pixels[j, i] = part.size
            if part.size:
                values[j, i], errors[j, i], _ = clipped_mean_of(part)
    centres = [(np.array(e[1:]) + e[:-1]) / 2 - 0.5 for e in (y, x)]
    return values, errors, pixels, centres


def chebyshev_surface(image, good, size, degree):
    """Weighted fit of a Chebyshev polynomial of a total degree to bins, at all pixels."""
    counts = tuple(-(-n // size) for n in image.shape)
    values, errors, _, (yc, xc) = bins(image, counts, good)
    v, u = ((2 * c + 1) / n - 1 for c, n in zip((yc, xc), image.shape, strict=True))
    v, u = np.meshgrid(v, u, indexing="ij")
    known = np.isfinite(values)
    design = chebyshev.chebvander2d(v[known], u[known], [degree, degree])
    low = np.add.outer(np.arange(degree + 1), np.arange(degree + 1)).ravel() <= degree
    weight = 1 / errors[known]
    fit, *_ = np.linalg.lstsq(design[:, low] * weight[:, None], values[known] * weight, rcond=None)
    full = np.zeros((degree + 1) ** 2)
    full[low] = fit
    y, x = ((2 * np.arange(n) + 1) / n - 1 for n in image.shape)
    y, x = np.meshgrid(y, x, indexing="ij")
    return chebyshev.chebval2d(y, x, full.reshape(degree + 1, degree + 1))


def spline_through(values, centres, shape):
    """Natural splines along y, then x; straight on beyond the outer nodes."""

    def along(nodes, table, places):
        if len(nodes) == 1:
            return np.repeat(table, len(places), axis=0)
        if len(nodes) == 2:
            slope = (table[1] - table[0]) / (nodes[1] - nodes[0])
            return table[0] + (places - nodes[0])[:, None] * slope
        spline = CubicSpline(nodes, table, bc_type="natural")
        out = spline(np.clip(places, nodes[0], nodes[-1]))
        for end, beyond in ((nodes[0], places < nodes[0]), (nodes[-1], places > nodes[-1])):
            out[beyond] += (places[beyond] - end)[:, None] * spline(end, 1)
        return out

    rows = along(centres[0], values, np.arange(shape[0], dtype=float))
    return along(centres[1], rows.T, np.arange(shape[1], dtype=float)).T


def detected(image, variance, good, sigma, threshold, grow):
    """Pixels of objects, grown in circles, and the border where nothing is looked for."""
    width = int(7 * sigma + 0.5) // 2 * 2 + 1
    half = width // 2
    kernel = np.exp(-0.5 * ((np.arange(width) - half) / sigma) ** 2)
    kernel /= kernel.sum()
    signal, noise = np.where(good, image, 0.0), np.where(good, variance, 0.0)
    for axis in (0, 1):
        signal = correlate1d(signal, kernel, axis, mode="constant")
        noise = correlate1d(noise, kernel**2, axis, mode="constant")
    edge = np.ones(image.shape, bool)
    edge[half:-half, half:-half] = False
    peaks = (signal >= threshold * np.sqrt(noise)) & (noise > 0) & ~edge
    radius = int(grow * sigma + 0.5)
    if not peaks.any():
        return peaks, edge
    return distance_transform_edt(~peaks) <= radius, edge
