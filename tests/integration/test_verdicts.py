"""Verdicts of products, and certifying with them. Verifications have a chosen outcome."""

from __future__ import annotations

import getpass
import logging
import uuid

import pytest
from registries import address, exposure, raw
from verifications import publish_verification

from cpflow import Repo
from cpflow.errors import ConflictError, NoDataError, UsageError, VerificationError
from cpflow.registry import DataId, DatasetRef, schema
from cpflow.repo.verdicts import Status, verdicts_of

NIGHT = 2021012100001
SOUND = [(NIGHT, "C00", "NOISE", "pass"), (NIGHT, "C00", "LEVEL", "informational")]
NOISY = [
    *SOUND,
    (NIGHT, "C04", "NOISE", "fail"),
    (NIGHT + 1, "C04", "NOISE", "fail"),
    (-1, "", "DRIFT", "pass"),
]
UNTESTED = [*SOUND, (NIGHT, "C04", "NOISE", "no_data")]
WHY = {"category": "permanent", "comment": "it is noisy"}
CALIB = "LATISS/calib/DM-1"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def repo(request, tmp_path):
    """A repository with three detectors, and products that are only registered."""
    with address(request.param, tmp_path) as url:
        Repo.create(tmp_path / "repo", "latiss", db=url).close()
        with Repo(tmp_path / "repo") as opened:
            for detector in (1, 2):
                opened.registry.register_detector("LATISS", detector, f"D{detector}")
            yield opened


def build(repo, run="u/me/biasGen", product="bias", detectors=(0,), physical_filter=None):
    refs = [
        DatasetRef(
            str(uuid.uuid4()),
            product,
            DataId("LATISS", detector, physical_filter),
            run,
            repo.store.relative(run, f"{product}_{detector}.zarr"),
            f"sha256:{uuid.uuid4().hex * 2}",
        )
        for detector in detectors
    ]
    return repo.registry.publish(run, refs)


