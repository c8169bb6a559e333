"""Simulated exposures of the night sky, calibrations for them, and what is left of the sky."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

import cpflow
from cpflow import Repo
from cpflow.io.instrument import dump_instrument, load_instrument, scaled
from cpflow.simulate import Observation, Sequence, Truth, bias_sequence, dark_sequence, simulate
from cpflow.simulate.dark import Dark
from cpflow.simulate.flatfield import FlatField
from cpflow.simulate.fringe import Fringe
from cpflow.simulate.stars import StarField

FRINGE_FIELD = "target_name='fringe field'"
SKY_FIELD = "target_name='sky field'"
FRINGE_HELD_OUT, SKY_HELD_OUT = 2021032200051, 2021032200151


@dataclass(frozen=True)
class Night:
    """A night's raw frames: fringes in some, another structure of the sky in others."""

    raws: Path
    instrument: Path
    fringe: np.ndarray
    """As a fraction of the sky."""
    name: str


def science(first, count, target, filter_name, **light):
    return tuple(
        Observation(
            day_obs=20210322,
            seq_num=first + i,
            type="science",
            target=target,
            filter=filter_name,
            **light,
        )
        for i in range(count)
    )


def simulate_night(
    directory,
    instrument,
    scale,
    *,
    fringes=6,
    skies=6,
    amplitude=0.03,
    structure=0.02,
    period=0.75,
    calibrations=(6, 4, 6),
    stars=1.0,
):
    """Simulate biases, darks, flats, exposures with fringes, and others with a smooth structure.

    The structure is a single wide fringe: nothing else in the simulator differs between lamp and
    sky. Its period is in sizes of the detector. `stars` multiplies their density.
    """
    camera = load_instrument(instrument)
    if scale != 1:
        camera = scaled(camera, scale)
    size = 4000 / scale
    common = {"dark": Dark(), "flat": FlatField()}
    truth = Truth(**common, fringe=Fringe(period=40.0, thickness=3.0 / scale))
    smooth = Truth(**common, fringe=Fringe(period=period * size, thickness=0.0))
    light = "RG610~empty"
    biases, darks, flats = calibrations
    lamp = tuple(
        Observation(
            day_obs=20210122, seq_num=1 + i, type="flat", exposure_time=10.0, lamp=2500.0,
            filter=light, target="flat",
        )
        for i in range(flats)
    )  # fmt: skip
    field = {"density": 150 * stars, "dither": 200 / scale}
    fringed = science(
        1, fringes, "fringe field", light, exposure_time=120.0, sky=15.0, sky_gradient=0.01,
        fringe=amplitude, stars=StarField(flux=(20, 5000), **field),
    ) + science(
        51, 1, "held out", light, exposure_time=120.0, sky=20.0, sky_gradient=0.01,
        fringe=0.6 * amplitude,
    )  # fmt: skip
    plain = science(
        101, skies, "sky field", light, exposure_time=60.0, sky=15.0, sky_gradient=0.03,
        fringe=structure, stars=StarField(flux=(20, 20000), **field),
    ) + science(
        151, 1, "held out", light, exposure_time=300.0, sky=15.0, sky_gradient=0.03,
        fringe=structure,
    )  # fmt: skip
    sequences = [
        (bias_sequence(biases, truth=truth), truth),
        (dark_sequence(darks, exposure_time=60.0, truth=truth), truth),
        (Sequence(lamp, truth=truth), truth),
        (Sequence(fringed if fringes else (), truth=truth), truth),
        (Sequence(plain if skies else (), truth=smooth), smooth),
    ]
    for number, (sequence, own) in enumerate(sequences):
        if len(sequence):
            # Another truth is another directory.
            where = directory / "raws" / ("sky" if own is smooth else "main")
            made = simulate(where, camera, sequence, truth=own)
            if number == 3:
                pattern = made.open_truth()["detectors/0"]["fringe"].values.astype(np.float64)
    dump_instrument(camera, directory / "instrument.yaml")
    return Night(
        directory / "raws",
        directory / "instrument.yaml",
        amplitude * pattern if fringes else np.zeros((0, 0)),
        camera.name,
    )


def calibrated(night, root):
    """Return an open repository with bias, dark and flat, and the collections to look in."""
    Repo.create(root, night.instrument).close()
    repo = Repo(root)
    assert not repo.ingest(night.raws).refused
    path = (f"{night.name}/raw/all",)
    for graph, config in (("bias", {}), ("dark", {"cosmic_rays.enabled": False}), ("flat", {})):
        output = f"u/test/{graph}Gen"
        repo.plan(graph, f"observation_type='{graph}'", inputs=path, config=config).run(
            output=output
        )
        path = (*path, output)
    return repo, path


def corrected(repo, night, run, exposure, plane="image", **options):
    """Put one exposure through ISR, with the product that was built, and assemble a plane of it."""
    calibrations = {
        name: repo.get(name, collections=(f"u/test/{name}Gen",), detector=0, **where)
        for name, where in (
            ("bias", {}),
            ("dark", {}),
            ("flat", {"physical_filter": "RG610~empty"}),
        )
    }
    ref = run.datasets[0]
    calibrations[ref.type] = repo.open_dataset(ref)
    detector = repo.detector(night.name, 0)
    raws = repo.select(f"exposure={exposure}")
    stack = cpflow.open_stack(detector, raws, root=str(repo.root))
    isr = cpflow.Isr(bias=True, dark=True, flat=True, variance=plane == "variance", **options)
    frames = cpflow.isr(stack, calibrations, isr).frames()
    return cpflow.assemble(frames[[plane]], detector)[plane].values[0]


def amplitude_of(image, fringes):
    """Return by how much a pattern is in an image, by least squares with a constant."""
    pattern = fringes - fringes.mean()
    return np.sum((image - image.mean()) * pattern) / np.sum(pattern**2)


def bin_means(image, size=32):
    """Return plain means of square blocks; what is left at the upper edges is cut off."""
    rows, columns = (n // size * size for n in image.shape)
    blocks = image[:rows, :columns].reshape(rows // size, size, columns // size, size)
    return blocks.mean(axis=(1, 3), dtype=np.float64)


def structure(image, size=32):
    """Return what an image has beside a level, slopes and a twist, as a fraction of the level."""
    means = bin_means(image, size)
    y, x = (np.linspace(-1, 1, n) for n in means.shape)
    y, x = np.meshgrid(y, x, indexing="ij")
    terms = np.stack([np.ones(means.size), x.ravel(), y.ravel(), (x * y).ravel()], axis=1)
    fit, *_ = np.linalg.lstsq(terms, means.ravel(), rcond=None)
    return ((means.ravel() - terms @ fit) / fit[0]).reshape(means.shape)
