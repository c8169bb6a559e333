"""Commands on collections, certifications and datasets; rules of spec registry-and-cli."""

from __future__ import annotations

import csv
import io
import subprocess
import sys

import pytest
from commands import contents, cpflow

from cpflow.repo import Repository

CERTIFIED = "LATISS/calib/DM-1"
EXPOSURE = 2021012100001


def rows(*arguments):
    return cpflow(*arguments, "--format", "json").json


def put_in_calib(root):
    cpflow("chain", root, "LATISS/calib", CERTIFIED)


class TestExplain:
    def test_v30_names_the_collection_that_decides_and_what_it_shadows(self, root, run_name):
        cpflow("certify", root, run_name, "u/me/calib", "bias", "--begin-date", "2021-01-01")
        found = rows("explain", root, EXPOSURE, "-i", f"{CERTIFIED},u/me/calib", "--type", "bias")
        assert [(row["outcome"], row["collection"]) for row in found] == [
            ("used", CERTIFIED),
            ("shadowed", "u/me/calib"),
        ]
        assert found[0]["run"] == run_name
        assert CERTIFIED in found[1]["why"]

    def test_a_collection_without_a_range_at_that_time_says_when_it_has_one(self, root):
        cpflow("decertify", root, CERTIFIED, "bias", "--end-date", "2021-02-01")
        (found,) = rows("explain", root, EXPOSURE, "-i", CERTIFIED, "--type", "bias")
        assert found["outcome"] == "not in force"
        assert "the next begins 2021-02-01" in found["why"]

    def test_looks_where_a_run_looks_unless_told(self, root):
        put_in_calib(root)
        text = cpflow("explain", root, EXPOSURE).stdout
        assert CERTIFIED in text
        assert "nothing at all of bfk" in text

    def test_a_run_is_taken_whatever_the_date(self, root, run_name):
        (found,) = rows("explain", root, EXPOSURE, "-i", run_name, "--type", "bias")
        assert found["outcome"] == "used"
        assert "whatever the date" in found["why"]

    def test_two_rows_of_one_dataset_in_the_window_are_ambiguous(self, root, run_name):
        """V18, V23: a range split inside the exposure's time."""
        with Repository(root) as repository:
            span = repository.registry.exposure(EXPOSURE).timespan
            middle = (span.begin + span.end) // 2
        from cpflow.timespan import isoformat

        begin, end = isoformat(middle), isoformat(middle + 1)
        cpflow("decertify", root, CERTIFIED, "bias", "--begin-date", begin, "--end-date", end)
        found = rows("explain", root, EXPOSURE, "-i", CERTIFIED, "--type", "bias")
        assert [row["outcome"] for row in found] == ["ambiguous", "ambiguous"]

    @pytest.mark.parametrize(
        ("arguments", "code", "message"),
        [
            (("1",), 3, "1"),
            ((EXPOSURE, "--detector", "7"), 2, "no detector 7"),
            ((EXPOSURE, "--type", "bais"), 2, "no product 'bais'"),
            ((EXPOSURE, "-i", "LATISS/clib"), 2, "LATISS/clib"),
            (("seven",), 2, "seven"),
        ],
    )
    def test_errors(self, built, arguments, code, message):
        assert message in cpflow("explain", built / "repo", *arguments, code=code).stderr


class TestCertified:
    def test_x8_lists_ranges_with_the_gaps_between(self, root, run_name):
        window = ("--begin-date", "2021-03-01", "--end-date", "2021-04-01")
        cpflow("decertify", root, CERTIFIED, "bias", *window)
        found = rows("certified", root, CERTIFIED)
        assert [(row["begin"], row["end"], row["gap"]) for row in found] == [
            ("2021-01-01T00:00:00", "2021-03-01T00:00:00", False),
            ("2021-03-01T00:00:00", "2021-04-01T00:00:00", True),
            ("2021-04-01T00:00:00", "2022-01-01T00:00:00", False),
        ]
        assert found[0]["run"] == run_name
        assert "(gap)" in cpflow("certified", root, CERTIFIED, "bias").stdout
        (gap,) = rows("certified", root, CERTIFIED, "--gaps")
        assert gap["begin"] == "2021-03-01T00:00:00"

    def test_an_open_end_is_said(self, root, run_name):
        cpflow("certify", root, run_name, "u/me/calib", "bias")
        (found,) = rows("certified", root, "u/me/calib")
        assert (found["begin"], found["end"]) == ("open", "open")

    def test_a_chain_lists_all_that_is_below_it(self, root, run_name):
        cpflow("certify", root, run_name, "u/me/calib", "bias")
        cpflow("chain", root, "LATISS/calib", CERTIFIED, "u/me/calib")
        found = rows("certified", root, "LATISS/calib", "bias")
        assert {row["collection"] for row in found} == {CERTIFIED, "u/me/calib"}

    def test_nothing_is_an_answer_not_an_error(self, root):
        assert "nothing is certified" in cpflow("certified", root, CERTIFIED, "dark").stdout
        assert "no gaps" in cpflow("certified", root, CERTIFIED, "--gaps").stdout
        assert cpflow("certified", root, "nowhere", code=2).stderr.count("nowhere") == 1

    def test_csv_has_one_line_per_row(self, root):
        text = cpflow("certified", root, CERTIFIED, "--format", "csv").stdout
        (row,) = csv.DictReader(io.StringIO(text))
        assert row["type"] == "bias"


