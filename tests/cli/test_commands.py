"""Commands as people type them, in processes of their own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap

import pytest

HEAVY = (
    "astropy", "dask", "distributed", "lark", "matplotlib", "numba", "numpy", "pydantic", "rich",
    "scipy", "sqlalchemy", "xarray", "yaml", "zarr",
)  # fmt: skip


def cpflow(*arguments, code=0, **options):
    done = subprocess.run(
        [sys.executable, "-m", "cpflow", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )
    assert done.returncode == code, done.stderr + done.stdout
    return done


def shell(script, cwd, code=0):
    """Run a script in which `cpflow` is this interpreter's."""
    prefix = f'cpflow() {{ "{sys.executable}" -m cpflow "$@"; }}\n'
    done = subprocess.run(
        ["bash", "-c", prefix + textwrap.dedent(script)],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
    )
    assert done.returncode == code, done.stderr + done.stdout
    return done


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ()])
def test_nothing_heavy_is_imported_to_answer_at_once(arguments):
    code = (
        "import sys\n"
        "from cpflow.cli.app import run\n"
        f"run({list(arguments)!r})\n"
        f"print('HEAVY', [m for m in {HEAVY!r} if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("HEAVY []")


def test_import_cpflow_is_light_and_lists_its_public_names():
    code = (
        "import sys, cpflow\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])\n"
        "print(len(dir(cpflow)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy, count = done.stdout.split("\n")[:2]
    assert heavy == "[]"
    assert int(count) <= 15


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A repository made by commands alone."""
    here = tmp_path_factory.mktemp("commands")
    shell(
        """
        set -e
        cpflow simulate raws --bias 6 --scale 16
        cpflow init repo --instrument raws/instrument.yaml
        cpflow ingest repo raws
        cpflow run -b repo -p bias -o u/me/biasGen -d "instrument='LATISS' AND detector=0"
        """,
        here,
    )
    return here


def test_help_names_every_command():
    text = cpflow("--help").stdout
    for name in ("init", "ingest", "records", "run", "certify", "chain", "collections", "datasets",
                 "graphs", "graph", "simulate", "demo"):  # fmt: skip
        assert f"\n  {name} " in text
        assert "Usage" in cpflow(name, "--help").stdout


def test_records_can_be_sampled_and_used_in_a_query(made):
    ids = cpflow(
        "records", made / "repo", "exposure", "--where",
        "instrument='LATISS' AND exposure.observation_type='bias'", "--sample", 4, "--per",
        "day_obs", "--seed", 1, "--format", "ids",
    ).stdout.strip()  # fmt: skip
    assert len(ids.split(", ")) == 4
    selected = f"instrument='LATISS' AND exposure IN ({ids})"
    shown = cpflow(
        "query-dimension-records", made / "repo", "exposure", "--where", selected,
        "--format", "json",
    ).stdout  # fmt: skip
    rows = json.loads(shown)
    assert ", ".join(str(row["exposure"]) for row in rows) == ids


def test_a_dry_run_writes_nothing(made):
    before = cpflow("collections", made / "repo").stdout
    text = cpflow(
        "run", "-b", made / "repo", "-p", "bias", "-o", "u/me/dry", "--dry-run",
        "-c", "isr:doEmpiricalReadNoise=True",
    ).stdout  # fmt: skip
    assert "isr.empirical_read_noise = True (command line)" in text
    assert "iB a task" in text
    assert cpflow("collections", made / "repo").stdout == before
    facts = json.loads(
        cpflow("run", "-b", made / "repo", "-p", "bias", "--dry-run", "--json").stdout
    )
    assert facts["products"][0]["exposures"] == sorted(facts["products"][0]["exposures"])
    assert facts["tasks"] > 0


def test_the_pages_bias_commands_run_with_the_programs_name_changed(made, tmp_path):
    """Spec registry 8: quotes closed, backslashes inside them, the page's spellings."""
    shutil.copytree(made, tmp_path / "page", symlinks=True)
    ids = cpflow("records", made / "repo", "exposure", "--format", "ids").stdout.strip()
    first, rest = ids.split(", ", 1)
    done = shell(
        f"""
        set -e
        EXPOSURES='{first}, \\
               {rest}'
        RERUN=20210702a
        cpflow --long-log run -b repo -p $CP_PIPE_DIR/pipelines/Latiss/cpBias.yaml \\
             -i LATISS/raw/all -o u/czw/DM-28920/biasGen.$RERUN \\
             -d "instrument='LATISS' AND detector=0 AND exposure IN ($EXPOSURES)" \\
             -c isr:doDefect=False -c isr:doEmpiricalReadNoise=True -j 4 >& ./bias.$RERUN.log
        cpflow certify-calibrations repo u/czw/DM-28920/biasGen.$RERUN LATISS/calib/DM-28920 \\
             --begin-date 2020-01-01 --end-date 2050-01-01 bias
        cpflow certify-calibrations repo u/czw/DM-28920/biasGen.$RERUN LATISS/calib/dailyBiases \\
             --begin_date 2021-07-15 --end_date 2021-07-16 bias
        cpflow collection-chain repo LATISS/calib LATISS/calib/DM-28920 LATISS/calib/dailyBiases
        """,
        tmp_path / "page",
    )
    assert "[LATISS/calib/DM-28920, LATISS/calib/dailyBiases]" in done.stdout
    log = (tmp_path / "page" / "bias.20210702a.log").read_text()
    assert log.count("empirical read noise of C") == 16


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("runn",), 2, "Did you mean 'run'"),
        (("records", "{repo}", "exposure", "--where", "exposure ="), 2, "^"),
        (("records", "{repo}x", "exposure"), 2, "not a cpflow repository"),
        (("run", "-b", "{repo}", "-p", "bais"), 2, "no graph 'bais'"),
        (("run", "-b", "{repo}", "-p", "bias", "-c", "isr.defct=1"), 2, "did you mean isr.defect"),
        (("run", "-b", "{repo}", "-p", "bias", "-d", "exposure = 1"), 3, "selects none"),
        (("run", "-b", "{repo}", "-p", "bias", "-i", "LATISS/raw/al"), 2, "LATISS/raw/al"),
        (("run", "-b", "{repo}", "-p", "bias", "--cluster", "slrm"), 2, "no cluster profile"),
        (("run", "-b", "{repo}", "-p", "bias", "--memory", "lots"), 2, "cannot read a size"),
        (("certify", "{repo}", "u/me/nothing", "X", "bias"), 2, "u/me/nothing"),
        (("certify", "{repo}", "u/me/biasGen", "X", "bais"), 2, "no product 'bais'"),
        (
            ("certify", "{repo}", "u/me/biasGen", "X", "--begin-date", "yesterday", "bias"),
            2,
            "yesterday",
        ),
        (
            ("certify", "{repo}", "u/me/biasGen", "X", "--begin-date", "2022-01-01", "--end-date",
             "2021-01-01", "bias"),
            2,
            "empty",
        ),
        (("chain", "{repo}", "A", "missing"), 2, "missing"),
        (("ingest", "{repo}", "nowhere"), 3, "does not exist"),
        (("init", "{repo}/..", "--instrument", "latiss"), 2, "not empty"),
        (("simulate", "{repo}/new"), 2, "--bias 20"),
    ],
)  # fmt: skip
def test_errors_are_a_few_lines_with_the_right_exit_code(made, arguments, code, message):
    done = cpflow(*(a.format(repo=made / "repo") for a in arguments), code=code)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 8


