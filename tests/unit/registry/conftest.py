"""A registry for each database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from registries import KINDS, address, prepare

from cpflow.registry import Registry


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Address of an empty database."""
    with address(request.param, tmp_path) as found:
        yield found


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
