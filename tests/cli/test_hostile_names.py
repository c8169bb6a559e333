"""Names that nobody should give, through the commands: refused or handled, never half."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from commands import contents, cpflow

from cpflow.repo import Repository

CERTIFIED = "LATISS/calib/DM-1"
LONG = "x" * 10_000

# What could lead out of the repository, hide, or mean something to a shell, a glob or a list.
REFUSED = {
    "parent": "../../outside",
    "parent inside": "u/../../outside",
    "absolute": "/etc/passwd",
    "hidden": ".staging/x",
    "empty part": "u//me",
    "trailing": "u/me/",
    "long": LONG,
    "long part": "u/" + "y" * 241,
    "newline": "u/me\nx",
    "escape": "u/\x1b[31mred",
    "zero width": "u/m\u200be",
    "right to left": "u/\u202eem",
    "glob": "u/me*",
    "backslash": "u\\me",
    "space at the end": "u/me ",
    "decomposed": "u/a\u0301",
}

# Strange, and no harm: they come back as they went in.
HANDLED = {
    "spaces": "u/my bias of July",
    "quotes": 'u/o\'brien/"best"',
    "sql": "u/x'); DROP TABLE dataset;--",
    "unicode": "u/\u00e9toile/\u30d0\u30a4\u30a2\u30b9",
    "emoji": "u/\U0001f31f",
    "percent": "u/100%20of/%s",
    "shell": "u/$(touch x)/`id`;&|".replace("|", ""),
    "braces": "u/{0}/:name/?x=1".replace("?", ""),
}


def everything(root):
    """The repository, and what lies beside it."""
    return contents(root), sorted(str(path) for path in root.parent.iterdir())


@pytest.mark.parametrize("name", REFUSED.values(), ids=REFUSED.keys())
class TestRefused:
    def test_as_an_output_of_a_run(self, root, name):
        before = everything(root)
        done = cpflow("run", "-b", root, "-p", "bias", "-o", name, code=2)
        assert len(done.stderr) < 2000
        assert everything(root) == before
        cpflow("run", "-b", root, "-p", "bias", "--output-run", name, code=2)
        assert everything(root) == before

    def test_as_a_collection_to_certify_into(self, root, run_name, name):
        before = everything(root)
        cpflow("certify", root, run_name, name, "bias", code=2)
        assert everything(root) == before

    def test_as_a_chain_a_tag_a_run_of_raws_and_a_collection_of_curated(self, root, built, name):
        before = everything(root)
        # A chain's name is one argument; children may be comma-separated.
        cpflow("chain", root, name, CERTIFIED, code=2)
        cpflow("associate", root, name, "--datasets", "bias", code=2)
        cpflow("ingest", root, built / "raws", "--output-run", name, code=2)
        assert everything(root) == before

    def test_as_something_to_look_at_or_remove(self, root, name):
        before = everything(root)
        removals = [
            ("remove-collection", root, name, "--yes"),
            ("remove-run", root, name, "--force", "--yes"),
        ]
        for command in (
            *(() if "*" in name else removals),
            ("certified", root, name),
            ("explain", root, 2021012100001, "-i", name),
            ("datasets", root, "--collections", name),
            ("decertify", root, name, "bias"),
            ("export-collections", root, root.parent / "out", name),
        ):
            done = _fails_or_finds_nothing(*command)
            assert len(done) < 2000, "an error does not repeat ten thousand characters"
        assert everything(root) == before


def _fails_or_finds_nothing(*command):
    for code in (2, 3, 0):
        try:
            done = cpflow(*command, code=code)
        except AssertionError as error:
            if not str(error).startswith("exit code"):
                raise
            continue
        # A glob is allowed in a listing, and may match.
        assert code or command[0] == "datasets" or "[" in command[2]
        return done.stderr
    raise AssertionError(command)


@pytest.mark.parametrize("name", HANDLED.values(), ids=HANDLED.keys())
class TestHandled:
    def test_a_run_and_a_certification_of_that_name(self, root, name):
        done = cpflow("run", "-b", root, "-p", "bias", "-o", name, "--json").json
        run = done["run"]
        assert run.startswith(f"{name}/")
        path = Path(done["datasets"][0]["path"])
        assert path.is_relative_to(root / "products")
        cpflow("certify", root, run, f"{name}/calib", "bias", "--begin-date", "2021-01-01")
        (row,) = cpflow("certified", root, f"{name}/calib", "--format", "json").json
        assert row["run"] == run
        (row,) = cpflow(
            "explain", root, 2021012100001, "-i", f"{name}/calib", "--type", "bias",
            "--format", "json",
        ).json  # fmt: skip
        assert row["outcome"] == "used"
        assert "nothing is wrong" in cpflow("doctor", root, "--checksum").stdout
        cpflow("export-collections", root, root.parent / "out", f"{name}/calib")
        cpflow("init", root.parent / "other")
        cpflow("import-collections", root.parent / "other", root.parent / "out")
        assert "nothing is wrong" in cpflow("doctor", root.parent / "other", "--checksum").stdout
        cpflow("decertify", root, f"{name}/calib", "bias")
        cpflow("remove-run", root, run, "--force", "--yes")
        assert not path.exists()

    def test_a_chain_and_a_tag_of_that_name(self, root, name):
        cpflow("chain", root, name, CERTIFIED)
        cpflow("associate", root, f"{name}/tag", "--datasets", "bias")
        names = [row[0] for row in contents(root)["collections"]]
        assert {name, f"{name}/tag"} <= set(names)
        cpflow("remove-collection", root, name, f"{name}/tag", "--yes")


INJECTIONS = (
    "'; DROP TABLE exposure; --",
    "1=1; DELETE FROM dataset",
    "day_obs = 20210121 UNION SELECT * FROM dataset",
    "day_obs = (SELECT 1)",
    "exposure IN (SELECT id FROM exposure)",
    "sleep(10)",
    "__import__('os').system('true')",
    "day_obs = 20210121 -- comment",
    "day_obs = 20210121 /* comment */",
    "x" * 10_000,
    "(" * 10_000,
    "NOT " * 5_000 + "day_obs = 1",
    "day_obs = 1 OR " * 3_000 + "day_obs = 1",
    "target_name = '\\' OR '1'='1",
    "\u0000",
)


@pytest.mark.parametrize("where", INJECTIONS, ids=range(len(INJECTIONS)))
def test_a_query_is_never_more_than_a_query(root, where):
    before = contents(root)
    for command in (
        ("records", root, "exposure", "--where", where),
        ("run", "-b", root, "-p", "bias", "--dry-run", "-d", where),
        ("decertify", root, CERTIFIED, "bias", "--where", where),
        ("associate", root, "u/me/t", "--datasets", "bias", "--where", where),
    ):
        for code in (2, 3, 0):
            try:
                done = cpflow(*command, code=code)
            except AssertionError as error:
                if not str(error).startswith("exit code"):
                    raise
                continue
            break
        else:
            raise AssertionError(command[0])
        # The long one of ORs is a sound query that selects nothing.
        assert code == 2 or where.startswith("day_obs = 1 OR"), (command[0], done.stdout)
    assert contents(root) == before


@pytest.mark.parametrize("value", ["'; DROP TABLE certification; --", LONG, "\u00e9", "../x", ""])
def test_values_of_options_are_read_or_refused(root, value):
    before = contents(root)
    for command in (
        ("decertify", root, CERTIFIED, "bias", "--begin-date", value),
        ("decertify", root, CERTIFIED, "bias", "--detector", value),
        ("decertify", root, CERTIFIED, value),
        ("certified", root, CERTIFIED, value or "x"),
        ("lineage", root, "exposure", value),
        ("lineage", root, "dataset", value),
        ("explain", root, 2021012100001, "--type", value or "x"),
        ("explain", root, value),
    ):
        done = cpflow(*command, code=2)
        assert "error:" in done.stderr.lower()
    assert contents(root) == before


@pytest.mark.parametrize("name", ["nowhere", "../nowhere", LONG, "a\nb", "\u00e9/x", "", "'; --"])
def test_what_is_no_repository_is_one_clear_error(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for command in (
        ("collections", name),
        ("doctor", name),
        ("certified", name, CERTIFIED),
        ("remove-run", name, "x", "--yes"),
        ("import-collections", name, "x"),
    ):
        assert "not a cpflow repository" in cpflow(*command, code=2).stderr
    assert list(tmp_path.iterdir()) == []


def test_directories_with_strange_names(built, tmp_path):
    """A repository and its raws may lie anywhere."""
    place = tmp_path / "o'brien's \"best\" \u00e9toile; %s" / "a b"
    place.mkdir(parents=True)
    shutil.copytree(built / "raws", place / "raws")
    cpflow("init", place / "repo", "--instrument", place / "raws" / "instrument.yaml")
    cpflow("ingest", place / "repo", place / "raws", "--transfer", "copy")
    cpflow("run", "-b", place / "repo", "-p", "bias", "-o", "u/me/x")
    assert "nothing is wrong" in cpflow("doctor", place / "repo", "--checksum").stdout
    with Repository(place / "repo") as repository:
        assert len(repository.exposures()) == 6
