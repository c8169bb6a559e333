"""Verifications of a run as they count now: of real runs, by Python and by command."""

from __future__ import annotations

import json
import uuid
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from commands import cpflow
from measured import FIRST, build_biases, verify_biases
from verifications import publish_verification

from cpflow import Repo
from cpflow.errors import NoDataError
from cpflow.registry import DataId, DatasetRef, Lineage
from cpflow.report.product import Report
from cpflow.report.verification import VerificationReport, verification_of

QUERY = "instrument='LATISS' AND detector=0"
BUILT = 8
STRICT = {"limits.overrides": [{"test": "NOISE", "amp": "C04", "high": -0.5}]}
WHY = {"category": "permanent", "comment": "it is known"}


@pytest.fixture
def verified(repo):
    """A bias of eight exposures, and its verification by twelve, in which one amplifier fails."""
    exposures = repo.exposures(QUERY)
    built = repo.plan("bias", exposures[:BUILT]).run(output_run="candidate")
    plan = repo.plan("verify/bias", exposures, candidate="candidate", config=STRICT)
    run = plan.run(output="u/me/verifyBias")
    return SimpleNamespace(repo=repo, built=built, run=run, exposures=exposures)


class TestReport:
    def test_of_a_run(self, verified):
        report = verified.run.report
        assert isinstance(report, VerificationReport)
        assert isinstance(verified.built.report, Report)
        (bias,) = verified.built.datasets
        assert report.verdict == "fail"
        table, stored = report.table, verified.run.product.compute()
        for name in stored:
            if stored[name].dims == ("row",):
                np.testing.assert_array_equal(table[name].values, stored[name].values)
        assert set(table["candidate"].values) == {bias.checksum}
        assert (set(table["product"].values), set(table["detector"].values)) == ({"bias"}, {0})
        used = {e.exposure for e in verified.exposures[:BUILT]}
        inside = np.isin(table["exposure"].values, list(used))
        assert 0 < inside.sum() < len(inside)
        np.testing.assert_array_equal(table["construction"].values, inside)
        failures = report.failures
        assert set(failures["amp"].values) == {"C04"}
        assert failures.sizes["row"] == len(verified.exposures)
        (said,) = report.products
        assert (said["exposures"], said["construction"]) == (len(verified.exposures), BUILT)
        assert said["failed_tests"] == {"NOISE": len(verified.exposures)}

    def test_the_same_by_run_by_chain_and_by_product(self, verified):
        refs = verified.run.report.refs
        for name in (verified.run.name, "u/me/verifyBias", "candidate", verified.run):
            assert verified.repo.verification(name).refs == refs
        (bias,) = verified.built.datasets
        assert verification_of(verified.repo, bias).refs == refs
        for options in ({"detector": 3}, {"product": "dark"}):
            with pytest.raises(NoDataError, match="holds no verification"):
                verified.repo.verification("u/me/verifyBias", **options)
        with pytest.raises(NoDataError, match="holds no verification"):
            verified.repo.verification("LATISS/raw/all")

    def test_waivers_count_as_of_an_instant(self, verified):
        before = verified.repo.verification("u/me/verifyBias")
        one = verified.repo.waive("bias", "NOISE", detector=0, amp="C04", author="me", **WHY)
        after = verified.repo.verification("u/me/verifyBias")
        assert (before.verdict, after.verdict) == ("fail", "waived")
        waived = after.table["verdict"].values == "waived"
        assert waived.sum() == len(verified.exposures)
        assert set(after.table["waiver"].values[waived]) == {one.id}
        assert set(after.table["waiver"].values[~waived]) == {""}
        assert after.failures.sizes["row"] == 0
        early = verified.repo.verification("u/me/verifyBias", at=one.created - 1)
        assert early.verdict == "fail"

    def test_page(self, verified, tmp_path):
        verified.repo.waive(
            "bias", "NOISE", detector=0, exposure=verified.exposures[0].exposure, **WHY
        )
        report = verified.repo.verification("u/me/verifyBias")
        (page,) = report.save(tmp_path / "page.html")
        html = page.read_text()
        (bias,) = verified.built.datasets
        for said in (
            "Verification of bias of LATISS, detector 0",
            bias.checksum,
            f"12 exposures: {BUILT} construction, 4 independent",
            "more noise than expected",  # advice
            "clipped standard deviation over what is expected",  # meaning
            "it is known",
            "waives 1",
            "up to 0.05 ± 3 errors",
        ):
            assert said in html, said
        assert html.count("data:image/png;base64,") == len(verified.exposures)
        assert "http" not in html.replace("http://www.w3.org/2000/svg", "").replace(
            'startswith(("https', ""
        )
        assert html.count("<script") == 3
        assert "srcdoc" in report._repr_html_()

    def test_parquet_is_the_table(self, verified, tmp_path):
        report = verified.run.report
        report.save(tmp_path / "rows.parquet")
        found = pq.read_table(tmp_path / "rows.parquet")
        table = report.table
        assert found.column_names == list(table)
        for name in table:
            values, column = table[name].values, found[name]
            if values.dtype.kind == "f":
                np.testing.assert_array_equal(column.to_numpy(), values)
                assert column.null_count == np.isnan(values).sum()
            else:
                assert column.to_pylist() == values.tolist()
        (summary,) = json.loads(pq.read_metadata(tmp_path / "rows.parquet").metadata[b"cpflow"])
        assert summary["verdict"] == "fail"

    def test_a_product_says_what_its_verification_came_to(self, verified, tmp_path):
        verified.built.report.save(tmp_path / "bias.html")
        assert "failed: 12 of " in (tmp_path / "bias.html").read_text()

    def test_without_independent_exposures_the_page_says_so(self, verified, tmp_path):
        run = verified.repo.plan("verify/bias", verified.exposures[:BUILT], candidate="candidate")
        report = run.run().report
        report.save(tmp_path / "page.html")
        html = (tmp_path / "page.html").read_text()
        assert "Every required test passes" in html
        assert "Every exposure is one that the product was made from" in html


