"""Waivers, policy and certification with verdicts, through the commands; exit codes."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path

import pytest
from commands import contents, cpflow
from verifications import publish_verification

from cpflow.repo import Repository

AMP = "C04"
EXPOSURE = 2021012100001
NOISY = [
    (EXPOSURE, AMP, "NOISE", "fail"),
    (EXPOSURE, "C00", "NOISE", "pass"),
    (-1, "", "DRIFT", "pass"),
]
WAIVE = ("bias", "NOISE", "--category", "permanent", "--comment", "noisy since May")
NEW = "u/me/calib"


@pytest.fixture
def failed(root):
    """The bias of the repository has a verification in which one amplifier fails."""
    with Repository(root) as repository:
        (bias,) = repository.registry.datasets("bias")
        publish_verification(repository, bias, NOISY)
    return root


def rows(*arguments):
    return cpflow(*arguments, "--json").json


class TestWaive:
    def test_a_waiver_is_listed_taken_back_and_stays_in_the_history(self, failed):
        assert "no waiver is in force" in cpflow("waivers", failed).stdout
        scope = ("--detector", 0, "--amp", AMP, "--exposure", EXPOSURE, "--author", "me")
        more = ("--reference", "DM-1", "--until", "2200-01-01")
        text = cpflow("waive", failed, *WAIVE, *scope, *more).stdout
        for part in ("bias NOISE", f"amp={AMP}", "permanent", "2200-01-01", "by me", "since May"):
            assert part in text
        (one,) = rows("waivers", failed)
        assert one["state"] == "in force"
        assert (one["detector"], one["amp"], one["exposure"]) == (0, AMP, EXPOSURE)
        assert one["expires"] == "2200-01-01T00:00:00"
        assert one["reference"] == "DM-1"
        table = cpflow("waivers", failed).stdout
        assert one["id"][:8] in table
        assert one["id"] not in table
        assert rows("waivers", failed, "--product", "dark") == []
        done = cpflow("unwaive", failed, one["id"][:8], "--comment", "repaired", "--author", "you")
        assert "taken back" in done.stdout
        assert rows("waivers", failed) == []
        (taken,) = rows("waivers", failed, "--all")
        assert (taken["state"], taken["revoked_by"]) == ("revoked", "you")
        assert "repaired" in cpflow("waivers", failed, "--all").stdout

    def test_one_without_an_end_says_so(self, failed):
        assert "never expires" in cpflow("waive", failed, *WAIVE).stdout
        text = cpflow("waivers", failed).stdout
        assert "never" in text
        assert "(everything)" in text

    def test_json_is_one_object_and_a_candidate_its_checksum(self, failed, run_name):
        one = rows("waive", failed, *WAIVE, "--candidate", run_name)
        with Repository(failed) as repository:
            (bias,) = repository.registry.datasets("bias")
        assert one["candidate"] == bias.checksum
        assert one["category"] == "permanent"
        assert one["expires"] is None

    @pytest.mark.parametrize(
        ("arguments", "code", "message"),
        [
            (("bais", "NOISE"), 2, "no product 'bais'"),
            (("bias", "NOISE", "--amp", "C4"), 2, "did you mean"),
            (("bias", "NOISE", "--detector", "9"), 2, "no detector 9"),
            (("bias", "NOISE", "--exposure", "9"), 3, "9"),
            (("bias", "NOISE", "--filter", "r"), 2, "no filter"),
            (("bias", "NOISE", "--category", "because"), 2, "no category"),
            (("bias", "NOISE", "--comment", ""), 2, "needs a comment"),
            (("bias", "NOISE", "--until", "2001-01-01"), 2, "expired already"),
            (("bias", "NOISE", "--until", ""), 2, "empty date"),
            (("bias", "NOISE", "--candidate", "nowhere"), 2, "nowhere"),
            (("bias", "NOISE", "--candidate", "LATISS/raw/all"), 3, "holds no bias"),
            (("bias", "two words"), 2, "no name of a test"),
        ],
    )
    def test_errors_keep_nothing(self, built, arguments, code, message):
        root = built / "repo"
        defaults = ("--category", "permanent", "--comment", "x")
        product, test, *options = arguments
        # What is given last counts.
        done = cpflow("waive", root, product, test, *defaults, *options, code=code)
        assert message in done.stderr
        assert rows("waivers", root, "--all") == []

    def test_what_it_needs_is_asked_for(self, built):
        root = built / "repo"
        assert "--comment" in cpflow("waive", root, "bias", "X", "--category", "x", code=2).stderr
        assert "--category" in cpflow("waive", root, "bias", "X", "--comment", "x", code=2).stderr
        assert "--comment" in cpflow("unwaive", root, "12345678", code=2).stderr
        cpflow("unwaive", root, "12345678", "--comment", "x", code=3)
        cpflow("unwaive", root, "no id", "--comment", "x", code=2)

    def test_the_same_twice_is_refused_with_the_command_that_replaces_it(self, failed):
        cpflow("waive", failed, *WAIVE)
        refused = cpflow("waive", failed, *WAIVE, code=2).stderr
        advice = refused.split("to replace it: ")[1].split()
        assert advice[:2] == ["cpflow", "unwaive"]
        cpflow("unwaive", failed, advice[3], "--comment", "x")
        cpflow("waive", failed, *WAIVE)


class TestPolicy:
    def test_shown_changed_and_kept(self, root):
        assert cpflow("policy", root).stdout == "warn\n"
        assert cpflow("policy", root, "require").stdout == "require\n"
        assert cpflow("policy", root).stdout == "require\n"
        assert "no policy 'never'" in cpflow("policy", root, "never", code=2).stderr
        assert cpflow("policy", root).stdout == "require\n"
        # Nothing else is lost.
        assert "LATISS" in cpflow("records", root, "instrument").stdout

    def test_a_repository_is_made_with_one(self, tmp_path):
        cpflow("init", tmp_path / "a", "--instrument", "latiss", "--policy", "require")
        assert cpflow("policy", tmp_path / "a").stdout == "require\n"
        cpflow("init", tmp_path / "a", "--instrument", "latiss")
        assert cpflow("policy", tmp_path / "a").stdout == "require\n"
        cpflow("init", tmp_path / "b", "--policy", "perhaps", code=2)
        assert not (tmp_path / "b").exists()

    def test_one_that_nobody_knows_is_named(self, root, run_name):
        path = root / "cpflow.yaml"
        path.write_text(path.read_text() + "policy: perhaps\n")
        assert "'perhaps'" in cpflow("certify", root, run_name, NEW, "bias", code=2).stderr


class TestCertify:
    def test_warns_by_default_and_records(self, failed, run_name):
        done = cpflow("certify", failed, run_name, NEW, "bias")
        assert "failed (1 of 3 tests fail: NOISE x 1)" in done.stdout
        assert "certified, but" in done.stderr
        (row,) = cpflow("certified", failed, NEW, "--format", "json").json
        assert (row["verdict"], row["reason"]) == ("failed", "1 of 3 tests fail: NOISE x 1")
        assert "failed" in cpflow("certified", failed, NEW).stdout
        (line,) = csv.DictReader(
            io.StringIO(cpflow("certified", failed, NEW, "--format", "csv").stdout)
        )
        assert line["verdict"] == "failed"
        explained = ("explain", failed, EXPOSURE, "-i", NEW, "--type", "bias")
        (why,) = cpflow(*explained, "--format", "json").json
        assert (why["outcome"], why["verdict"]) == ("used", "failed")
        assert "failed" in cpflow(*explained).stdout

    def test_without_a_verification(self, root, run_name):
        done = cpflow("certify", root, run_name, NEW, "bias")
        assert "unverified" in done.stdout
        assert "it has no verification" in done.stderr
        (row,) = cpflow("certified", root, NEW, "--format", "json").json
        assert (row["verdict"], row["reason"]) == ("unverified", None)

    def test_require_refuses_with_exit_code_5_and_a_reason_is_recorded(self, failed, run_name):
        cpflow("policy", failed, "require")
        before = contents(failed)
        refused = cpflow("certify", failed, run_name, NEW, "bias", code=5).stderr
        for part in ("bias (instrument=LATISS", f"{EXPOSURE} {AMP} NOISE", "cpflow waive",
                     "--reason"):  # fmt: skip
            assert part in refused
        assert contents(failed) == before
        cpflow("certify", failed, run_name, NEW, "bias", "--reason", "", code=2)
        assert contents(failed) == before
        given = ("--reason", "nobody looks at C04", "--json")
        done = cpflow("certify", failed, run_name, NEW, "bias", *given).json
        assert [(v["verdict"], v["reason"]) for v in done["verdicts"]] == [
            ("failed", "nobody looks at C04")
        ]
        assert done["verdicts"][0]["detector"] == 0
        assert len(done["certified"]) == 1

    def test_a_waiver_lets_it_pass_and_is_named(self, failed, run_name):
        cpflow("policy", failed, "require")
        scope = ("--detector", 0, "--amp", AMP)
        one = rows("waive", failed, *WAIVE, *scope)
        done = cpflow("certify", failed, run_name, NEW, "bias")
        assert f"waived (of 3 tests 1 waived by {one['id'][:8]})" in done.stdout
        assert "certified, but" not in done.stderr
        cpflow("unwaive", failed, one["id"], "--comment", "repaired")
        cpflow("certify", failed, run_name, "u/me/other", "bias", code=5)
        (row,) = cpflow("certified", failed, NEW, "--format", "json").json
        assert row["verdict"] == "waived"

    def test_one_that_has_expired_does_not_and_is_named(self, failed, run_name):
        import time

        from cpflow.timespan import isoformat, utc_to_tai

        cpflow("policy", failed, "require")
        end = utc_to_tai(time.time_ns()) + 1_500_000_000
        cpflow("waive", failed, *WAIVE, "--detector", 0, "--until", isoformat(end))
        cpflow("certify", failed, run_name, NEW, "bias")
        while utc_to_tai(time.time_ns()) < end:
            time.sleep(0.05)
        refused = cpflow("certify", failed, run_name, "u/me/other", "bias", code=5).stderr
        assert f"expired at {isoformat(end)} TAI" in refused

    def test_exports_carry_the_verdict_and_no_waivers(self, failed, run_name, tmp_path):
        cpflow("waive", failed, *WAIVE, "--detector", 0)
        cpflow("certify", failed, run_name, NEW, "bias")
        cpflow("export-collections", failed, tmp_path / "out", NEW)
        cpflow("init", tmp_path / "there")
        cpflow("import-collections", tmp_path / "there", tmp_path / "out")
        (row,) = cpflow("certified", tmp_path / "there", NEW, "--format", "json").json
        assert row["verdict"] == "waived"
        assert rows("waivers", tmp_path / "there", "--all") == []


@pytest.fixture(scope="module")
def verified(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real verification, in which a limit is set so that one amplifier must fail."""
    root = tmp_path_factory.mktemp("verified") / "repo"
    shutil.copytree(built / "repo", root, symlinks=True)
    assert "cpflow waive" in verify(root, code=5).stderr
    return root


