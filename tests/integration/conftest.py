"""Repositories with simulated raws, built once and copied for tests that write."""

from __future__ import annotations

import shutil

import pytest
from simulated import COUNT, SCALE, Simulated, simulate_biases

from cpflow import Repo


@pytest.fixture(scope="session")
def biases(tmp_path_factory) -> Simulated:
    """A dozen small LATISS biases."""
    return simulate_biases(tmp_path_factory.mktemp("raws"), COUNT, SCALE)


@pytest.fixture
def own_biases(biases, tmp_path) -> Simulated:
    """The same biases in files that a test may damage."""
    target = tmp_path / "raws"
    shutil.copytree(biases.raws, target)
    return Simulated(
        target,
        biases.truth,
        target / "instrument.yaml",
        tuple(target / path.name for path in biases.paths),
    )


@pytest.fixture
def repo(biases, tmp_path):
    """A repository with the biases ingested."""
    root = tmp_path / "repo"
    Repo.create(root, biases.instrument).close()
    with Repo(root) as opened:
        opened.ingest(biases.raws)
        yield opened


@pytest.fixture
def own_repo(own_biases, tmp_path):
    """A repository with biases that a test may damage afterwards."""
    root = tmp_path / "repo"
    Repo.create(root, own_biases.instrument).close()
    with Repo(root) as opened:
        opened.ingest(own_biases.raws)
        yield opened
