"""kill -9 in the middle of ingest and of certify: nothing half there, and the same again completes.

A process counts its SQL statements and file renames, and kills itself before or right after one of
them: every place in the middle of a transaction can be hit, and none depends on luck with a clock.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from commands import contents, cpflow

from cpflow import Repo
from cpflow.repo import Repository

_HARNESS = """
import os, signal, sys
from pathlib import Path

steps, last, record = 0, int(sys.argv[1]), sys.argv[2]

def step():
    global steps
    steps += 1
    if steps == last:
        os.kill(os.getpid(), signal.SIGKILL)

from sqlalchemy import event
from sqlalchemy.engine import Engine

@event.listens_for(Engine, "before_cursor_execute")
def before(*arguments):
    step()

@event.listens_for(Engine, "after_cursor_execute")
def after(*arguments):
    step()

@event.listens_for(Engine, "commit")
def commit(connection):
    step()

rename = Path.rename

def stepping(self, target):
    step()
    result = rename(self, target)
    step()
    return result

Path.rename = stepping

from cpflow.cli.app import run

code = run(sys.argv[3:])
Path(record).write_text(str(steps))
sys.exit(code)
"""


@dataclass(frozen=True)
class Harness:
    script: Path
    record: Path

    def run(self, last: int, *arguments: object) -> int:
        done = subprocess.run(
            [sys.executable, self.script, str(last), self.record, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        return done.returncode

    def steps(self, *arguments: object) -> int:
        """Count the steps of a command that is left alone."""
        assert self.run(0, *arguments) == 0
        return int(self.record.read_text())


@pytest.fixture
def harness(tmp_path):
    script = tmp_path / "harness.py"
    script.write_text(_HARNESS)
    return Harness(script, tmp_path / "steps")


KILLS = [
    pytest.param(3, id="few"),
    pytest.param(50, id="many", marks=pytest.mark.slow),
]


def points(total, count):
    """Steps to be killed at, spread over all of them."""
    return sorted({1 + round(i * (total - 1) / (count - 1)) for i in range(count)})


def check_whole(root):
    """The repository opens, and every exposure has its raw file, complete."""
    with Repository(root) as repository:
        registry = repository.registry
        assert registry.problems() == []
        exposures = {e.exposure for e in registry.exposures()}
        raws = registry.raw_places()
        assert {raw.exposure for raw in raws} == exposures
        for raw in raws:
            assert repository.store.absolute(raw.path).stat().st_size == raw.size
    return len(exposures)


@pytest.mark.parametrize("count", KILLS)
def test_killed_in_the_middle_of_ingest(biases, tmp_path, harness, count):
    template = tmp_path / "template"
    Repo.create(template, biases.instrument).close()
    files = biases.paths[:4]

    def ingest(root):
        return ("ingest", root, *files, "--transfer", "copy")

    whole = tmp_path / "whole"
    shutil.copytree(template, whole)
    total = harness.steps(*ingest(whole))
    expected = contents(whole)
    seen = set()
    for last in points(total, count):
        root = tmp_path / "repo"
        shutil.copytree(template, root)
        assert harness.run(last, *ingest(root)) == -signal.SIGKILL
        seen.add(check_whole(root))
        assert "error:" not in cpflow("doctor", root).stdout
        cpflow(*ingest(root))
        assert contents(root) == expected, f"killed at step {last} of {total}"
        shutil.rmtree(root)
    assert len(seen) >= min(3, count), "kills fell before, between and after exposures"


@pytest.mark.parametrize("count", KILLS)
def test_killed_in_the_middle_of_certify(repo, tmp_path, harness, count):
    """Certify with --replace: the old row goes, the trimmed one and the new one come, at once."""
    run = repo.plan("bias", "instrument='LATISS'").run(output="u/me/biasGen")
    repo.certify(run, "LATISS/calib/DM-1", begin="2021-01-01", end="2023-01-01")
    repo.close()
    before = contents(repo.root)

    def certify(root):
        return (
            "certify", root, "u/me/biasGen", "LATISS/calib/DM-1", "bias", "--replace",
            "--begin-date", "2021-06-01", "--end-date", "2022-01-01",
        )  # fmt: skip

    whole = tmp_path / "whole"
    shutil.copytree(repo.root, whole)
    total = harness.steps(*certify(whole))
    expected = contents(whole)
    assert len(expected["certified"]) == 3
    seen = set()
    for last in points(total, count):
        root = tmp_path / "copy"
        shutil.copytree(repo.root, root)
        assert harness.run(last, *certify(root)) == -signal.SIGKILL
        check_whole(root)
        found = contents(root)
        assert found in (before, expected), f"killed at step {last} of {total}"
        seen.add(json.dumps(found["certified"]))
        cpflow(*certify(root))
        assert contents(root)["certified"] == expected["certified"]
        shutil.rmtree(root)
    assert json.dumps(before["certified"]) in seen


@pytest.mark.parametrize("count", KILLS)
def test_killed_in_the_middle_of_removing_a_run(repo, tmp_path, harness, count):
    """Records and files are never at odds: what is registered is whole, the rest is cleaned."""
    repo.plan("bias", "instrument='LATISS'").run(output="u/me/biasGen")
    repo.close()

    def remove(root):
        return ("remove-run", root, "u/me/biasGen/*", "--unlink", "--yes")

    whole = tmp_path / "whole"
    shutil.copytree(repo.root, whole)
    total = harness.steps(*remove(whole))
    for last in points(total, count):
        root = tmp_path / "copy"
        shutil.copytree(repo.root, root)
        assert harness.run(last, *remove(root)) == -signal.SIGKILL
        assert "error:" not in cpflow("doctor", root, "--checksum", "--clean").stdout
        assert "nothing is wrong" in cpflow("doctor", root).stdout
        with Repository(root) as repository:
            left = repository.registry.datasets("bias")
            assert len(repository.store.product_paths()) == len(left)
        if left:
            cpflow(*remove(root))
        with Repository(root) as repository:
            assert repository.registry.datasets("bias") == []
            assert repository.store.product_paths() == []
        shutil.rmtree(root)


def test_killed_while_a_file_is_copied(biases, tmp_path, harness):
    """Half a copy has a hidden name; the next ingest takes no notice of it."""
    root = tmp_path / "repo"
    Repo.create(root, biases.instrument).close()
    script = (
        "import os, shutil, signal, sys\n"
        "copy = shutil.copyfile\n"
        "def half(source, target):\n"
        "    data = open(source, 'rb').read()\n"
        "    open(target, 'wb').write(data[: len(data) // 2])\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "shutil.copyfile = half\n"
        "from cpflow.cli.app import run\n"
        "run(sys.argv[1:])\n"
    )
    command = ("ingest", str(root), str(biases.paths[0]), "--transfer", "copy")
    done = subprocess.run([sys.executable, "-c", script, *command], check=False)
    assert done.returncode == -signal.SIGKILL
    assert check_whole(root) == 0
    (half,) = [p for p in (root / "raw").rglob("*") if p.is_file()]
    assert half.name.startswith(".")
    cpflow(*command)
    assert check_whole(root) == 1
    os.utime(half, (0, 0))
    assert "was being copied" in cpflow("doctor", root, "--clean").stdout
    assert not half.exists()


def test_another_file_under_the_name_of_a_copy_is_refused(biases, tmp_path):
    """Two raws of one name and day: the second must not be taken for a copy of the first."""
    root = tmp_path / "repo"
    Repo.create(root, biases.instrument).close()
    other = tmp_path / "other" / biases.paths[0].name
    other.parent.mkdir()
    shutil.copyfile(biases.paths[1], other)
    cpflow("ingest", root, biases.paths[0], "--transfer", "copy")
    before = contents(root)
    done = cpflow("ingest", root, other, "--transfer", "copy", code=4)
    assert "is another file" in done.stderr
    assert contents(root) == before
