"""A repository whose registry is in PostgreSQL, from end to end."""

from __future__ import annotations

import pytest
from commands import cpflow
from registries import postgresql_database

from cpflow import Repo

pytestmark = pytest.mark.postgresql


@pytest.fixture
def database():
    with postgresql_database() as url:
        yield url


def test_init_ingest_run_certify_look_up_and_transfer(database, biases, tmp_path):
    root = tmp_path / "repo"
    cpflow("init", root, "--instrument", biases.instrument, "--db", database)
    assert not (root / "registry.sqlite").exists()
    assert "12 files ingested" in cpflow("ingest", root, biases.raws).stdout
    assert "12 already there" in cpflow("ingest", root, biases.raws).stdout
    query = "instrument='LATISS' AND detector=0 AND day_obs = 20210121"
    cpflow("run", "-b", root, "-p", "bias", "-o", "u/me/biasGen", "-d", query)
    span = ("--begin-date", "2021-01-01", "--end-date", "2022-01-01")
    cpflow("certify", root, "u/me/biasGen", "LATISS/calib/DM-1", "bias", *span)
    cpflow("certify", root, "u/me/biasGen", "LATISS/calib/DM-1", "bias", *span, code=2)
    cpflow("chain", root, "LATISS/calib", "LATISS/calib/DM-1")
    with Repo(root) as repo:
        exposure = repo.exposures()[0].exposure
        bias = repo.get("bias", collections="LATISS/calib", exposure=exposure, detector=0)
        assert bias["image"].shape == repo.detector("LATISS", 0).shape
    (found,) = cpflow("explain", root, exposure, "--type", "bias", "--format", "json").json
    assert found["outcome"] == "used"
    cpflow("decertify", root, "LATISS/calib/DM-1", "bias", "--begin-date", "2021-06-01")
    (row,) = cpflow("certified", root, "LATISS/calib/DM-1", "--format", "json").json
    assert row["end"] == "2021-06-01T00:00:00"
    assert "nothing is wrong" in cpflow("doctor", root, "--checksum").stdout
    cpflow("export-collections", root, tmp_path / "out", "LATISS/calib")
    cpflow("init", tmp_path / "sqlite")
    cpflow("import-collections", tmp_path / "sqlite", tmp_path / "out")
    rows = cpflow("certified", tmp_path / "sqlite", "LATISS/calib", "--format", "json").json
    assert [r["id"] for r in rows] == [row["id"]], "the same product, from one database to another"
    cpflow("remove-run", root, "u/me/biasGen/*", "--force", "--yes")
    assert cpflow("datasets", root, "bias", "--format", "json").json == []


def test_the_password_is_not_shown(database, tmp_path):
    from sqlalchemy import make_url

    url = make_url(database).set(password="s3cret").render_as_string(hide_password=False)
    cpflow("init", tmp_path / "repo", "--db", url)
    done = cpflow("doctor", tmp_path / "repo")
    assert "s3cret" not in done.stdout + done.stderr
    refused = cpflow("init", tmp_path / "other", "--db", url, code=2)
    assert "already" in refused.stderr
    assert "s3cret" not in refused.stderr


def test_a_server_that_is_not_there_is_one_clear_error(tmp_path):
    pytest.importorskip("psycopg", reason="needs the extra cpflow[postgresql]")
    url = "postgresql+psycopg://me:s3cret@127.0.0.1:1/none"
    done = cpflow("init", tmp_path / "repo", "--db", url, code=1)
    assert "cannot be used" in done.stderr
    assert "s3cret" not in done.stderr
