"""`cpflow doctor` without a repository: what is broken for real is found and gets a remedy."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import cpflow
from hindered import SHIFTED_CLOCK, cpflow_process, held_to_permissions

import cpflow as package
from cpflow.environment.limits import free_memory, most_memory, quota_of_cores
from cpflow.environment.packages import EXTRAS
from cpflow.share import share_directory

CHECKOUT = Path(package.__file__).resolve().parent


def doctor(part, *, before=(), environment=None, directory=None):
    """Findings of a part of the environment by subject, in a process of its own."""
    text = f"""
import dataclasses, json
from cpflow.environment.{part} import examine_{part} as examine
print(json.dumps([dataclasses.asdict(one) for one in examine()]))
"""
    done = subprocess.run(
        [*before, sys.executable, "-c", text],
        env={**os.environ, **(environment or {})}, cwd=directory,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    found = {}
    for one in json.loads(done.stdout):
        found.setdefault(one["subject"], []).append(one)
    return found


def limited(limit):
    """What to put before a command so that the shell limits it."""
    return ["bash", "-c", f'ulimit {limit} && exec "$@"', "limited"]


def metadata(directory, name, version, *lines):
    """What is known of an installed package; found before what is really installed."""
    path = directory / f"{name}-{version}.dist-info"
    path.mkdir(parents=True)
    text = "\n".join(("Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines))
    (path / "METADATA").write_text(text + "\n")
    return {"PYTHONPATH": str(directory)}


def test_what_is_sound_is_told_in_short_lines():
    done = cpflow_process("doctor")
    assert "error" not in done.stdout
    lines = done.stdout.splitlines()
    assert lines[0] == "environment"
    subjects = [line.split(":")[1].strip() for line in lines if line.startswith("  ok:")]
    assert subjects[:4] == ["python", "packages", "extras", "kernels"]
    assert {"memory", "open files", "temporary files"} <= {
        line.split(":")[1].strip() for line in lines if line.startswith("  ")
    }
    assert f"ok: python: {sys.version.split()[0]}, {sys.executable}" in done.stdout
    assert "warning:" in done.stdout or lines[-1] == "nothing is wrong"


def test_it_is_one_json_object_with_groups():
    told = cpflow("doctor", "--json").json
    assert told["versions"]["cpflow"] == package.__version__
    assert {one["group"] for one in told["sound"]} == {"environment"}
    assert set(told["sound"][0]) == {"group", "level", "subject", "problem", "remedy"}


def test_options_of_a_repository_need_one():
    for option in ("--clean", "--checksum", "--upgrade"):
        assert "name it" in cpflow("doctor", option, code=2).stderr


def test_it_is_quick():
    """What takes long to import is left alone; numba is what it is about."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "cpflow", "doctor"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    names = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "numba" in names
    assert not names & {"dask", "distributed", "xarray", "zarr", "astropy", "sqlalchemy"}


# -- packages ------------------------------------------------------------------------------------


def test_packages_that_are_too_old_or_missing(tmp_path):
    wanted = ("Requires-Python: >=3.11", "Requires-Dist: numpy>=2.0", "Requires-Dist: absent>=1.5",
              "Requires-Dist: click>=99; python_version < '3'",
              "Requires-Dist: psycopg>=3; extra == 'postgresql'")  # fmt: skip
    metadata(tmp_path, "numpy", "1.26.4")
    metadata(tmp_path, "psycopg", "2.1")
    environment = metadata(tmp_path, "cpflow", package.__version__, *wanted)
    found = doctor("packages", environment=environment)
    old, absent = found["packages"]
    assert old["level"] == absent["level"] == "error"
    assert old["problem"] == "numpy 1.26.4 is installed, cpflow asks for >=2.0"
    assert old["remedy"] == f"{sys.executable} -m pip install --upgrade 'numpy>=2.0'"
    assert absent["problem"] == "absent is not installed"
    assert found["extras"][0]["level"] == "warning"
    assert found["extras"][0]["problem"].startswith("postgresql: psycopg 2.1 is installed")


def test_another_python_and_a_stale_installation(tmp_path):
    environment = metadata(tmp_path, "cpflow", "0.0.1", "Requires-Python: >=9.1")
    found = doctor("packages", environment=environment)
    assert found["python"][0]["level"] == "error"
    assert found["python"][0]["problem"].endswith("is not >=9.1")
    assert found["packages"][0]["level"] == "warning"
    assert "is called 0.0.1" in found["packages"][0]["problem"]


def test_every_extra_of_users_is_told_of():
    from importlib.metadata import metadata as of

    development = {"benchmark", "browser", "dev", "test"}
    assert set(of("cpflow").get_all("Provides-Extra")) - development == set(EXTRAS)
    (one,) = doctor("packages")["extras"]
    for name in EXTRAS:
        assert name in one["problem"]


# -- kernels -------------------------------------------------------------------------------------


