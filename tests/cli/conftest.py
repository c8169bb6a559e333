"""A repository with a built and certified bias, made once and copied for tests that write."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from commands import cpflow
from simulated import simulate_biases

from cpflow import Repo

CERTIFIED = "LATISS/calib/DM-1"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("built")
    made = simulate_biases(here / "raws", 6, 16)
    Repo.create(here / "repo", made.instrument).close()
    with Repo(here / "repo") as repo:
        repo.ingest(made.raws)
        run = repo.plan("bias", "instrument='LATISS'").run(output="u/me/biasGen")
        repo.certify(run, CERTIFIED, begin="2021-01-01", end="2022-01-01")
    return here


@pytest.fixture
def root(built: Path, tmp_path: Path) -> Path:
    """A repository of one's own."""
    shutil.copytree(built / "repo", tmp_path / "repo", symlinks=True)
    return tmp_path / "repo"


@pytest.fixture
def run_name(root: Path) -> str:
    """The run that built the bias."""
    rows = cpflow("datasets", root, "bias", "--format", "json").json
    return rows[0]["run"]
