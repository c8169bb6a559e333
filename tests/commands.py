"""Commands in this process: as fast as calls, with the exit code and both streams."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from cpflow.cli.app import run


@dataclass(frozen=True)
class Done:
    """What a command printed."""

    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


def cpflow(*arguments: object, code: int = 0, answer: str = "") -> Done:
    """Run a command; `answer` is what stands on its standard input."""
    out, err = io.StringIO(), io.StringIO()
    with (
        _log_restored(),
        redirect_stdout(out),
        redirect_stderr(err),
        mock.patch.object(sys, "stdin", io.StringIO(answer)),
    ):
        found = run([str(argument) for argument in arguments])
    done = Done(out.getvalue(), err.getvalue())
    assert found == code, f"exit code {found}\n{done.stderr}\n{done.stdout}"
    assert "Traceback" not in done.stderr
    return done


@contextmanager
def _log_restored() -> Iterator[None]:
    logger = logging.getLogger("cpflow")
    before = logger.level, logger.propagate, list(logger.handlers)
    try:
        yield
    finally:
        logger.level, logger.propagate, logger.handlers[:] = before


def contents(root: Path) -> dict[str, Any]:
    """Everything that a repository holds, to be compared before and after."""
    from cpflow.repo import Repository

    with Repository(root) as repository:
        registry = repository.registry
        collections = registry.collections()
        certified = [
            str(one)
            for collection in collections
            if collection.type == "CALIBRATION"
            for one in registry.certified(collection.name)
        ]
        return {
            "collections": [(c.name, c.type, c.state, c.children) for c in collections],
            "datasets": sorted(ref.id for ref in registry.datasets()),
            "certified": certified,
            "raws": registry.raw_places(),
            "exposures": [e.exposure for e in registry.exposures()],
            "files": sorted(
                str(path.relative_to(root))
                for place in ("products", "raw")
                for path in (root / place).rglob("*")
            ),
        }
