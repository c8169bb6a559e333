"""Many detectors at once: the same bits however many are in flight, on threads and on a cluster."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from cpflow import Repo
from cpflow.errors import BuildError
from cpflow.io.instrument import dump_instrument, load_instrument
from cpflow.scheduler import run_plan
from cpflow.simulate import Observation, Sequence, Truth, bias_sequence, dark_sequence, simulate


@pytest.fixture(scope="module")
def raws(tmp_path_factory):
    """Four detectors, whose flats are scaled together."""
    here = tmp_path_factory.mktemp("quad")
    camera, truth = load_instrument("quad"), Truth()
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
        simulate(here / "raws", camera, sequence, truth=truth)
    dump_instrument(camera, here / "raws" / "instrument.yaml")
    return here / "raws"


def open_repo(raws, root):
    Repo.create(root, raws / "instrument.yaml").close()
    repo = Repo(root)
    assert not repo.ingest(raws).refused
    return repo


@pytest.fixture(scope="module")
def repo(raws, tmp_path_factory):
    with open_repo(raws, tmp_path_factory.mktemp("repo") / "repo") as opened:
        yield opened


def checksums(run):
    return [(str(ref.type), str(ref.data_id), ref.checksum) for ref in run.datasets]


@pytest.fixture(scope="module")
def expected(repo):
    """One product after the other."""
    return checksums(run_plan(repo.plan("chain"), output="u/test/one", in_flight=1))


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0"
    ) as opened:
        yield opened


class Watch:
    """How many are in flight, by the events of a run."""

    def __init__(self):
        self.now: set[str] = set()
        self.most, self.events = 0, []

    def __call__(self, event):
        self.events.append(event)
        if event.kind == "started":
            self.now.add(event.product)
            self.most = max(self.most, len(self.now))
        elif event.kind in ("finished", "failed"):
            self.now.discard(event.product)


@pytest.mark.parametrize("in_flight", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_the_bits_do_not_depend_on_how_many_are_in_flight(repo, expected, in_flight):
    watch = Watch()
    run = run_plan(
        repo.plan("chain"), output=f"u/test/{in_flight}", in_flight=in_flight, listener=watch
    )
    assert checksums(run) == expected, "in the order of the plan, too"
    assert 2 <= watch.most <= in_flight
    assert not watch.now


def test_one_in_flight_is_one(repo, expected):
    watch = Watch()
    plan = repo.plan("bias", "observation_type='bias'")
    run = run_plan(plan, output_run="u/test/single", in_flight=1, listener=watch)
    assert watch.most == 1
    assert checksums(run) == [one for one in expected if one[0] == "bias"]


@pytest.mark.parametrize("in_flight", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_on_worker_processes_too(repo, expected, cluster, in_flight):
    with Client(cluster) as client:
        run = run_plan(
            repo.plan("chain"), output=f"u/test/w{in_flight}", client=client, in_flight=in_flight
        )
        left = client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))
    assert checksums(run) == expected
    assert left == 0, "the scheduler has forgotten everything"


def test_a_run_has_as_many_tasks_as_its_plan(repo):
    """Of each product; the solution over detectors is counted beside them."""
    watch = Watch()
    plan = repo.plan("chain")
    run_plan(plan, output="u/test/counted", listener=watch)
    totals = {e.product: e.total for e in watch.events if e.kind == "started"}
    done = {e.product: e.done for e in watch.events if e.kind == "progress"}
    for product in plan.products:
        if not plan.superseded(product) and product.step != "defects-again":
            if product.type == "flat":
                # What the solution has measured is read, if it was there when the tasks were
                # written: what only the two looks at each exposure took is not needed then.
                saved = product.facts.tasks - totals[product.label]
                assert 0 <= saved <= 2 * product.facts.exposures
            else:
                assert totals[product.label] == product.facts.tasks, product.label
            # Constants are no tasks to run.
            assert 0.5 * totals[product.label] < done[product.label] <= totals[product.label]
    (solution,) = plan.together
    (label,) = totals.keys() - {product.label for product in plan.products}
    assert totals[label] == pytest.approx(solution.tasks, rel=0.05)


def test_two_runs_of_one_plan_share_a_scheduler(repo, expected, cluster):
    """Neither takes what the other one has made for a promise."""
    found, errors = {}, []
    plans = {name: repo.plan("chain") for name in ("left", "right")}
    assert plans["left"].identity == plans["right"].identity

    def build(name):
        try:
            with Client(cluster, set_as_default=False) as client:
                found[name] = checksums(
                    run_plan(plans[name], output=f"u/test/{name}", client=client)
                )
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=build, args=(name,)) for name in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors[0]
    assert found == {"left": expected, "right": expected}


@pytest.fixture
def damaged(raws, tmp_path):
    """A repository in which the darks of detector 2 are cut short after ingest."""
    target = tmp_path / "raws"
    shutil.copytree(raws, target)
    with open_repo(target, tmp_path / "repo") as opened:
        for place in opened.registry.raw_places():
            exposure = opened.registry.exposure(place.exposure)
            if place.detector == 2 and exposure.observation_type == "dark":
                path = opened.store.absolute(place.path)
                os.truncate(path, path.stat().st_size // 2)
        yield opened


@pytest.mark.parametrize("in_flight", [1, 4])
def test_a_failing_detector_blocks_only_what_depends_on_it(damaged, expected, in_flight):
    with pytest.raises(BuildError) as caught:
        run_plan(damaged.plan("chain"), output="u/test/chain", in_flight=in_flight)
    refs = damaged.registry.datasets(collections=["u/test/chain"])
    made = {(ref.type, ref.data_id.detector) for ref in refs}
    # The flats are scaled by all detectors, and the second defects look at the flats.
    assert made == {
        *((kind, detector) for kind in ("bias", "defects") for detector in range(4)),
        *(("dark", detector) for detector in (0, 1, 3)),
    }
    known = {tuple(one[:2]): one[2] for one in expected if one[0] in ("bias", "dark")}
    for ref in refs:
        if ref.type != "defects":
            assert known[ref.type, str(ref.data_id)] == ref.checksum
    text = str(caught.value)
    assert text.count("is not built") == 8
    assert text.index("5 of 5 exposures cannot be used") < text.index("flat of QUAD detector 0")


def test_the_same_plan_does_the_rest_into_the_same_run(damaged, raws, expected):
    """When the cause is mended: what was published is left as it is, whatever depends on it."""
    registry = damaged.registry
    with pytest.raises(BuildError, match="the same command does the rest"):
        run_plan(damaged.plan("chain"), output="u/test/chain")
    before = {ref.id: ref for ref in registry.datasets(collections=["u/test/chain"])}
    runs = list(registry.collection("u/test/chain").children)
    files = {ref.path: damaged.store.absolute(ref.path).stat().st_ino for ref in before.values()}
    later = damaged.plan("bias", "observation_type='bias'").run(output="u/test/chain")
    for place in registry.raw_places():
        shutil.copyfile(raws / Path(place.path).name, damaged.store.absolute(place.path))

    seen = Watch()
    run = run_plan(damaged.plan("chain"), output="u/test/chain", listener=seen)
    kept = [e for e in seen.events if e.kind == "kept"]
    assert len(kept) == len(before)
    assert not [e for e in seen.events if e.kind == "started" and e.product.startswith("bias")]
    assert set(before) < {ref.id for ref in run.datasets}
    assert checksums(run) == expected
    for path, inode in files.items():
        assert damaged.store.absolute(path).stat().st_ino == inode, "it was not touched"
    assert registry.collection(run.name).state == "complete"
    # It stays where it was: the later run is still in front.
    assert list(registry.collection("u/test/chain").children) == [later.name, *runs]
    assert run.summary.done == len(run.datasets) == len(damaged.plan("chain").products)
    assert not list((damaged.root / ".staging").iterdir())
    # Once more, and it is another run: this one is done.
    assert run_plan(damaged.plan("chain"), output="u/test/chain").name != run.name


def test_a_single_graph_goes_on_beside_a_failing_detector(damaged):
    damaged.plan("bias", "observation_type='bias'").run(output="u/test/bias")
    plan = damaged.plan("dark", "observation_type='dark'", inputs=("QUAD/raw/all", "u/test/bias"))
    with pytest.raises(BuildError, match=r"1 of 4 products failed"):
        run_plan(plan, output="u/test/dark", in_flight=3)
    refs = damaged.registry.datasets(collections=["u/test/dark"])
    assert {ref.data_id.detector for ref in refs if ref.type == "dark"} == {0, 1, 3}


def test_a_solution_that_fails_fails_all_that_take_it_and_is_tried_once(repo):
    """Flats of three bands that no detector has in common cannot be compared."""
    seen = Watch()
    plan = repo.plan(
        "flat",
        "observation_type='flat'",
        inputs=("QUAD/raw/all", "u/test/one"),
        config={"isr.saturation": True},
    )
    key = plan.together[0].key

    def broken(*_):
        from cpflow.errors import DataError

        raise DataError("no level")

    layer = plan.products[0].dataset.__dask_graph__().layers[key].mapping
    node = layer[key]
    layer[key] = type(node)(key, broken, *node.args)
    with pytest.raises(BuildError, match="4 of 4 products failed") as caught:
        run_plan(plan, output_run="u/test/broken", listener=seen)
    assert str(caught.value).count("no level") == 4
    measured = [e.key for e in seen.events if e.key.startswith("measure-level-")]
    assert len(measured) == 4 * 5, "each frame once"


@pytest.mark.slow
def test_killed_with_several_in_flight_it_resumes_to_the_same_bits(raws, expected, tmp_path):
    open_repo(raws, tmp_path / "repo").close()
    command = [
        sys.executable, "-m", "cpflow", "run", "-b", str(tmp_path / "repo"), "-p", "chain",
        "-o", "u/test/killed", "-j", "2",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120

    def parts():
        return list((tmp_path / "repo" / ".staging").glob("*/bands/dark*/*.json"))

    while not parts() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "parts are done already" in done.stderr
    datasets = json.loads(done.stdout)["datasets"]
    assert [one["checksum"] for one in datasets] == [one[2] for one in expected]
