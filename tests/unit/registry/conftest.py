"""A registry for each database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from registries import postgresql_database, prepare

from cpflow.registry import Registry


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Address of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'registry.sqlite'}"
        return
    with postgresql_database() as address:
        yield address


@pytest.fixture
def empty(url: str) -> Iterator[Registry]:
    """A registry without instruments."""
    with Registry.create(url) as registry:
        yield registry


@pytest.fixture
def registry(empty: Registry) -> Registry:
    """A registry with one small instrument and some dataset types."""
    prepare(empty)
    return empty


@pytest.fixture
def reopen(url: str) -> Callable[[], Registry]:
    """Open the same registry again, as another process would."""
    return lambda: Registry.open(url)
