"""`cpflow submit` up to where SLURM takes over; `tests/integration/test_slurm.py` goes on."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path

import click
import pytest
from commands import cpflow

from cpflow.cli.run import command as run
from cpflow.cli.submit import command as submit

QUERY = "instrument='LATISS' AND detector IN (0)"


def script(root, *more):
    return cpflow("submit", "-b", root, "-p", "bias", "-d", QUERY, "--dry-run", *more).stdout


def directives(text):
    lines = [line.removeprefix("#SBATCH ") for line in text.splitlines() if "#SBATCH" in line]
    return {name: value.strip('"') for name, _, value in (line.partition("=") for line in lines)}


def inner(text):
    """The arguments of `cpflow run` within a script."""
    (line,) = [line for line in text.splitlines() if " -m cpflow " in line]
    return shlex.split(line)[3:-1]


def test_the_script_is_printed_and_nothing_written(root):
    before = sorted(root.rglob("*"))
    text = script(root)
    assert text.startswith("#!/usr/bin/env bash\n")
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    asked = directives(text)
    assert asked["--ntasks"] == "8"
    assert asked["--time"] == "0-02:00:00"
    assert asked["--signal"] == "B:USR1@300"
    assert "--requeue" in asked
    assert asked["--chdir"] == str(Path.cwd())
    assert sorted(root.rglob("*")) == before


def test_memory_follows_from_the_plan_and_the_nodes(root, tmp_path):
    profile = tmp_path / "mine.yaml"
    found = []
    for nodes in (1, 3):
        profile.write_text(
            f"extends: slurm\nworkers: 6\nnodes: {nodes}\nworker: {{threads: 2, memory: 2GiB}}\n"
        )
        asked = directives(script(root, "--cluster", profile))
        assert asked["--ntasks-per-node"] == str(6 // nodes)
        assert asked["--cpus-per-task"] == "2"
        found.append(int(asked["--mem"].removesuffix("M")))
    one, three = found
    # Of each worker, its memory and what looks after it; of each node, the head.
    assert one - three == 4 * (2048 + 128)
    assert 6 * 2048 < one < 6 * 2048 + 6 * 128 + 1024


def test_a_script_has_the_options_of_the_command(root, tmp_path):
    file = tmp_path / "a file.yaml"
    file.write_text("isr: {defect: false}")
    given = [
        "-i", "LATISS/raw/all", "-i", "x,y", "-o", "u/me/it's", "-c", "combine.clip=2.5",
        "-c", "isr:doEmpiricalReadNoise=True", "-C", str(file), "--drop-bad", "1", "-j", "3",
        "--band-rows", "7",
    ]  # fmt: skip
    # Collections that are not there are refused before anything is submitted.
    done = cpflow("submit", "-b", root, "-p", "bias", "-d", QUERY, "--dry-run", *given, code=2)
    assert "collection 'x'" in done.stderr or "collection x" in done.stderr
    given[3] = "u/me/biasGen"
    text = script(root, *given)
    arguments = inner(text)
    assert arguments[:3] == ["--long-log", "--log-level=INFO", "run"]
    with run.make_context("run", arguments[3:]) as context:
        assert context.params["query"] == QUERY
        assert context.params["inputs"] == ("LATISS/raw/all", "u/me/biasGen")
        assert context.params["output"] == "u/me/it's"
        assert context.params["assignments"] == (
            "combine.clip=2.5",
            "isr:doEmpiricalReadNoise=True",
        )
        assert context.params["files"] == (str(file),)
        assert context.params["drop_bad"] == 1
        assert context.params["band_rows"] == 7
        assert context.params["memory"] == "128MiB"
        assert context.params["register_dataset_types"] is False
    assert directives(text)["--ntasks"] == "3"


def test_both_commands_share_their_options():
    names = [{parameter.name for parameter in one.params} for one in (run, submit)]
    assert names[0] ^ names[1] == {"wait"}
    for parameter in run.params:
        assert isinstance(parameter, click.Option)
        assert any(one.startswith("--") for one in parameter.opts), "to be written as --name=value"


@pytest.mark.parametrize("name", ["it's a `repo` $(x)", 'quotes " and \\ backslash', "ünï"])
def test_hostile_directories(root, tmp_path, name):
    """A script with odd paths, run without SLURM up to where it starts things."""
    odd = tmp_path / name
    root.rename(odd)
    text = script(odd)
    begin = text.index("directory=")
    head = text[begin : text.index("PROFILE\n\n") + len("PROFILE\n")]
    shown = subprocess.run(
        ["bash"],
        input="mkdir() { :; }\nSLURM_JOB_ID=7\n"
        + head.replace('cat >"$directory/$SLURM_JOB_ID.cluster.yaml"', "cat"),
        text=True,
        capture_output=True,
        check=True,
    )
    import yaml

    content = yaml.safe_load(shown.stdout)
    assert content["scheduler_file"].startswith(f"{odd}/batch/")
    assert content["scheduler_file"].endswith("/7.scheduler.json")
    assert content["workers"] == 8


def test_what_is_refused(root, tmp_path, monkeypatch):
    done = cpflow("submit", "-b", root, "-p", "bias", "--cluster", "local", code=2)
    assert "batch jobs are of kind slurm" in done.stderr
    assert cpflow("submit", "-b", root, "-p", "bias", "-d", "day_obs=1", code=3)
    monkeypatch.setenv("PATH", str(tmp_path))
    done = cpflow("submit", "-b", root, "-p", "bias", "-d", QUERY, code=2)
    assert "there is no sbatch here" in done.stderr
    small = tmp_path / "small.yaml"
    small.write_text("extends: slurm\nworker: {memory: 300MiB}")
    done = cpflow("submit", "-b", root, "-p", "bias", "-d", QUERY, "--cluster", small, code=2)
    assert "workers with 300.0 MiB are too small" in done.stderr


def test_a_job_says_where_it_is(root, tmp_path, monkeypatch):
    """With a stand-in for sbatch: what is printed is what was submitted."""
    programs = tmp_path / "bin"
    programs.mkdir()
    sbatch = programs / "sbatch"
    sbatch.write_text('#!/bin/bash\n[ -x "$2" ] && echo "12;cluster"\n')
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    done = cpflow("submit", "-b", root, "-p", "bias", "-d", QUERY, "--json")
    told = json.loads(done.stdout)
    assert told["job"] == "12"
    assert told["log"].endswith("/12.log")
    assert Path(told["script"]).read_text().startswith("#!/usr/bin/env bash")
    assert "nothing is wrong" in cpflow("doctor", root).stdout
    sbatch.write_text('#!/bin/bash\necho "invalid partition specified: x" >&2; exit 1\n')
    done = cpflow("submit", "-b", root, "-p", "bias", "-d", QUERY, code=7)
    assert "invalid partition specified: x" in done.stderr