class TestVerdict:
    def test_what_passes_is_verified(self, repo):
        (bias,) = build(repo)
        verification = publish_verification(repo, bias, SOUND)
        found = repo.verdict_of(bias)
        assert found.status is Status.VERIFIED
        assert found.is_clean
        assert (found.verification, found.run) == (verification.id, "u/me/verify")
        assert found.counts == {"pass": 1, "informational": 1}
        assert found.text == "verified: 1 tests pass"
        assert found.failures == found.waivers == found.notes == ()

    def test_what_has_no_verification_is_unverified(self, repo):
        (bias,) = build(repo)
        (cti,) = build(repo, "u/me/cti", "cti")
        found = repo.verdict_of(bias)
        assert found.status is Status.UNVERIFIED
        assert not found.is_clean
        assert found.text == "unverified: it has no verification"
        assert "cpflow has no verification of cti" in repo.verdict_of(cti).text

    def test_failures_are_named_and_waived_one_by_one(self, repo):
        (bias,) = build(repo)
        publish_verification(repo, bias, NOISY)
        found = repo.verdict_of(bias)
        assert found.status is Status.FAILED
        assert found.failures == (f"{NIGHT} C04 NOISE", f"{NIGHT + 1} C04 NOISE")
        assert found.text == "failed: 2 of 4 tests fail: NOISE x 2"
        one = repo.waive("bias", "NOISE", detector=0, amp="C04", author="me", **WHY)
        found = repo.verdict_of(bias)
        assert found.status is Status.WAIVED
        assert found.is_clean
        assert found.failures == ()
        assert found.waivers == (one,)
        assert found.counts == {"pass": 2, "waived": 2, "informational": 1}
        assert found.text == f"waived: of 4 tests 2 waived by {one.short}"
        repo.unwaive(one, comment="it was repaired")
        assert repo.verdict_of(bias).status is Status.FAILED

    def test_a_part_that_is_waived_leaves_it_failed(self, repo):
        (bias,) = build(repo)
        publish_verification(repo, bias, NOISY)
        night = exposure(20210121, 1, instrument="LATISS")
        assert night.exposure == NIGHT
        repo.registry.add_exposure(night, [raw(night)], "LATISS/raw/all")
        one = repo.waive("bias", "NOISE", exposure=NIGHT, **WHY)
        found = repo.verdict_of(bias)
        assert found.status is Status.FAILED
        assert found.failures == (f"{NIGHT + 1} C04 NOISE",)
        assert found.text == f"failed: 1 of 4 tests fail: NOISE x 1; 1 waived by {one.short}"

    def test_no_data_is_not_verified_and_can_be_waived(self, repo):
        (bias,) = build(repo)
        publish_verification(repo, bias, UNTESTED)
        found = repo.verdict_of(bias)
        assert found.status is Status.NO_DATA
        assert found.failures == (f"{NIGHT} C04 NOISE",)
        assert found.text == "no_data: 1 of 2 tests have no data: NOISE x 1"
        repo.waive("bias", "NOISE", detector=0, amp="C04", **WHY)
        assert repo.verdict_of(bias).status is Status.WAIVED

    def test_a_verification_without_a_required_test_says_nothing(self, repo):
        (bias,) = build(repo)
        publish_verification(repo, bias, [(NIGHT, "C00", "LEVEL", "informational")])
        assert repo.verdict_of(bias).text == "no_data: 0 of 0 tests have no data: none is required"

    def test_the_newest_verification_counts(self, repo):
        (bias,) = build(repo)
        publish_verification(repo, bias, NOISY, "u/me/verify/1")
        assert repo.verdict_of(bias).status is Status.FAILED
        publish_verification(repo, bias, SOUND, "u/me/verify/2")
        found = repo.verdict_of(bias)
        assert (found.status, found.run) == (Status.VERIFIED, "u/me/verify/2")
        publish_verification(repo, bias, NOISY, "u/me/verify/3")
        assert repo.verdict_of(bias).status is Status.FAILED

    def test_one_of_other_content_does_not_count_and_that_is_said(self, repo):
        (bias,) = build(repo)
        publish_verification(repo, bias, SOUND, "u/me/stale", candidate_checksum="sha256:other")
        found = repo.verdict_of(bias)
        assert found.status is Status.UNVERIFIED
        assert found.text.endswith("verified was other content than it has now: u/me/stale")
        # A stale one that is newer does not hide an older one that counts.
        publish_verification(repo, bias, SOUND, "u/me/verify/1")
        publish_verification(repo, bias, NOISY, "u/me/stale/2", candidate_checksum="sha256:other")
        found = repo.verdict_of(bias)
        assert (found.status, found.run) == (Status.VERIFIED, "u/me/verify/1")
        assert found.notes == ("verifications of other content do not count: u/me/stale/2",)

    def test_verifications_of_other_products_do_not_count(self, repo):
        bias, other = build(repo, detectors=(0, 1))
        (dark,) = build(repo, "u/me/darkGen", "dark")
        publish_verification(repo, other, SOUND)
        publish_verification(repo, dark, SOUND, "u/me/verify/dark")
        assert [v.status for v in verdicts_of(repo, [dark, bias, other])] == [
            Status.VERIFIED, Status.UNVERIFIED, Status.VERIFIED,
        ]  # fmt: skip
        assert verdicts_of(repo, []) == []

    def test_waivers_count_as_of_an_instant(self, repo):
        (bias,) = build(repo)
        publish_verification(repo, bias, NOISY)
        one = repo.waive("bias", "NOISE", detector=0, until="2200-01-01", **WHY)
        statuses = [
            verdicts_of(repo, [bias], at)[0].status
            for at in (one.created - 1, one.created, one.expires - 1, one.expires)
        ]
        assert statuses == [Status.FAILED, Status.WAIVED, Status.WAIVED, Status.FAILED]
        (late,) = verdicts_of(repo, [bias], one.expires)
        assert late.notes == (f"waiver {one.short} of NOISE expired at 2200-01-01T00:00:00 TAI",)

    def test_waivers_that_say_nothing_or_too_much_are_told(self, repo):
        (bias,) = build(repo)
        publish_verification(repo, bias, SOUND)
        unused = repo.waive("bias", "NOISE", detector=0, **WHY)
        broad = repo.waive("bias", "DRIFT", **WHY)
        repo.waive("bias", "NOISE", detector=1, **WHY)
        found = repo.verdict_of(bias)
        assert found.status is Status.VERIFIED
        assert found.unused == (unused, broad)
        assert found.over_broad == (broad,)
        publish_verification(repo, bias, NOISY, "u/me/verify/2")
        found = repo.verdict_of(bias)
        assert (found.waivers, found.unused, found.over_broad) == ((unused,), (broad,), (broad,))
        assert len(found.notes) == 2

    def test_a_table_that_is_gone_leaves_the_summary(self, repo):
        (bias,) = build(repo)
        verification = publish_verification(repo, bias, NOISY)
        repo.waive("bias", "NOISE", detector=0, **WHY)
        repo.store.remove(verification.path)
        table = schema.dataset
        with repo.registry._db.write() as connection:
            connection.execute(
                table.update().where(table.c.uuid == verification.id).values(stored=False)
            )
        found = repo.verdict_of(bias)
        assert found.status is Status.FAILED
        assert len(found.failures) == 2
        assert found.notes == ("the table of its verification is gone: no waiver can be applied",)

    def test_without_a_summary_the_table_says_it(self, repo):
        (bias,) = build(repo)
        verification = publish_verification(repo, bias, SOUND)
        table = schema.dataset
        with repo.registry._db.write() as connection:
            connection.execute(
                table.update().where(table.c.uuid == verification.id).values(provenance={})
            )
        assert repo.verdict_of(bias).status is Status.VERIFIED