class TestDecertify:
    def test_v15_splits_trims_and_removes(self, root):
        def spans():
            return [(r["begin"][:10], r["end"][:10]) for r in rows("certified", root, CERTIFIED)
                    if not r["gap"]]  # fmt: skip

        def take(begin, end):
            options = ("--begin-date", begin, "--end-date", end)
            return cpflow("decertify", root, CERTIFIED, "bias", *options)

        take("2021-03-01", "2021-04-01")
        assert spans() == [("2021-01-01", "2021-03-01"), ("2021-04-01", "2022-01-01")]
        take("2021-04-01", "2021-05-01")
        assert spans() == [("2021-01-01", "2021-03-01"), ("2021-05-01", "2022-01-01")]
        done = cpflow("decertify", root, CERTIFIED, "bias", "--begin_date", "2021-05-01")
        assert spans() == [("2021-01-01", "2021-03-01")]
        assert "nothing is left" in done.stdout

    def test_v19_a_dry_run_prints_before_and_after_and_changes_nothing(self, root):
        before = contents(root)
        text = cpflow(
            "decertify", root, CERTIFIED, "bias", "--begin-date", "2021-06-01", "--dry-run"
        ).stdout
        head, tail = text.split("\nafter")
        assert "2022-01-01" in head
        assert "2021-06-01" in tail
        assert "nothing was changed" in tail
        assert contents(root) == before

    def test_v15_restricted_to_detectors_and_by_a_query(self, root):
        for option in (
            ("--detector", "1"),
            ("--detector", "1..8"),
            ("--where", "instrument='LATISS' AND detector = 1"),
        ):
            assert "no range" in cpflow("decertify", root, CERTIFIED, "bias", *option).stdout
        done = cpflow(
            "decertify", root, CERTIFIED, "bias", "--detector", "0..3", "--format", "json"
        )
        assert len(done.json["before"]) == 1
        assert done.json["after"] == []

    def test_v16_nothing_overlaps_is_no_error(self, root):
        before = contents(root)
        done = cpflow("decertify", root, CERTIFIED, "bias", "--begin-date", "2049-01-01")
        assert "no range" in done.stdout
        assert "no range" in cpflow("decertify", root, CERTIFIED, "dark").stdout
        assert contents(root) == before

    def test_csv_says_which_rows_are_before_and_after(self, root):
        text = cpflow(
            "decertify", root, CERTIFIED, "bias", "--begin-date", "2021-06-01", "--end-date",
            "2021-07-01", "--format", "csv",
        ).stdout  # fmt: skip
        states = [row["state"] for row in csv.DictReader(io.StringIO(text))]
        assert states == ["before", "after", "after"]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("u/me/biasGen", "bias"), "CALIBRATION"),
            (("nowhere", "bias"), "nowhere"),
            ((CERTIFIED, "bais"), "no product"),
            ((CERTIFIED, "bias", "--begin-date", ""), "empty date"),
            ((CERTIFIED, "bias", "--begin-date", "2022-01-01", "--end-date", "2021-01-01"),
             "empty"),
            ((CERTIFIED, "bias", "--detector", "x"), "'x' is not a number"),
            ((CERTIFIED, "bias", "--detector", "0..999999999"), "not a range"),
            ((CERTIFIED, "bias", "--where", "detector ="), "^"),
        ],
    )  # fmt: skip
    def test_v16_errors_change_nothing(self, root, arguments, message):
        before = contents(root)
        assert message in cpflow("decertify", root, *arguments, code=2).stderr
        assert contents(root) == before

    def test_the_command_that_a_conflict_suggests_makes_room(self, root, run_name):
        import shlex

        span = ("--begin-date", "2021-03-01", "--end-date", "2021-04-01")
        refused = cpflow("certify", root, run_name, CERTIFIED, "bias", *span, code=2).stderr
        advice = refused.split("make room: ")[1].strip()
        words = shlex.split(advice)
        assert words[0] == "cpflow"
        cpflow(*(str(root) if word == "REPO" else word for word in words[1:]))
        cpflow("certify", root, run_name, CERTIFIED, "bias", *span)