class TestSeveral:
    @pytest.fixture
    def quad(self, tmp_path):
        Repo.create(tmp_path / "repo", "quad").close()
        with Repo(tmp_path / "repo") as repo:
            yield repo

    def test_rows_of_all_detectors_follow_each_other(self, quad, tmp_path):
        exposures = [FIRST + i for i in range(5)]
        biases = build_biases(quad, range(4), exposures[:2])
        verify_biases(quad, biases, exposures, lambda d, e, amp: 0.2 * (d == 3))
        report = quad.verification("u/me/verify")
        table = report.table
        assert list(dict.fromkeys(table["detector"].values)) == [0, 1, 2, 3]
        assert set(report.failures["detector"].values) == {3}
        assert [one["verdict"] for one in report.products] == ["pass"] * 3 + ["fail"]
        report.save(tmp_path / "rows.parquet")
        assert pq.ParquetFile(tmp_path / "rows.parquet").num_row_groups == 4
        for one, bias in zip(report.products, biases, strict=True):
            assert one["candidate"] == bias.checksum

    def test_what_a_product_without_raws_was_made_from(self, quad):
        """The exposures of a product that was made of products are theirs."""
        (source,) = build_biases(quad, [1], [FIRST, FIRST + 1])
        path = quad.store.relative("u/me/of", "bias_2.zarr")
        made = DatasetRef(str(uuid.uuid4()), "bias", DataId("QUAD", 2), "u/me/of", path, "sha256:a")
        quad.registry.publish("u/me/of", [made], lineages={made.id: Lineage((), (source.id,))})
        rows = [(exposure, "A", "NOISE", "pass") for exposure in (FIRST, FIRST + 9)]
        publish_verification(quad, made, rows)
        table = quad.verification("u/me/verify").table
        assert table["construction"].values.tolist() == [True, False]


class TestCommands:
    @pytest.fixture
    def root(self, verified):
        verified.repo.close()
        return verified.repo.root

    def test_failures_and_exit_code(self, root, verified, tmp_path):
        done = cpflow("verification", root, "u/me/verifyBias", code=5)
        first, head, _, *rows = done.stdout.splitlines()
        assert first.startswith("bias of LATISS, detector 0: fail (")
        assert "4 of them independent" in first
        shown = "exposure amp test value error low high margin units verdict"
        assert head.split() == shown.split()
        assert len(rows) == len(verified.exposures)
        assert all(row.split()[1:3] == ["C04", "NOISE"] for row in rows)
        assert "12 required tests fail" in done.stderr
        found = cpflow("verification", root, "candidate", "--json", code=5).json
        assert found["verdict"] == "fail"
        assert len(found["failures"]) == 12
        assert found["failures"][0]["low"] is None
        assert found["products"][0]["construction"] == BUILT

    def test_parquet(self, root, tmp_path):
        target = tmp_path / "rows.parquet"
        cpflow("verification", root, "candidate", "--parquet", target, "--failures", code=5)
        assert pq.read_table(target).num_rows == 12
        done = cpflow("verification", root, "candidate", "--parquet", target, code=2)
        assert "--overwrite replaces it" in done.stderr
        cpflow("verification", root, "candidate", "--parquet", target, "--overwrite", code=5)
        assert pq.read_table(target).num_rows > 1000

    def test_what_is_waived_is_no_failure(self, root):
        why = ("--category", "permanent", "--comment", "known")
        cpflow("waive", root, "bias", "NOISE", "--detector", 0, "--amp", "C04", *why)
        done = cpflow("verification", root, "u/me/verifyBias")
        assert "detector 0: waived (" in done.stdout
        assert len(done.stdout.splitlines()) == 1
        cpflow("verification", root, "LATISS/raw/all", code=3)

    def test_report(self, root, tmp_path):
        done = cpflow("report", root, "u/me/verifyBias", "-o", tmp_path)
        assert done.stdout.split() == [str(tmp_path / "bias_verification-0.html")]
        done = cpflow("report", root, "candidate", "-o", tmp_path)
        names = [line.rsplit("/", 1)[-1] for line in done.stdout.split()]
        assert names == ["bias-0.html", "bias-0.png", "bias-0-verification.html"]
        assert all((tmp_path / name).stat().st_size > 10_000 for name in names)