class TestWaive:
    def test_what_is_known_of_camera_and_product_is_checked(self, repo):
        build(repo)
        for fields, error, message in [
            ({"amp": "C99"}, UsageError, "no amplifier 'C99'"),
            ({"detector": 7}, UsageError, "no detector 7"),
            ({"exposure": 12345}, NoDataError, "12345"),
            ({"physical_filter": "r"}, UsageError, "a bias has no filter"),
            ({"product": "flat", "physical_filter": "zz"}, UsageError, "no filter 'zz'"),
            ({"product": "cti"}, UsageError, "cpflow verifies no cti"),
            ({"product": "bais"}, UsageError, "no product 'bais'"),
            ({"instrument": "HSC"}, UsageError, "HSC"),
            ({"until": "2001-01-01"}, UsageError, "expired already"),
            ({"until": "someday"}, UsageError, "someday"),
            ({"candidate": "nowhere"}, UsageError, "nowhere"),
            ({"candidate": "u/me/biasGen", "product": "dark"}, NoDataError, "holds no dark"),
        ]:
            values = {"product": "bias", "test": "NOISE", **WHY, **fields}
            with pytest.raises(error, match=message):
                repo.waive(**values)
        assert repo.waivers(history=True) == []

    def test_the_names_of_the_page_are_taken_and_gain_is_verified_too(self, repo):
        assert repo.waive("linearity", "RESIDUAL", **WHY).product == "linearizer"
        assert repo.waive("gain", "GAIN", **WHY).product == "gain"

    def test_the_user_signs_and_never_is_said(self, repo, caplog):
        caplog.set_level(logging.INFO, "cpflow")
        one = repo.waive("bias", "NOISE", **WHY)
        assert one.author == getpass.getuser()
        assert "it never expires" in caplog.text
        assert "is about every detector, amplifier and exposure" in caplog.text
        assert repo.unwaive(one.short, comment="why not").revoked_by == getpass.getuser()

    def test_one_of_a_candidate_is_about_that_product_only(self, repo):
        old, other = build(repo, detectors=(0, 1))
        (new,) = build(repo, "u/me/new")
        for i, ref in enumerate((old, other, new)):
            publish_verification(repo, ref, NOISY, f"u/me/verify/{i}")
        with pytest.raises(UsageError, match=r"(?s)holds 2 products.*--detector"):
            repo.waive("bias", "NOISE", candidate="u/me/biasGen", **WHY)
        one = repo.waive("bias", "NOISE", candidate="u/me/biasGen", detector=0, **WHY)
        assert (one.candidate, one.detector) == (old.checksum, 0)
        statuses = [verdict.status for verdict in verdicts_of(repo, [old, other, new])]
        assert statuses == [Status.WAIVED, Status.FAILED, Status.FAILED]
        repo.waive("bias", "NOISE", candidate=new, **WHY)
        assert repo.verdict_of(new).status is Status.WAIVED

    def test_filters_of_flats(self, repo):
        repo.registry.register_filter("LATISS", "r_1", "r")
        repo.registry.register_filter("LATISS", "g_1", "g")
        (red,) = build(repo, "u/r", "flat", physical_filter="r_1")
        (green,) = build(repo, "u/g", "flat", physical_filter="g_1")
        publish_verification(repo, red, NOISY, "u/v/r")
        publish_verification(repo, green, NOISY, "u/v/g")
        repo.waive("flat", "NOISE", physical_filter="r_1", **WHY)
        assert [verdict.status for verdict in verdicts_of(repo, [red, green])] == [
            Status.WAIVED, Status.FAILED,
        ]  # fmt: skip

    def test_a_test_that_no_verification_has_is_told(self, repo, caplog):
        (bias,) = build(repo)
        repo.waive("bias", "NOSE", detector=0, **WHY)
        assert "has a test" not in caplog.text
        publish_verification(repo, bias, NOISY)
        repo.waive("bias", "NOSE", detector=1, **WHY)
        assert "has a test 'NOSE'; did you mean 'NOISE'?" in caplog.text


