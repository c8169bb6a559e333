"""Defects from darks and flats of a camera whose defects are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cpflow import Repo
from cpflow.errors import BuildError
from cpflow.io.instrument import dump_instrument, load_instrument, scaled
from cpflow.kernels.masks import paint_boxes
from cpflow.kernels.planes import BAD
from cpflow.simulate import Observation, Sequence, Truth, bias_sequence, dark_sequence, simulate
from cpflow.simulate.dark import Dark
from cpflow.simulate.defects import KINDS, Defects
from cpflow.simulate.flatfield import FlatField

INPUTS = ("LATISS/raw/all", "u/test/biasGen")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    here = tmp_path_factory.mktemp("defects")
    camera = scaled(load_instrument("latiss"), 8)
    truth = Truth(
        dark=Dark(),
        flat=FlatField(donuts=0, pixel_scatter=0.005, gradient=(0.0, 0.0), detector_scatter=0.0),
        defects=Defects(hot_pixels=3000, hot_columns=0, dead_columns=6, clusters=40, blinking=0),
    )
    flats = Sequence(
        tuple(
            Observation(
                day_obs=20210122, seq_num=1 + i, type="flat", exposure_time=10.0, lamp=3000.0,
                target="flat",
            )
            for i in range(6)
        ),
        truth=truth,
    )  # fmt: skip
    for sequence in (
        bias_sequence(12, truth=truth),
        dark_sequence(8, exposure_time=100.0, truth=truth),
        flats,
    ):
        written = simulate(here / "raws", camera, sequence, truth=truth)
    dump_instrument(camera, here / "raws" / "instrument.yaml")
    Repo.create(here / "repo", here / "raws" / "instrument.yaml").close()
    with Repo(here / "repo") as repo:
        assert not repo.ingest(here / "raws").refused
        repo.plan("bias", "observation_type='bias'").run(output="u/test/biasGen")
        yield repo, written.open_truth()["detectors/0"]


def found(repo, query, name, **config):
    run = repo.plan("defects", query, inputs=INPUTS, config=config).run(output_run=f"u/test/{name}")
    product = run.product.compute()
    boxes = np.stack([product[n].values for n in ("x0", "y0", "width", "height")], axis=1)
    mask = paint_boxes(repo.detector("LATISS", 0).shape, boxes)
    assert mask.sum() == (boxes[:, 2] * boxes[:, 3]).sum(), "boxes do not overlap"
    return product, mask


def test_hot_pixels_are_found_in_darks(made):
    """Completeness and purity of 99 % for pixels of six sigma of one exposure."""
    repo, truth = made
    product, mask = found(
        repo, "observation_type='dark'", "hot",
        **{"defects.sigma_bright": 6.0, "defects.blinking_count": None},
    )  # fmt: skip
    rate = truth["dark_rate"].values.astype(np.float64)
    hot = (truth["defect"].values & KINDS["HOT_PIXEL"]) != 0
    extra = (rate - np.median(rate)) * 100.25
    # Noise of an exposure: 9 electrons of readout, and its Poisson noise; found in more than 70 %
    # of exposures means about half a sigma above the threshold.
    sigma = np.sqrt(9.1**2 + np.median(rate) * 100)
    clear = hot & (extra > 6 * sigma + 2 * np.sqrt(sigma**2 + extra))
    assert clear.sum() > 300
    assert (mask & clear).sum() / clear.sum() >= 0.99
    assert (mask & hot).sum() / mask.sum() >= 0.99
    assert (product["n_hot"].values.sum(axis=1) > 0.9 * clear.sum()).all()


def test_dead_pixels_are_found_in_flats_and_only_there(made):
    repo, truth = made
    config = {
        "defects.threshold": "VALUE",
        "defects.flat_fraction": 0.5,
        "defects.blinking_count": None,
    }
    _, mask = found(repo, "observation_type='flat'", "dead", **config)
    dead = truth["response"].values < 0.3
    assert dead.sum() > 100
    np.testing.assert_array_equal(mask, dead)
    _, none = found(repo, "observation_type='bias'", "bias", **{"defects.threshold": "VALUE"})
    assert not none.any(), "no pixel of a bias is 1000 adu above its amplifier"


def test_kinds_are_merged_by_or_and_exposures_by_fraction(made):
    repo, _ = made
    config = {"defects.blinking_count": None, "defects.sigma_bright": 6.0}
    _, darks = found(repo, "observation_type='dark'", "d", **config)
    _, flats = found(repo, "observation_type='flat'", "f", **config)
    _, both = found(repo, "observation_type='dark' OR observation_type='flat'", "b", **config)
    np.testing.assert_array_equal(both, darks | flats)
    _, everywhere = found(repo, "observation_type='dark'", "a", **config, **{"defects.mode": "AND"})
    _, anywhere = found(repo, "observation_type='dark'", "o", **config, **{"defects.mode": "OR"})
    assert 0 < everywhere.sum() <= darks.sum() <= anywhere.sum()
    assert not (everywhere & ~darks).any()
    assert not (darks & ~anywhere).any()


def test_the_next_bias_masks_them(made):
    """Straight from the run, as the page does: its collection comes first."""
    repo, _ = made
    _, mask = found(repo, "observation_type='dark'", "use", **{"defects.sigma_bright": 8.0})
    plan = repo.plan("bias", "observation_type='bias'", inputs=("u/test/use", "LATISS/raw/all"))
    assert set(plan.products[0].calibrations) == {"defects"}
    product = plan.run(output_run="u/test/masked").product.compute()
    # Interpolated pixels are kept out; those of defects have no good input and are filled.
    np.testing.assert_array_equal((product["mask"].values & BAD) != 0, mask)
    without = repo.plan(
        "bias",
        "observation_type='bias'",
        inputs=("u/test/use", "LATISS/raw/all"),
        config={"isr.defect": False},
    ).run(output_run="u/test/unmasked")
    assert not without.product["mask"].values.any()


def test_edges_can_be_defects(made):
    repo, _ = made
    _, mask = found(
        repo, "observation_type='bias'", "edge",
        **{"defects.threshold": "VALUE", "defects.edge_rows": 2, "defects.edge_columns": 3},
    )  # fmt: skip
    expected = np.ones_like(mask)
    expected[2:-2, 3:-3] = False
    np.testing.assert_array_equal(mask, expected)


@pytest.fixture
def damaged(made):
    """The first dark's file cut short, until the test is over."""
    repo, _ = made
    one = repo.exposures("observation_type='dark'")[0]
    path = Path(repo.select(f"exposure = {one.exposure}")[0][1].path)
    content = path.read_bytes()
    path.write_bytes(content[:100000])
    yield one.exposure
    path.write_bytes(content)


def test_an_unusable_exposure_is_named_or_left_out(made, damaged):
    repo, _ = made
    query = "observation_type='dark'"
    with pytest.raises(BuildError, match=str(damaged)):
        repo.plan("defects", query, inputs=INPUTS).run(output_run="u/test/none")
    product = repo.plan("defects", query, inputs=INPUTS, drop_bad=1).run(output_run="u/test/d1")
    dropped = product.product["dropped"]
    assert list(dropped["exposure"].values[dropped.values]) == [damaged]
    assert (product.product["n_hot"].values[dropped.values] == -1).all()