@pytest.fixture
def read_only(tmp_path):
    """An installation that only its owner may write, in which nothing is compiled."""
    target = tmp_path / "site"
    shutil.copytree(CHECKOUT, target / "cpflow", ignore=shutil.ignore_patterns("__pycache__"))
    (target / "cpflow" / "kernels" / "__pycache__").mkdir(mode=0o555)
    home = tmp_path / "home"
    home.mkdir()
    return target, home


def test_compiled_kernels_that_cannot_be_kept_where_they_are(read_only, tmp_path):
    target, home = read_only
    own = target / "cpflow" / "kernels" / "__pycache__"
    how = {"before": held_to_permissions(), "directory": target}
    base = {"PYTHONPATH": str(target), "HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"),
            "PYTHONDONTWRITEBYTECODE": "1"}  # fmt: skip

    # Each user compiles for himself.
    (one,) = doctor("kernels", environment=base, **how)["kernels"]
    assert one["level"] == "warning"
    assert one["problem"].startswith(
        f"{own} cannot be written: compiled kernels are kept in {home}"
    )
    assert "export NUMBA_CACHE_DIR=DIR" in one["remedy"]

    # What was compiled is damaged.
    for path in home.rglob("*.nbi"):
        path.write_bytes(path.read_bytes()[:50])
    (one,) = doctor("kernels", environment=base, **how)["kernels"]
    assert one["level"] == "error"
    assert one["problem"].startswith("a kernel cannot be run: ")
    assert one["remedy"].startswith(f"remove what was compiled before: find {home}/")
    # The remedy helps.
    subprocess.run(["sh", "-c", one["remedy"].partition(": ")[2].partition(";")[0]], check=True)
    assert doctor("kernels", environment=base, **how)["kernels"][0]["level"] == "warning"

    # Nothing can be kept anywhere: cpflow could not even be imported.
    shutil.rmtree(home)
    home.mkdir(mode=0o555)
    (one,) = doctor("kernels", environment=base, **how)["kernels"]
    assert one["level"] == "error"
    assert str(own) in one["problem"]
    assert "export NUMBA_CACHE_DIR=" in one["remedy"]
    assert list(own.iterdir()) == []

    # The remedy helps.
    named = {**base, "NUMBA_CACHE_DIR": str(tmp_path / "named")}
    (one,) = doctor("kernels", environment=named, **how)["kernels"]
    assert one["level"] == "ok"
    assert f"kept in {tmp_path / 'named'}" in one["problem"]


def test_a_named_cache_that_cannot_be_written():
    done = cpflow_process("doctor", environment={"NUMBA_CACHE_DIR": "/proc/none"})
    assert "warning: kernels: $NUMBA_CACHE_DIR is /proc/none, which cannot be writ" in done.stdout
    assert "nothing is wrong" not in done.stdout


# -- this machine --------------------------------------------------------------------------------


def test_few_open_files():
    (one,) = doctor("machine", before=limited("-S -n 256"))["open files"]
    assert one["level"] == "warning"
    assert one["problem"].startswith("a process may have 256, enough for a scheduler with 18 ")
    assert one["remedy"].startswith("ulimit -n ")
    (one,) = doctor("machine", before=limited("-n 256"))["open files"]
    assert "ask who runs this machine" in one["remedy"], "it may not be raised"


def test_few_addresses():
    found = doctor(
        "machine", before=limited("-v 3500000"), environment={"OPENBLAS_NUM_THREADS": "1"}
    )
    one = found["memory"][-1]
    assert one["level"] == "warning"
    assert "3.3 GiB of addresses" in one["problem"]
    assert one["remedy"] == "ulimit -v unlimited"


def test_temporary_directories(tmp_path):
    (one,) = doctor("machine", environment={"TMPDIR": str(tmp_path / "none")})["temporary files"]
    assert one["level"] == "warning"
    assert f"$TMPDIR is {tmp_path / 'none'}, which cannot be written" in one["problem"]
    # No byte can be written to any file, as over a quota.
    done = cpflow_process("doctor", before=limited("-f 0"), code=4)
    assert "  error: temporary files: no directory for temporary files can be " in done.stdout
    assert "    export TMPDIR=DIR" in done.stdout
    assert done.stderr == "error: 1 thing is wrong\n"
    (one,) = doctor("machine", environment={"TMPDIR": str(tmp_path)})["temporary files"]
    assert one["problem"].startswith(f"{tmp_path}, ")


def test_a_locale_without_letters():
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LANG": "C"}
    found = doctor("machine", environment=plain)
    assert found["locale"][0]["level"] == "warning"
    assert "ascii" in found["locale"][0]["problem"]
    assert "locale" not in doctor("machine", environment={"LC_ALL": "C.UTF-8"})