class TestCertify:
    def test_the_verdict_is_recorded_and_what_is_not_clean_is_told(self, repo, caplog):
        refs = build(repo, detectors=(0, 1, 2))
        publish_verification(repo, refs[0], SOUND, "u/me/verify/0")
        publish_verification(repo, refs[1], NOISY, "u/me/verify/1")
        done = repo.certify("u/me/biasGen", CALIB, "bias")
        assert done == repo.certified(CALIB)
        assert [(one.verdict, one.reason) for one in done] == [
            ("verified", None),
            ("failed", "2 of 4 tests fail: NOISE x 2"),
            ("unverified", None),
        ]
        told = [record.message for record in caplog.records if record.levelname == "WARNING"]
        assert len(told) == 2
        assert "detector=1" in told[0]
        assert "certified, but" in told[1]

    def test_a_reason_that_is_given_is_recorded_with_the_verdict(self, repo):
        refs = build(repo, detectors=(0, 1))
        publish_verification(repo, refs[0], NOISY)
        done = repo.certify("u/me/biasGen", CALIB, "bias", reason="for a test")
        assert {(one.verdict, one.reason) for one in done} == {
            ("failed", "for a test"),
            ("unverified", "for a test"),
        }

    def test_a_policy_that_requires_refuses_all_of_them_or_none(self, repo):
        assert repo.policy == "warn"
        repo.set_policy("require")
        refs = build(repo, detectors=(0, 1, 2))
        publish_verification(repo, refs[0], SOUND, "u/me/verify/0")
        publish_verification(repo, refs[1], NOISY, "u/me/verify/1")
        with pytest.raises(VerificationError) as caught:
            repo.certify("u/me/biasGen", CALIB, "bias")
        shown = str(caught.value)
        assert caught.value.exit_code == 5
        for part in (
            "2 of 3 products", "detector=1", f"{NIGHT} C04 NOISE", "detector=2",
            "it has no verification", "cpflow run -p verify/bias", "cpflow waive", "--reason",
        ):  # fmt: skip
            assert part in shown
        assert CALIB not in repo.registry.collection_names()
        with pytest.raises(UsageError, match="reason is empty"):
            repo.certify("u/me/biasGen", CALIB, "bias", reason="  ")
        one = repo.waive("bias", "NOISE", detector=1, **WHY)
        with pytest.raises(VerificationError, match="1 of 3 products"):
            repo.certify("u/me/biasGen", CALIB, "bias")
        publish_verification(repo, refs[2], UNTESTED, "u/me/verify/2")
        with pytest.raises(VerificationError, match="1 of 3 products"):
            repo.certify("u/me/biasGen", CALIB, "bias")
        publish_verification(repo, refs[2], SOUND, "u/me/verify/2a")
        done = repo.certify("u/me/biasGen", CALIB, "bias")
        assert [one.verdict for one in done] == ["verified", "waived", "verified"]
        assert done[1].reason == f"of 4 tests 2 waived by {one.short}"

    def test_what_cannot_be_verified_needs_a_reason_too(self, repo):
        repo.set_policy("require")
        build(repo, "u/me/cti", "cti")
        with pytest.raises(VerificationError, match="no verification of cti") as caught:
            repo.certify("u/me/cti", CALIB, "cti")
        assert "cpflow run" not in str(caught.value)
        (one,) = repo.certify("u/me/cti", CALIB, "cti", reason="looked at by hand")
        assert (one.verdict, one.reason) == ("unverified", "looked at by hand")

    def test_a_waiver_that_ends_later_does_not_change_what_was_recorded(self, repo):
        (bias,) = build(repo)
        publish_verification(repo, bias, NOISY)
        one = repo.waive("bias", "NOISE", detector=0, **WHY)
        repo.certify("u/me/biasGen", CALIB, "bias")
        repo.unwaive(one, comment="wrong")
        assert [held.verdict for held in repo.certified(CALIB)] == ["waived"]
        assert repo.verdict_of(bias).status is Status.FAILED

    def test_conflicts_are_refused_as_before(self, repo):
        build(repo)
        repo.certify("u/me/biasGen", CALIB, "bias", begin="2021-01-01")
        with pytest.raises(ConflictError, match="overlap"):
            repo.certify("u/me/biasGen", CALIB, "bias")
        repo.certify("u/me/biasGen", CALIB, "bias", replace=True)
        assert len(repo.certified(CALIB)) == 1

    def test_only_tables_of_what_failed_are_opened(self, repo, monkeypatch):
        for detector in range(3, 20):
            repo.registry.register_detector("LATISS", detector, f"D{detector}")
        refs = build(repo, detectors=range(20))
        for ref in refs:
            detector = ref.data_id.detector
            rows = NOISY if detector == 12 else SOUND
            publish_verification(repo, ref, rows, f"u/me/verify/{detector}")
        opened = []
        plain = repo.open_dataset
        monkeypatch.setattr(repo, "open_dataset", lambda ref: opened.append(ref) or plain(ref))
        done = repo.certify("u/me/biasGen", CALIB, "bias")
        assert [ref.data_id.detector for ref in opened] == [12]
        assert [one.dataset.data_id.detector for one in done if one.verdict != "verified"] == [12]


def test_a_long_list_of_warnings_is_cut(repo, caplog):
    for detector in range(3, 30):
        repo.registry.register_detector("LATISS", detector, f"D{detector}")
    build(repo, detectors=range(30))
    caplog.set_level(logging.INFO, "cpflow")
    repo.certify("u/me/biasGen", CALIB, "bias")
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(told) == 11
    assert told[-1] == "certified, but 20 more like these"
    assert "certified 30 datasets of u/me/biasGen: 30 unverified" in caplog.text