def test_report_and_export_write_files(made, tmp_path):
    from astropy.io import fits

    cpflow("report", made / "repo", "u/me/biasGen", "-o", tmp_path / "bias.html")
    page = (tmp_path / "bias.html").read_text()
    assert "C07" in page
    assert "http" not in page.replace("http://www.w3.org", ""), "the page needs no network"
    assert (
        (tmp_path / "bias.png")
        .read_bytes()
        .startswith(b"\\x89PNG".decode("unicode_escape").encode("latin1"))
    )
    cpflow("export", made / "repo", "u/me/biasGen", tmp_path / "bias.fits")
    with fits.open(tmp_path / "bias.fits") as hdus:
        header = hdus[0].header
        assert header["OBSTYPE"] == "bias"
        assert header["EXPTIME"] == 0.0
        assert [hdus[0].header[f"HIERARCH CPP_INPUT_{i}"] for i in range(6)]
    cpflow("export", made / "repo", "u/me/biasGen", tmp_path / "bias.fits", code=2)


def test_graphs_can_be_shown_copied_and_drawn(made, tmp_path):
    assert "bias" in cpflow("graphs").stdout
    assert "isr.overscan.fit_type = MEDIAN_PER_ROW" in cpflow("graph", "show", "bias").stdout
    cpflow("graph", "copy", "bias", tmp_path / "mine.py")
    cpflow("graph", "draw", "bias", "-b", made / "repo", "-o", tmp_path / "plan.svg")
    assert (tmp_path / "plan.svg").stat().st_size > 1000
    cpflow("run", "-b", made / "repo", "-p", tmp_path / "mine.py", "--dry-run")


def test_demo_runs_from_nothing(tmp_path):
    done = cpflow("demo", tmp_path / "demo", "--exposures", 6, "--scale", 16)
    assert "about the simulated truth" in done.stdout
    assert (tmp_path / "demo" / "bias.html").is_file()
    cpflow("demo", tmp_path / "demo", code=2)
