"""The whole chain in one submission: the same products as one graph after the other."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from distributed import Client, LocalCluster

from cpflow import Repo
from cpflow.errors import BuildError, ConfigurationError, MissingCalibrationError, UsageError
from cpflow.io.instrument import dump_instrument, load_instrument, scaled
from cpflow.simulate import Observation, Sequence, Truth, bias_sequence, dark_sequence, simulate

FILTERS = ("RG610~empty", "empty~empty")


@pytest.fixture(scope="module")
def raws(tmp_path_factory):
    here = tmp_path_factory.mktemp("chain")
    camera = scaled(load_instrument("latiss"), 16)
    truth = Truth.complete()
    flats = Sequence(
        tuple(
            Observation(
                day_obs=20210122,
                seq_num=1 + i,
                type="flat",
                exposure_time=10.0,
                lamp=2500.0,
                filter=FILTERS[i % 2],
                target="flat",
            )
            for i in range(12)
        ),
        truth=truth,
    )
    for sequence in (
        bias_sequence(8, truth=truth),
        dark_sequence(6, exposure_time=30.0, truth=truth),
        flats,
    ):
        simulate(here / "raws", camera, sequence, truth=truth)
    dump_instrument(camera, here / "raws" / "instrument.yaml")
    return here / "raws"


@pytest.fixture
def repo(raws, tmp_path):
    Repo.create(tmp_path / "repo", raws / "instrument.yaml").close()
    with Repo(tmp_path / "repo") as opened:
        opened.ingest(raws)
        yield opened


def by_place(run):
    return {(ref.type, ref.data_id.physical_filter, ref.run): ref for ref in run.datasets}


def test_one_plan_makes_what_one_graph_after_the_other_makes(repo):
    plan = repo.plan("chain")
    assert [p.step for p in plan.products] == [
        "bias", "defects", "dark", "flat", "flat", "defects-again"
    ]  # fmt: skip
    run = plan.run(output="u/test/chain")
    raw = "LATISS/raw/all"
    steps = [
        ("bias", "", (raw,), {}),
        ("defects", "observation_type='bias'", (raw, "u/s/bias"), {}),
        ("dark", "", (raw, "u/s/defects", "u/s/bias"), {}),
        ("flat", "", (raw, "u/s/dark", "u/s/defects", "u/s/bias"), {}),
        (
            "defects",
            "observation_type IN ('bias', 'flat')",
            (raw, "u/s/flat", "u/s/dark", "u/s/bias"),
            {"isr.dark": True, "isr.flat": True},
        ),
    ]
    single = []
    for number, (graph, query, inputs, config) in enumerate(steps):
        output = f"u/s/{graph}" if number < 4 else "u/s/again"
        single += repo.plan(graph, query, inputs=inputs, config=config).run(output=output).datasets
    assert [ref.checksum for ref in run.datasets] == [ref.checksum for ref in single]


def test_what_is_made_again_is_in_force_and_the_first_is_kept_behind_it(repo):
    run = repo.plan("chain").run(output="u/test/chain")
    first, again = (ref for ref in run.datasets if ref.type == "defects")
    assert first.run == f"{run.name}/defects"
    assert again.run == run.name
    found = repo.get("defects", collections="u/test/chain", detector=0)
    expected = repo.open_dataset(again)
    np.testing.assert_array_equal(found["x0"].values, expected["x0"].values)
    dark = next(ref for ref in run.datasets if ref.type == "dark")
    bias = next(ref for ref in run.datasets if ref.type == "bias")
    assert set(repo.registry.lineage(dark.id).datasets) == {bias.id, first.id}
    flats = {ref.id for ref in run.datasets if ref.type == "flat"}
    assert set(repo.registry.lineage(again.id).datasets) == {bias.id, dark.id, *flats}
    # One command certifies what is in force.
    repo.certify(run, "LATISS/calib/all", begin="2021-01-01")
    assert len(repo.certified("LATISS/calib/all")) == 5


def test_on_worker_processes_the_bits_are_the_same(repo):
    threads = repo.plan("chain").run(output="u/test/threads")
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster) as client,
    ):
        cluster_run = repo.plan("chain").run(client, output="u/test/cluster")
    assert [r.checksum for r in threads.datasets] == [r.checksum for r in cluster_run.datasets]


def test_a_product_without_its_input_is_refused_with_the_missing_one_named(repo, caplog):
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(MissingCalibrationError, match="graph flat needs a dark"),
    ):
        repo.plan("chain", "observation_type IN ('bias', 'flat')")
    assert "step dark is left out" in caplog.text
    # A dark that is certified does.
    darks = repo.plan("chain", "observation_type IN ('bias', 'dark')").run(output="u/test/darks")
    repo.certify(darks, "LATISS/calib", "dark")
    plan = repo.plan("chain", "observation_type IN ('bias', 'flat')")
    assert "dark" not in {p.type for p in plan.products}


def test_nothing_can_be_computed_from_what_is_not_built(repo):
    dark = next(p for p in repo.plan("chain").products if p.type == "dark")
    with pytest.raises(MissingCalibrationError, match="bias of LATISS detector 0 is not built"):
        dark.dataset["image"][0, 0, 0].compute()


def test_a_failure_blocks_only_what_depends_on_it(repo, raws):
    config = {"dark.cosmic_rays.max_pixels": 1}
    plan = repo.plan("chain", config=config)
    with pytest.raises(BuildError) as caught:
        plan.run(output="u/test/chain")
    text = str(caught.value)
    assert "more than 1 pixels look like cosmic rays" in text
    assert text.count("is not built: the dark that it needs failed") == 3
    made = {ref.type for ref in repo.registry.datasets(collections=["u/test/chain"])}
    assert made == {"bias", "defects"}


def test_values_of_one_step_and_of_all(repo):
    plan = repo.plan("chain", config={"bias.combine.clip": 4.0, "isr.empirical_read_noise": True})
    clips = {p.step: p.resolved.as_dict().get("combine.clip") for p in plan.products}
    assert clips["bias"] == 4.0
    assert clips["dark"] == 3.0
    assert all(p.resolved.as_dict()["isr.empirical_read_noise"] for p in plan.products)
    with pytest.raises(ConfigurationError, match=r"no step of chain chain .*combine\.clap"):
        repo.plan("chain", config={"combine.clap": 1})


@pytest.fixture
def quad(tmp_path):
    """Four detectors, whose flats are scaled together."""
    camera = load_instrument("quad")
    truth = Truth()
    flats = Sequence(
        tuple(
            Observation(
                day_obs=20210122, seq_num=1 + i, type="flat", exposure_time=10.0, lamp=2500.0,
                filter="r", target="flat",
            )
            for i in range(5)
        ),
        truth=truth,
    )  # fmt: skip
    for sequence in (bias_sequence(6, truth=truth), dark_sequence(5, truth=truth), flats):
        simulate(tmp_path / "raws", camera, sequence, truth=truth)
    dump_instrument(camera, tmp_path / "raws" / "instrument.yaml")
    Repo.create(tmp_path / "repo", tmp_path / "raws" / "instrument.yaml").close()
    with Repo(tmp_path / "repo") as opened:
        opened.ingest(tmp_path / "raws")
        yield opened


def test_detectors_that_are_scaled_together_take_each_others_products(quad):
    run = quad.plan("chain").run(output="u/test/chain")
    assert len(run.datasets) == 20
    flat = next(r for r in run.datasets if r.type == "flat" and r.data_id.detector == 0)
    used = quad.registry.lineage(flat.id)
    darks = {r.id for r in run.datasets if r.type == "dark"}
    assert darks <= set(used.datasets), "the darks of all four decide the scale"
    assert {raw.detector for raw in used.raws} == {0, 1, 2, 3}


def test_a_flat_waits_for_the_darks_of_all_detectors(quad):
    """So that one that fails blocks all that are scaled with it."""
    plan = quad.plan("chain")
    darks = {p.slug for p in plan.products if p.type == "dark"}
    assert len(darks) == 4
    flats = [p for p in plan.products if p.type == "flat"]
    assert len(flats) == 4
    for flat in flats:
        assert darks <= {source.slug for source in flat.promises}


def test_names_of_runs_that_are_taken_are_refused_before_anything_runs(repo):
    query = "observation_type IN ('bias', 'flat', 'dark')"
    repo.plan("chain", query).run(output_run="u/test/one")
    repo.remove_runs("u/test/one", force=True)
    left = set(repo.registry.collection_names())
    assert "u/test/one/defects" in left
    with pytest.raises(UsageError, match="run u/test/one/defects exists"):
        repo.plan("chain", query).run(output_run="u/test/one")


def test_a_step_called_as_a_group_of_values_takes_both_spellings(repo):
    for key in ("defects.mode", "defects.defects.mode"):
        plan = repo.plan("chain", "observation_type='bias'", config={key: "OR"})
        (defects,) = (p for p in plan.products if p.step == "defects")
        assert defects.resolved.as_dict()["defects.mode"] == "OR"
    # Without flats there is nothing to find again.
    assert [p.step for p in plan.products] == ["bias", "defects"]


def test_what_cannot_be_is_refused_with_the_step_named(repo, tmp_path):
    with pytest.raises(ConfigurationError, match=r"step dark: isr\.variance is off"):
        repo.plan("chain", config={"dark.isr.variance": False})
    path = tmp_path / "odd.py"
    path.write_text('"""Odd."""\nCHAIN = {"darkAgain": {"graph": "dark"}}\n')
    with pytest.raises(UsageError, match="'darkAgain' cannot be the name of a step"):
        repo.plan(str(path))


def test_a_corrected_record_is_another_plan(repo):
    from dataclasses import replace

    before = repo.plan("dark", inputs=("LATISS/raw/all",), config={"isr.bias": False})
    e, raw = before.products[0].raws[0]
    product = before.products[0]
    longer = (replace(e, dark_time=2 * e.dark_time), raw)
    changed = replace(product, raws=(longer, *product.raws[1:]))
    assert changed.token != product.token