class TestRemoveRun:
    def test_c22_refuses_to_lose_certifications_and_shows_them(self, root, run_name):
        before = contents(root)
        done = cpflow("remove-run", root, run_name, "--unlink", "--yes", code=2)
        assert "1 certification(s)" in done.stderr
        assert f"{CERTIFIED}: bias" in done.stdout
        assert "--force" in done.stderr
        assert contents(root) == before

    def test_c23_a_run_in_a_chain_is_refused_before_anything_is_done(self, root, run_name):
        cpflow("decertify", root, CERTIFIED, "bias")
        before = contents(root)
        assert "u/me/biasGen" in cpflow("remove-run", root, run_name, "--yes", code=2).stderr
        assert contents(root) == before

    def test_force_removes_records_and_files(self, root, run_name):
        done = cpflow("remove-runs", root, run_name, "--force", "--no-confirm")
        assert "1 runs and 1 products removed" in done.stdout
        left = contents(root)
        assert left["datasets"] == []
        assert left["certified"] == []
        assert left["files"] == []
        assert run_name not in [name for name, *_ in left["collections"]]
        assert (root / ".staging").exists() is False or not any((root / ".staging").iterdir())
        assert "nothing is wrong" in cpflow("doctor", root).stdout

    def test_a_dry_run_and_a_no_change_nothing(self, root, run_name):
        before = contents(root)
        assert "holds 1 bias" in cpflow("remove-run", root, run_name, "--dry-run").stdout
        facts = cpflow("remove-run", root, "u/me/*", "--dry-run", "--json").json
        assert facts["counts"] == {"bias": 1}
        assert facts["removed"] is False
        assert len(facts["certifications"]) == 1
        answered = cpflow("remove-run", root, run_name, "--force", answer="n\n")
        assert "nothing was removed" in answered.stdout
        assert contents(root) == before

    def test_nobody_to_ask_is_refused_with_the_option(self, root, run_name):
        assert "--yes" in cpflow("remove-run", root, run_name, "--force", code=2).stderr
        cpflow("remove-run", root, run_name, "--force", answer="y\n")

    def test_raw_files_are_never_deleted(self, root, built):
        raws = sorted((built / "raws").glob("*.fits"))
        cpflow("remove-run", root, "LATISS/raw/all", "--force", "--yes")
        assert sorted((built / "raws").glob("*.fits")) == raws
        assert contents(root)["raws"] == []

    @pytest.mark.parametrize(
        ("pattern", "code"), [("nothing/*", 3), ("nothing", 2), ("u/me/biasGen", 2), ("", 2)]
    )
    def test_what_is_no_run_is_refused(self, built, pattern, code):
        cpflow("remove-run", built / "repo", pattern, "--yes", code=code)


class TestRemoveCollection:
    def test_c21_only_the_grouping_goes(self, root):
        before = contents(root)
        assert "1 certifications" in cpflow("remove-collection", root, CERTIFIED, "--yes").stdout
        after = contents(root)
        assert after["datasets"] == before["datasets"]
        assert after["files"] == before["files"]
        assert after["certified"] == []

    def test_c20_a_child_of_a_chain_is_refused_unless_unlinked(self, root):
        put_in_calib(root)
        assert (
            "LATISS/calib" in cpflow("remove-collections", root, CERTIFIED, "--yes", code=2).stderr
        )
        cpflow("remove-collections", root, CERTIFIED, "--yes", "--remove-from-parents")
        assert cpflow("collections", root, "LATISS/calib*").stdout.count("LATISS/calib") == 1

    def test_a_glob_passes_over_runs_and_a_named_run_is_refused(self, root, run_name):
        before = contents(root)
        done = cpflow("remove-collection", root, "u/me/*", "--dry-run")
        assert "u/me/biasGen (CHAINED)" in done.stdout
        assert run_name not in done.stdout
        cpflow("remove-collection", root, run_name, "--yes", code=2)
        cpflow("remove-collection", root, "u/me/*", answer="n\n")
        assert contents(root) == before
        assert "no collection" in cpflow("remove-collection", root, "zzz*", "--yes").stdout


