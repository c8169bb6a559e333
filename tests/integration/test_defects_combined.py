"""Defects from a combined bias, dark and flats of a camera whose defects are known."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from commands import cpflow

from cpflow import Repo
from cpflow.errors import MissingCalibrationError, UsageError
from cpflow.io.ecsv_defects import defects_product, write_defects
from cpflow.io.instrument import dump_instrument, load_instrument, scaled
from cpflow.kernels.masks import paint_boxes
from cpflow.registry import DatasetType
from cpflow.repo import Repository
from cpflow.simulate import Observation, Sequence, Truth, bias_sequence, dark_sequence, simulate
from cpflow.simulate.dark import Dark
from cpflow.simulate.defects import KINDS, Defects
from cpflow.simulate.flatfield import FlatField

RAW = "LATISS/raw/all"
# Runs: a chain would bring its inputs along.
PRODUCTS = ("u/test/flat", "u/test/dark", "u/test/bias")
INPUTS = (RAW, *PRODUCTS)
FILTERS = ("RG610~empty", "empty~empty")
BIASES, DARKS, SECONDS, FLATS, ELECTRONS = 12, 8, 100.0, 6, 30000.0
SCATTER, DEPTH = 0.005, 0.06


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    here = tmp_path_factory.mktemp("combined")
    camera = scaled(load_instrument("latiss"), 8)
    truth = Truth(
        dark=Dark(),
        flat=FlatField(donuts=0, pixel_scatter=SCATTER, gradient=(0.0, 0.0), detector_scatter=0.0),
        defects=Defects(
            hot_pixels=6000, hot_rate=(0.05, 20.0), hot_columns=0, dead_columns=10, clusters=100,
            dead_response=1 - DEPTH, blinking=0,
        ),
    )  # fmt: skip
    flats = Sequence(
        tuple(
            Observation(
                day_obs=20210122, seq_num=1 + i, type="flat", exposure_time=10.0,
                lamp=ELECTRONS / 10, filter=FILTERS[i % 2], target="flat",
            )
            for i in range(2 * FLATS)
        ),
        truth=truth,
    )  # fmt: skip
    for sequence in (
        bias_sequence(BIASES, truth=truth),
        dark_sequence(DARKS, exposure_time=SECONDS, truth=truth),
        flats,
    ):
        written = simulate(here / "raws", camera, sequence, truth=truth)
    dump_instrument(camera, here / "raws" / "instrument.yaml")
    Repo.create(here / "repo", here / "raws" / "instrument.yaml").close()
    with Repo(here / "repo") as repo:
        assert not repo.ingest(here / "raws").refused
        repo.plan("bias", "observation_type='bias'").run(output_run="u/test/bias")
        repo.plan("dark", "observation_type='dark'", inputs=(RAW, "u/test/bias")).run(
            output_run="u/test/dark"
        )
        repo.plan("flat", "observation_type='flat'", inputs=(RAW, *PRODUCTS[1:])).run(
            output_run="u/test/flat"
        )
        yield repo, written.open_truth()["detectors/0"]


@pytest.fixture
def own(made, tmp_path):
    """The repository, to be written to."""
    root = tmp_path / "repo"
    shutil.copytree(made[0].root, root)
    with Repo(root) as repo:
        yield repo


def painted(repo, product):
    boxes = np.stack([product[n].values for n in ("x0", "y0", "width", "height")], axis=1)
    return paint_boxes(repo.detector("LATISS", 0).shape, boxes)


# LATISS masks five pixels at its edge, and columns with a thousand defects; both are tested apart.
PLAIN = {"defects.edge_rows": 0, "defects.edge_columns": 0, "defects.column_bad_count": None}


def built(repo, name, inputs=INPUTS, query="", **config):
    plan = repo.plan("defects_combined", query, inputs=inputs, config={**PLAIN, **config})
    run = plan.run(output_run=f"u/test/{name}")
    product = run.product.compute()
    return run, product, painted(repo, product)


def ref(repo, product, **where):
    return repo.find(product, collections=list(PRODUCTS), detector=0, **where)


SIX_SIGMA = {
    "defects.threshold": "STDEV",
    "defects.threshold_bias": "VALUE",
    "defects.sigma_bright": 6.0,
    "defects.sigma_dark": -6.0,
    "defects.blinking_count": None,
}


def test_completeness_and_purity_at_six_sigma(made):
    repo, truth = made
    _, product, mask = built(repo, "six", **SIX_SIGMA)
    gain = np.empty(mask.shape)
    for amplifier in repo.detector("LATISS", 0):
        gain[amplifier.detector_box.rows, amplifier.detector_box.columns] = amplifier.gain
    rate = truth["dark_rate"].values.astype(np.float64)
    extra = rate - np.median(rate)
    # Noise of a combined dark, electron/s: readout (at most 10.3 electrons) and Poisson noise of an
    # exposure, and the readout noise of the bias, which is common to all exposures. Clipping of
    # eight loses a little of what averaging gains: 10 %. A pixel is sure to be beyond six sigma of
    # its amplifier if it is so by three of its own, with the Poisson noise that it has itself.
    readout = 10.3
    seconds = SECONDS + 0.25

    def noise(electrons):
        return 1.1 * np.sqrt((readout**2 + electrons) / DARKS + readout**2 / BIASES) / seconds

    typical = noise(np.median(rate) * seconds)
    hot = (truth["defect"].values & KINDS["HOT_PIXEL"]) != 0
    clear_hot = hot & (extra > 6 * typical + 3 * noise(np.maximum(rate, 0) * seconds))
    assert clear_hot.sum() > 500
    # A flat scatters by 0.5 % of pixel response and 0.24 % of photon noise of six exposures, and
    # dead pixels are 6 % deep: 10.9 sigma, five beyond the threshold.
    sigma = np.hypot(SCATTER, np.sqrt((ELECTRONS + readout**2) / FLATS) / ELECTRONS)
    dead = (truth["defect"].values & (KINDS["DEAD_COLUMN"] | KINDS["DEAD_CLUSTER"])) != 0
    assert (6 + 4) * sigma < DEPTH
    assert dead.sum() > 500
    for clear in (clear_hot, dead):
        assert (mask & clear).sum() / clear.sum() >= 0.99
    assert (mask & (hot | dead)).sum() / mask.sum() >= 0.99
    counts = product.sum("amp").set_index(source="source")
    assert 0.99 * clear_hot.sum() < int(counts["hot_pixels"].sel(source="dark")) <= hot.sum() * 1.01
    for name in FILTERS:
        assert int(counts["cold_pixels"].sel(source=f"flat {name}")) >= 0.99 * dead.sum()
    assert list(product["source"].values) == ["bias", "dark", *(f"flat {n}" for n in FILTERS)]
    assert product["amp"].size == 16


def test_by_value_what_is_hotter_or_darker_than_the_limits(made):
    """The defaults, with limits between what there is: 3 electron/s, 97 % of the level."""
    repo, truth = made
    _, _, mask = built(repo, "value", **{"defects.flat_fraction": 0.97})
    rate, response = truth["dark_rate"].values, truth["response"].values
    extra = rate - np.median(rate)
    # Noise of a dark at 3 electron/s is 0.07 electron/s and its level is known much better; a
    # flat's photon noise is 0.24 %. Five of these on either side are left open.
    must = (extra > 3.35) | (response < 0.97 - 0.012)
    cannot = (extra < 2.65) & (response > 0.97 + 0.012)
    assert must.sum() > 500
    assert (mask | ~must).all()
    assert not (mask & cannot).any()


def test_lineage_and_provenance_name_the_calibrations(made):
    repo, _ = made
    run, _, _ = built(repo, "lineage")
    (dataset,) = run.datasets
    used = repo.registry.lineage(dataset.id)
    flats = {ref(repo, "flat", physical_filter=name).id for name in FILTERS}
    assert set(used.datasets) == {ref(repo, "bias").id, ref(repo, "dark").id, *flats}
    assert not used.raws, "no exposure was read"
    assert {s["id"] for s in dataset.provenance["calibrations"]["flat"]} == flats
    assert dataset.provenance["raws"] == []
    assert dataset.provenance["config"]["defects.mode"] == "OR"
    assert dataset.provenance["summary"]["boxes"] > 0
    rows = cpflow("lineage", repo.root, "dataset", dataset.id, "--format", "json").json
    assert sorted(r["type"] for r in rows if r["relation"] == "made with") == [
        "bias", "dark", "flat", "flat"
    ]  # fmt: skip


def test_the_command_shows_what_it_would_do_and_does_it(own):
    arguments = ["run", "-b", own.root, "-p", "defects_combined", "-o", "u/me/defects"]
    for name in INPUTS:
        arguments += ["-i", name]
    query = "instrument='LATISS' AND detector=0 AND observation_type='flat'"
    plan = cpflow(*arguments, "-d", query, "--dry-run", "--json").json
    (product,) = plan["products"]
    assert sorted(product["calibrations"]) == ["bias", "dark", "flat"]
    assert all(name in str(product["calibrations"]["flat"]) for name in FILTERS)
    assert "u/me/defects" not in own.registry.collection_names()
    assert "dry run" in cpflow(*arguments, "-d", query, "--dry-run").stdout
    cpflow(*arguments, "-d", query)
    first = own.get("defects", collections="u/me/defects", detector=0).compute()
    # The exposures only say which calibrations are meant.
    again = own.plan("defects_combined", "", inputs=INPUTS).run(output_run="u/me/all")
    np.testing.assert_array_equal(first["x0"], again.product["x0"])
    own.certify(again, "LATISS/calib/defects", begin="2021-01-01")
    (certified,) = own.certified("LATISS/calib/defects")
    assert certified.dataset.type == "defects"
    plan = own.plan("bias", "observation_type='bias'", inputs=(RAW, "LATISS/calib/defects"))
    assert set(plan.products[0].calibrations) == {"defects"}


def test_what_is_missing_is_done_without(made):
    repo, _ = made
    everything = built(repo, "all", **SIX_SIGMA)[2]
    config = SIX_SIGMA
    without, product, mask = built(repo, "nodark", (RAW, PRODUCTS[0], PRODUCTS[2]), **config)
    assert set(without.plan.products[0].calibrations) == {"bias", "flat"}
    assert "dark" not in product["source"].values
    _, _, dark = built(repo, "onlydark", (RAW, PRODUCTS[1]), **config)
    np.testing.assert_array_equal(mask | dark, everything)
    assert 0 < mask.sum() < everything.sum()
    with pytest.raises(MissingCalibrationError, match="neither bias nor dark nor flat"):
        repo.plan("defects_combined", inputs=(RAW,))


def test_exposures_name_the_flats_of_their_filters(made):
    repo, _ = made
    flat = repo.plan(
        "flat", f"observation_type='flat' AND physical_filter='{FILTERS[0]}'", inputs=INPUTS
    ).run(output_run="u/test/one")

    def sources(query, *inputs):
        plan = repo.plan("defects_combined", query, inputs=(RAW, *inputs))
        return {k: v.sources for k, v in plan.products[0].calibrations.items()}, plan

    # Biases were taken through the other filter: they name its flat.
    found, _ = sources("observation_type='bias'", *PRODUCTS)
    assert [one.data_id.physical_filter for one in found["flat"]] == [FILTERS[1]]
    # Where some exposures name a flat and others, of another filter, none, that one is meant.
    found, plan = sources("", *PRODUCTS[1:], "u/test/one")
    assert [one.id for one in found["flat"]] == [flat.datasets[0].id]
    assert set(plan.products[0].calibrations["flat"].index) == {0, -1}
    product = plan.run(output_run="u/test/partly").product
    assert list(product["source"].values) == ["bias", "dark", f"flat {FILTERS[0]}"]


def test_of_products_of_the_same_plan(made, tmp_path):
    """In a chain: the same bits as from products that were there."""
    repo, _ = made
    chain = tmp_path / "mine.py"
    chain.write_text(
        '"""Mine."""\nCHAIN = {"bias": {}, "dark": {}, "flat": {}, '
        f'"defects_combined": {{"config": {PLAIN}}}}}\n'
    )
    plan = repo.plan(str(chain), inputs=(RAW,))
    run = plan.run(output_run="u/test/chain")
    (defects,) = (one for one in run.datasets if one.type == "defects")
    others = {one.id for one in run.datasets} - {defects.id}
    assert set(repo.registry.lineage(defects.id).datasets) == others
    single, _, _ = built(repo, "single")
    assert single.datasets[0].checksum == defects.checksum


@pytest.fixture
def noted(tmp_path):
    """Defects that somebody noted, in the layout of curated calibrations."""
    boxes = np.array([[100, 50, 30, 2], [0, 0, 3, 3]])
    product = defects_product(boxes, instrument="LATISS", detector=0)
    place = tmp_path / "curated" / "latiss" / "manual_defects" / "rxx_s00"
    write_defects(place / "20210101T000000.ecsv", product, {})
    return tmp_path / "curated", boxes


def test_defects_by_hand_are_brought_in_and_added(own, noted):
    directory, boxes = noted
    _, _, before = built(own, "before")
    said = cpflow("curated", own.root, directory).stdout
    assert "manual_defects" in said
    assert "certified already" in cpflow("curated", own.root, directory).stdout
    run, product, mask = built(own, "after", (*INPUTS, "LATISS/calib"))
    by_hand = paint_boxes(mask.shape, boxes)
    assert (by_hand & ~before).any()
    np.testing.assert_array_equal(mask, before | by_hand)
    assert "manual_defects" not in product["source"].values
    (manual,) = own.registry.datasets("manual_defects")
    assert manual.id in own.registry.lineage(run.datasets[0].id).datasets
    # And to those of single exposures.
    config = {"defects.threshold": "VALUE"}
    query = "observation_type='bias'"
    exposures = own.plan("defects", query, inputs=(*INPUTS, "LATISS/calib"), config=config).run(
        output_run="u/test/single_exposures"
    )
    np.testing.assert_array_equal(painted(own, exposures.product.compute()), by_hand)


def test_by_hand_alone_is_no_search(own, noted):
    cpflow("curated", own.root, noted[0])
    with pytest.raises(MissingCalibrationError, match="neither bias nor dark nor flat"):
        own.plan("defects_combined", inputs=(RAW, "LATISS/calib"))


def test_an_older_repository_gets_the_type_by_its_upgrade(own, noted):
    own.registry.remove_dataset_type("manual_defects")
    with pytest.raises(UsageError, match="older cpflow and cannot hold manual_defects") as caught:
        own.write_curated(noted[0])
    assert "doctor" in caught.value.hint
    assert "--upgrade" in caught.value.hint
    # Without any, everything else works as before.
    assert set(own.plan("defects_combined", inputs=INPUTS).products[0].calibrations) == {
        "bias", "dark", "flat"
    }  # fmt: skip
    Repository.upgrade(own.root)
    kinds = own.registry.dataset_types("manual_defects")
    assert kinds == [DatasetType("manual_defects", ("instrument", "detector"), True)]
    assert own.write_curated(noted[0]).certified
