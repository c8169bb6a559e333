"""Plans of many detectors: how many tasks, how much memory, how long; nothing is computed."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

from cpflow.io.instrument import load_instrument
from cpflow.plan import choose_band_rows, project, promise_key, task_keys
from cpflow.plan.memory import (
    MOST_HELD,
    MOST_TASKS,
    band_memory,
    finish_memory,
    most_bands,
    scheduler_memory,
)
from cpflow.plan.projection import SCHEDULER_TASK_SECONDS

EXPOSURES, DETECTORS = 6, 8
FULL = load_instrument("lsstcam").camera.detectors[0]


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    """Eight detectors of LSSTCam at full size, without pixels."""
    sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))
    try:
        from focal_plane_scene import make
    finally:
        sys.path.pop(0)
    with make(tmp_path_factory.mktemp("focal-plane") / "repo", EXPOSURES, DETECTORS) as opened:
        yield opened


def planned(repo, graph, detectors=DETECTORS, **options):
    query = f"exposure.observation_type='{graph}' AND detector < {detectors}"
    return repo.plan(graph, query, **options)


def kinds(product):
    return Counter(str(key).split("-")[0].strip("('") for key in task_keys(product.dataset))


def test_a_bias_has_a_look_at_each_exposure_and_two_tasks_a_band(repo):
    plan = planned(repo, "bias")
    for product in plan.products:
        found = kinds(product)
        assert found["measure"] == EXPOSURES
        assert found["combine"] == product.facts.bands + 1, "and the reduction itself"
        assert "from" not in found, "no task that only renames another one"
        # A write for each band, one for the small variables, one to put it together.
        assert product.facts.tasks == found.total() + product.facts.bands + 2
        assert product.facts.tasks < EXPOSURES + 2 * product.facts.bands + 25
    assert plan.together == ()
    assert plan.tasks == sum(p.facts.tasks for p in plan.products)


def test_detectors_that_are_solved_together_have_their_own_tasks_and_the_solution_once(repo):
    few, many = planned(repo, "flat", 4), planned(repo, "flat")
    assert few.products[0].facts == many.products[0].facts, "as many tasks, whoever else there is"
    (solution,) = many.together
    assert solution.parts == DETECTORS
    assert solution.kinds["measure-level"] == DETECTORS * EXPOSURES
    assert many.tasks == sum(p.facts.tasks for p in many.products) + solution.tasks
    (half,) = few.together
    assert half.tasks / 4 == pytest.approx(solution.tasks / DETECTORS, rel=0.01)
    # Every frame: overscan, level and bands of each product, overscan and level for the solution.
    size = sum(raw.size for p in many.products for _, raw in p.raws)
    assert many.bytes_to_read == size * (3 + 2)


def test_the_solution_is_one_object_however_many_take_it(repo):
    plan = planned(repo, "flat")
    (key,) = (solution.key for solution in plan.together)
    layers = {id(p.dataset.__dask_graph__().layers[key].mapping) for p in plan.products}
    assert len(layers) == 1


def test_what_decides_a_flat_is_hashed_with_all_detectors(repo):
    few, many = planned(repo, "flat", 4), planned(repo, "flat")
    assert few.products[0].token != many.products[0].token
    assert planned(repo, "flat").identity == many.identity


def test_keys_follow_from_what_decides_the_values(repo):
    """Those of products of the same plan that are not built, too."""
    query = "exposure.observation_type IN ('bias', 'dark') AND detector < 2"
    first, again = (repo.plan("chain", query) for _ in range(2))
    for one, other in zip(first.products, again.products, strict=True):
        assert set(task_keys(one.dataset)) == set(task_keys(other.dataset)), one.label
    dark = next(p for p in first.products if p.type == "dark")
    assert {promise_key(source) for source in dark.promises} <= set(task_keys(dark.dataset))
    other = next(p for p in first.products if p.type == "dark" and p is not dark)
    shared = set(task_keys(dark.dataset)) & set(task_keys(other.dataset))
    assert not {key for key in shared if str(key).startswith(("measure", "promise"))}


def test_superseded_products_are_those_that_come_again(repo):
    query = "exposure.observation_type IN ('bias', 'dark', 'flat') AND detector < 3"
    plan = repo.plan("chain", query)
    made = [(p.type, p.detector.id, p.physical_filter) for p in plan.products]
    expected = [one in made[i + 1 :] for i, one in enumerate(made)]
    assert [plan.superseded(p) for p in plan.products] == expected
    assert sum(expected) == 3, "the first defects of each detector"


# -- bands -----------------------------------------------------------------------------------------


def test_bands_are_bounded_where_a_plan_would_have_too_many_tasks():
    memory, exposures = 2**27, 400
    low = choose_band_rows(FULL, exposures, memory)
    most = most_bands(189, exposures)
    rows = FULL.imaging_shape[0]
    assert 189 * (3 * exposures + 2 * -(-rows // low)) > MOST_TASKS
    high = choose_band_rows(FULL, exposures, memory, most=most)
    assert high > low
    assert memory < band_memory(FULL, exposures, high) <= finish_memory(FULL, low)
    assert band_memory(FULL, exposures, low) <= memory


@pytest.mark.parametrize("products", [1, 10, 189])
def test_bands_within_the_bound_are_left_alone(products):
    assert choose_band_rows(FULL, 60, 2**27) == choose_band_rows(
        FULL, 60, 2**27, most=most_bands(products, 60)
    )


def test_the_plan_says_that_its_bands_take_more_than_was_asked_for(repo, monkeypatch):
    assert planned(repo, "bias").notes == ()
    small = 2**23
    usual = planned(repo, "bias", task_memory=small)
    assert usual.task_memory
    assert usual.notes == ()
    monkeypatch.setattr("cpflow.plan.memory.MOST_TASKS", DETECTORS * 100)
    bounded = planned(repo, "bias", task_memory=small)
    note = bounded.notes[0]
    height, low = bounded.products[0].facts.band_rows, usual.products[0].facts.band_rows
    assert height > low
    assert f"have {height} rows" in note
    assert f"--band-rows {low}" in note
    assert bounded.tasks < usual.tasks
    asked = planned(repo, "bias", task_memory=small, band_rows=low)
    assert asked.products[0].facts.band_rows == low
    assert asked.notes == ()


# -- in flight, scheduler, time --------------------------------------------------------------------


def test_products_in_flight_grow_with_cores_and_never_beyond_the_plan(repo):
    plan = planned(repo, "bias")
    numbers = [plan.in_flight(cores) for cores in (1, 2, 10, 100, 10_000)]
    assert numbers == sorted(numbers)
    assert numbers[0] == 2, "the next one begins while the last tasks of one run"
    assert numbers[-1] == DETECTORS
    assert planned(repo, "bias", 1).in_flight(100) == 1


def test_what_is_in_flight_is_bounded_by_tasks_too(repo, monkeypatch):
    plan = planned(repo, "bias")
    tasks = plan.products[0].facts.tasks
    assert tasks * DETECTORS < MOST_HELD
    monkeypatch.setattr("cpflow.plan.plan.MOST_HELD", 3 * tasks)
    assert plan.in_flight(10_000) == 3


def test_the_scheduler_holds_what_is_in_flight(repo):
    plan = planned(repo, "bias")
    for cores in (2, 100):
        held = plan.in_flight(cores) * plan.products[0].facts.tasks
        assert plan.scheduler_memory(cores) == scheduler_memory(held, cores)
    flat = planned(repo, "flat")
    (solution,) = flat.together
    part = solution.tasks / solution.parts
    held = flat.in_flight(100) * max(part, max(p.facts.tasks for p in flat.products))
    assert flat.scheduler_memory(100) == pytest.approx(scheduler_memory(int(held), 100), rel=1e-3)


def test_the_projection_is_the_sum_of_its_tasks(repo):
    plan = planned(repo, "bias")
    found = project(plan, 100)
    raw = 16 * 2048 * 576 / 1e6
    expected = 0.0
    for product in plan.products:
        pixels = product.detector.shape[0] * product.detector.shape[1] / 1e6
        # One look and one pass through bands for each exposure, then the product.
        expected += EXPOSURES * raw * (0.0044 + 0.0050) + pixels * 0.135
    assert found.core_seconds == pytest.approx(expected, rel=1e-9)
    assert found.scheduler_seconds == plan.tasks * SCHEDULER_TASK_SECONDS
    assert found.last_seconds < expected / DETECTORS
    assert found.computing_seconds == max(expected / 100, found.scheduler_seconds) + (
        found.last_seconds
    )


def test_more_cores_and_a_faster_file_system_are_never_slower(repo):
    for graph in ("bias", "dark", "flat"):
        plan = planned(repo, graph)
        seconds = [project(plan, cores).computing_seconds for cores in (1, 10, 100, 1000)]
        assert seconds == sorted(seconds, reverse=True)
        slow = project(plan, 1000, file_system=2**20)
        assert slow.seconds == pytest.approx(plan.bytes_to_read / 2**20, rel=0.01)
        assert slow.computing_seconds == project(plan, 1000).computing_seconds


def test_a_dry_run_says_all_of_it(repo):
    from click.testing import CliRunner

    from cpflow.cli.run import command, describe

    plan = planned(repo, "bias")
    hundred, thousand = describe(plan)["on_cores"]
    assert (hundred["cores"], thousand["cores"]) == (100, 1000)
    for found in (hundred, thousand):
        assert found["scheduler_memory"] == plan.scheduler_memory(found["cores"])
        assert found["seconds"] == project(plan, found["cores"]).seconds
        assert any("assumed, not measured" in text for text in found["assumptions"])
    shown = CliRunner().invoke(
        command, ["-b", str(repo.root), "-p", "bias", "-d", plan.query, "--dry-run"]
    )
    assert shown.exit_code == 0, shown.output
    assert f"{DETECTORS} products: {plan.tasks} tasks" in shown.output
    assert "on 1000 cores: " in shown.output
    assert "for the scheduler" in shown.output