def verify(root, code):
    limits = f"limits.overrides=[{{test: NOISE, amp: {AMP}, high: -0.9, sigma: 0}}]"
    return cpflow(
        "run", "-b", root, "-p", "verify/bias", "--candidate", "u/me/biasGen",
        "-i", "LATISS/raw/all", "-o", "u/me/verify", "-d", "instrument='LATISS'", "-c", limits,
        code=code,
    )  # fmt: skip


def test_a_real_verification_from_failure_to_certificate(verified, run_name):
    cpflow("policy", verified, "require")
    refused = cpflow("certify", verified, run_name, NEW, "bias", code=5).stderr
    assert f"{AMP} NOISE" in refused
    cpflow("waive", verified, *WAIVE, "--candidate", run_name, "--amp", AMP)
    done = cpflow("certify", verified, run_name, NEW, "bias", "--json").json
    assert done["verdicts"][0]["verdict"] == "waived"
    with Repository(verified) as repository:
        (bias,) = repository.registry.datasets("bias")
        verdict = repository.verdict_of(bias)
    # One for each of the six exposures.
    assert verdict.counts["waived"] == 6
    assert "fail" not in verdict.counts
    assert verdict.failures == ()
    # To verify again is no failure either, until the waiver is taken back.
    assert "6 waived by" in verify(verified, code=0).stderr
    (one,) = rows("waivers", verified)
    cpflow("unwaive", verified, one["id"], "--comment", "repaired")
    verify(verified, code=5)


def test_the_certificate_of_an_old_repository_after_its_upgrade(root, run_name):
    """Without a table of waivers, as cpflow made it before; certified rows stay."""
    from sqlalchemy import text

    from cpflow.registry import schema

    with Repository(root) as repository, repository.registry._db.write() as connection:
        connection.execute(text("DROP TABLE waiver"))
        connection.execute(schema.version.update().values(version_num="0001"))
    for command in (("waivers", root), ("certified", root, "LATISS/calib/DM-1")):
        assert "doctor --upgrade" in cpflow(*command, code=2).stderr
    assert f"upgraded from 0001 to {schema.VERSION}" in cpflow("doctor", root, "--upgrade").stdout
    (row,) = cpflow("certified", root, "LATISS/calib/DM-1", "--format", "json").json
    assert row["run"] == run_name
    cpflow("waive", root, *WAIVE)
    assert len(rows("waivers", root)) == 1