class TestAssociate:
    def test_c2_the_same_again_is_no_error_and_removing_what_is_not_there_neither(self, root):
        for _ in range(2):
            cpflow("associate", root, "u/me/best", "--datasets", "bias")
        assert [r["type"] for r in rows("datasets", root, "--collections", "u/me/best")] == ["bias"]
        cpflow("associate", root, "u/me/best", "--remove", "--where", "instrument='LATISS'")
        assert rows("datasets", root, "--collections", "u/me/best") == []
        cpflow("associate", root, "u/me/best", "--remove", "--datasets", "bias", code=3)

    def test_c2_another_dataset_of_the_place_conflicts(self, root):
        cpflow("associate", root, "u/me/best", "--datasets", "bias")
        cpflow("run", "-b", root, "-p", "bias", "-o", "u/me/again", "-c", "isr.defect=false")
        before = contents(root)
        refused = cpflow(
            "associate", root, "u/me/best", "--collections", "u/me/again", code=2
        ).stderr
        assert "another dataset" in refused
        assert contents(root) == before

    def test_raws_can_be_vetted(self, root):
        query = f"exposure IN ({EXPOSURE}..{EXPOSURE + 1})"
        done = cpflow("associate", root, "LATISS/raw/DM-1", "--datasets", "raw", "-d", query)
        assert "2 in LATISS/raw/DM-1" in done.stdout
        plan = cpflow(
            "run", "-b", root, "-p", "bias", "-i", "LATISS/raw/DM-1", "--dry-run", "--json"
        ).json
        assert plan["products"][0]["exposures"] == [EXPOSURE, EXPOSURE + 1]
        one = f"exposure = {EXPOSURE}"
        cpflow("associate", root, "LATISS/raw/DM-1", "--datasets", "raw", "--remove", "-d", one)
        plan = cpflow(
            "run", "-b", root, "-p", "bias", "-i", "LATISS/raw/DM-1", "--dry-run", "--json"
        ).json
        assert plan["products"][0]["exposures"] == [EXPOSURE + 1]

    def test_c5_only_into_a_tagged_collection(self, root, run_name):
        before = contents(root)
        for name in (run_name, CERTIFIED, "u/me/biasGen"):
            assert "TAGGED" in cpflow("associate", root, name, "--datasets", "bias", code=2).stderr
        cpflow("associate", root, "u/me/best", code=2)
        cpflow("associate", root, "u/me/best", "--datasets", "raw", "-d", "exposure = 1", code=3)
        assert contents(root) == before


class TestLineage:
    def test_what_was_made_from_an_exposure(self, built):
        (found,) = rows("lineage", built / "repo", "exposure", EXPOSURE)
        assert found["type"] == "bias"
        assert found["certified in"] == CERTIFIED
        assert rows("lineage", built / "repo", "exposure", EXPOSURE, "--rebuild")[0][
            "relation"
        ] == ("rebuild")
        assert rows("lineage", built / "repo", "exposure", EXPOSURE, "--detector", 3) == []

    def test_what_a_product_was_made_from(self, built):
        (bias,) = rows("datasets", built / "repo", "bias")
        found = rows("lineage", built / "repo", "dataset", bias["id"])
        assert [row["exposure"] for row in found] == [EXPOSURE + i for i in range(6)]
        assert {row["relation"] for row in found} == {"made from"}

    @pytest.mark.parametrize(
        ("arguments", "code"),
        [(("exposure", "1"), 3), (("exposure", "x"), 2), (("dataset", "x"), 2),
         (("dataset", "00000000-0000-0000-0000-000000000000"), 3)],
    )  # fmt: skip
    def test_errors(self, built, arguments, code):
        cpflow("lineage", built / "repo", *arguments, code=code)


class TestCollections:
    def test_trees_can_be_turned_round(self, root):
        put_in_calib(root)
        text = cpflow("collections", root, CERTIFIED, "--chains", "inverse-tree").stdout
        assert text.splitlines()[2:] == [
            "LATISS/calib/DM-1  CALIBRATION",
            "  LATISS/calib     CHAINED",
        ]
        (found,) = rows("collections", root, CERTIFIED, "--chains", "inverse-table")
        assert found["parents"] == "LATISS/calib"
        (found,) = rows("collections", root, "LATISS/calib", "--chains", "table")
        assert found["children"] == CERTIFIED

    def test_c7_flattening_keeps_the_first_and_drops_chains(self, root, run_name):
        cpflow("chain", root, "u/me/inner", run_name, CERTIFIED)
        cpflow("chain", root, "u/me/outer", CERTIFIED, "u/me/inner")
        found = rows("collections", root, "u/me/outer", "--chains", "flatten")
        assert [row["collection"] for row in found] == [CERTIFIED, run_name]
        text = cpflow("collections", root, "u/me/outer").stdout.splitlines()
        assert text[-1].startswith(f"    {CERTIFIED}"), "a tree shows every place"
        assert cpflow("collections", root, "nowhere*").stdout.count("\n") == 2


def test_the_names_that_butler_users_know_work(built):
    for name in ("remove-runs", "remove-collections", "write-curated-calibrations",
                 "export-calibs", "import", "certify-calibrations"):  # fmt: skip
        assert "Usage" in cpflow(name, "--help").stdout


def test_listing_collections_loads_no_numpy(built):
    """What a listing has no need of is not imported: it doubles the time to start."""
    code = (
        "import sys\n"
        "from cpflow.cli.app import run\n"
        f"run(['collections', {str(built / 'repo')!r}])\n"
        "print('HEAVY', [m for m in ('numpy', 'dask', 'xarray', 'astropy') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("HEAVY []")