def test_a_clock_that_was_never_set(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(SHIFTED_CLOCK.format(seconds=-20 * 365 * 86400))
    (one,) = doctor("machine", environment={"PYTHONPATH": str(tmp_path)})["clock"]
    assert one["level"] == "warning"
    assert "timedatectl" in one["remedy"]


@pytest.fixture
def groups(tmp_path):
    """Control groups, as files: a machine on which a test may make real ones is rare."""

    def make(membership, files):
        for name, text in files.items():
            path = tmp_path / "groups" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (tmp_path / "membership").write_text(membership)
        return tmp_path / "groups", tmp_path / "membership"

    return make


def test_control_groups_of_version_2(groups):
    where = groups(
        "0::/job/step\n",
        {
            "job/step/memory.max": "max\n", "job/step/memory.current": "0\n",
            "job/memory.max": "600000000\n", "job/memory.current": "500000000\n",
            "job/memory.stat": "anon 1\ninactive_file 200000000\n",
            "job/step/cpu.max": "150000 100000\n", "job/cpu.max": "max 100000\n",
        },
    )  # fmt: skip
    assert most_memory(*where) == 600_000_000
    assert free_memory(*where) == 300_000_000
    assert quota_of_cores(*where) == 1.5


def test_control_groups_of_version_1(groups):
    where = groups(
        "4:memory:/a\n1:cpu,cpuacct:/a\n0::/\n",
        {
            "memory/a/memory.limit_in_bytes": "700000000\n",
            "memory/a/memory.usage_in_bytes": "100000000\n",
            "memory/memory.limit_in_bytes": f"{2**63 - 4096}\n",
            "cpu/a/cpu.cfs_quota_us": "200000\n", "cpu/a/cpu.cfs_period_us": "100000\n",
            "cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n",
        },
    )  # fmt: skip
    assert most_memory(*where) == 700_000_000
    assert free_memory(*where) == 600_000_000
    assert quota_of_cores(*where) == 2


def test_no_control_groups(tmp_path):
    nowhere = tmp_path / "none", tmp_path / "none"
    assert quota_of_cores(*nowhere) is None
    assert most_memory(*nowhere) == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < free_memory(*nowhere) < most_memory(*nowhere)


# -- files of one's own --------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Directories of $CPFLOW_PATH and of the user."""
    first, user = tmp_path / "first", tmp_path / "config" / "cpflow"
    monkeypatch.setenv("CPFLOW_PATH", str(first))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for directory in (first, user):
        for name in ("graphs", "instruments", "clusters"):
            (directory / name).mkdir(parents=True)
    return first, user


def own_findings(code=0):
    found = cpflow("doctor", "--json", code=code).json
    kinds = ("instrument", "graph", "cluster profile", "$CPFLOW_PATH")
    return {
        one["subject"]: one
        for one in (*found["findings"], *found["sound"])
        if one["subject"].startswith(kinds)
    }


def test_files_of_ones_own_that_load(own):
    first, user = own
    shutil.copy(
        share_directory("configs") / "instruments" / "sbig_st10.yaml", first / "instruments"
    )
    shutil.copy(share_directory("graphs") / "bias.py", user / "graphs" / "mine.py")
    (user / "clusters" / "site.yaml").write_text("extends: slurm\npartition: night\n")
    found = own_findings()
    assert {name: one["problem"] for name, one in found.items()} == {
        "instruments": "1 of your own load",
        "graphs": "1 of your own load",
        "cluster profiles": "1 of your own can be read",
    }


def test_files_of_ones_own_that_do_not_load_are_named(own):
    first, user = own
    (first / "instruments" / "cam.yaml").write_text("name: [\n")
    (first / "graphs" / "broken.py").write_text("import nothing_of_this_name\n")
    (first / "graphs" / "notes.py").write_text("X = 1\n")
    (user / "graphs" / "broken.py").write_text("this is hidden by the one before\n")
    (user / "clusters" / "site.yaml").write_text("kind: slurm\npartitoin: night\n")
    found = own_findings()
    assert {one["level"] for one in found.values()} == {"warning"}
    assert set(found) == {
        "instrument cam", "graph broken", "graph notes", "cluster profile site",
    }  # fmt: skip
    assert str(first / "instruments" / "cam.yaml") in found["instrument cam"]["problem"]
    assert "nothing_of_this_name" in found["graph broken"]["problem"]
    assert str(first / "graphs" / "broken.py") in found["graph broken"]["problem"]
    assert "is not a graph" in found["graph notes"]["problem"]
    assert "did you mean 'partition'" in found["cluster profile site"]["problem"]
    assert all(one["remedy"] for one in found.values())


def test_a_search_path_with_mistakes(tmp_path, monkeypatch):
    monkeypatch.setenv("CPFLOW_PATH", f"{tmp_path}/nothing:{tmp_path}:")
    done = cpflow("doctor")
    assert f"warning: $CPFLOW_PATH: {tmp_path}/nothing is no directory" in done.stdout
    assert f"warning: $CPFLOW_PATH: {tmp_path} has nothing that is looked for" in done.stdout
    assert "nothing is wrong" not in done.stdout
