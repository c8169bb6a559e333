"""Killed in the middle of a run: nothing visible, and the same command ends with the same bits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from cpflow import Repo
from cpflow.errors import UsageError
from cpflow.io.zarr_product import content_hash
from cpflow.scheduler.bands import finished_band, read_band, write_band

QUERY = "instrument='LATISS' AND detector=0"


def command(root, *more):
    return [
        sys.executable, "-m", "cpflow", "run", "-b", str(root), "-p", "bias", "-d", QUERY,
        "-j", "1", "--band-rows", "3", *more,
    ]  # fmt: skip


@pytest.mark.parametrize("bands_before_the_kill", [1, 5, 20])
def test_a_killed_run_resumes_to_identical_bits(repo, bands_before_the_kill):
    reference = content_hash(repo.plan("bias", QUERY).run(output_run="u/test/whole").product)
    names = set(repo.registry.collection_names())
    process = subprocess.Popen(
        command(repo.root, "-o", "u/test/killed"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    staged: list = []
    deadline = time.monotonic() + 120
    while len(staged) < bands_before_the_kill and process.poll() is None:
        assert time.monotonic() < deadline, "no bands appeared"
        staged = list((repo.root / ".staging").glob("*/bands/*/band-*.json"))
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors.decode()

    assert set(repo.registry.collection_names()) == names, "no collection of the killed run"
    assert not list((repo.root / "products" / "u" / "test").glob("killed*"))
    done = {
        path.name: path.stat().st_mtime_ns
        for path in (repo.root / ".staging").glob("*/bands/*/*.json")
    }
    (run_facts,) = (repo.root / ".staging").glob("*/run.json")
    started = json.loads(run_facts.read_text())["run"]

    finished = subprocess.run(
        command(repo.root, "-o", "u/test/killed"), capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert f"resuming run {started}" in finished.stderr
    assert f"{len(done)} of" in finished.stderr, "the bands that were done are kept"
    product = repo.get("bias", collections="u/test/killed", detector=0)
    assert content_hash(product) == reference
    assert not list((repo.root / ".staging").iterdir()), "nothing is left behind"


def test_a_changed_plan_does_not_take_old_bands(repo):
    plan = repo.plan("bias", QUERY)
    other = repo.plan("bias", QUERY, config={"combine.clip": 2.0})
    assert plan.identity != other.identity
    assert plan.identity == repo.plan("bias", QUERY).identity
    assert plan.identity != repo.plan("bias", repo.exposures()[1:]).identity


def test_a_damaged_band_is_computed_again(tmp_path):
    import numpy as np

    values = np.arange(12.0)
    write_band(str(tmp_path), "band-0000", ["image"], values)
    assert finished_band(tmp_path, "band-0000") is not None
    np.testing.assert_array_equal(read_band(tmp_path, "band-0000")["image"], values)
    content = bytearray((tmp_path / "band-0000.npz").read_bytes())
    content[200] ^= 1
    (tmp_path / "band-0000.npz").write_bytes(bytes(content))
    assert finished_band(tmp_path, "band-0000") is None
    assert finished_band(tmp_path, "band-0001") is None


def test_two_runs_of_one_plan_exclude_each_other(repo):
    plan = repo.plan("bias", QUERY)
    store = repo.store
    staging = store.staging("x" * 32)
    with store.locked(staging):
        code = (
            "from cpflow.store import Store\n"
            "from pathlib import Path\n"
            f"s = Store(Path({str(repo.root)!r}))\n"
            "with s.locked(s.staging('x' * 32)): pass\n"
        )
        other = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert "being run by another process" in other.stderr
        with pytest.raises(UsageError), store.locked(staging):
            pass
    assert plan.identity


def test_an_interrupt_exits_130_and_resumes(repo):
    process = subprocess.Popen(
        command(repo.root, "-o", "u/test/stopped"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    deadline = time.monotonic() + 120
    while not list((repo.root / ".staging").glob("*/bands/*/band-*.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors.decode()
    assert b"resume" in errors
    finished = subprocess.run(
        command(repo.root, "-o", "u/test/stopped"), capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    with Repo(repo.root) as again:
        assert again.get("bias", collections="u/test/stopped", detector=0)["image"].ndim == 2
