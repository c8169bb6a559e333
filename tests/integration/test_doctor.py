"""Is a repository sound? Every kind of damage is found, named, and given a remedy."""

from __future__ import annotations

import os
import shutil
import time

import pytest
from commands import contents, cpflow

import cpflow.registry.check as check
from cpflow import Repo
from cpflow.repo.doctor import Level, clean, examine


@pytest.fixture
def made(own_repo):
    """A repository with a bias, whose raw files the test may damage."""
    run = own_repo.plan("bias", "instrument='LATISS'").run(output="u/me/biasGen")
    own_repo.certify(run, "LATISS/calib/DM-1", begin="2021-01-01")
    return own_repo


def product_path(repo):
    (ref,) = repo.registry.datasets("bias")
    return repo.store.absolute(ref.path)


def test_a_sound_repository_has_no_findings_and_says_its_versions(made):
    assert examine(made, checksum=True) == []
    done = cpflow("doctor", made.root, "--checksum")
    assert "nothing is wrong" in done.stdout
    assert "zarr " in done.stdout
    facts = cpflow("doctor", made.root, "--json").json
    assert facts["findings"] == []
    assert facts["versions"]["cpflow"]


def test_a_missing_product_names_where_it_is_certified(made):
    shutil.rmtree(product_path(made))
    done = cpflow("doctor", made.root, code=4)
    assert "is missing" in done.stdout
    assert "LATISS/calib/DM-1" in done.stdout
    assert "--replace" in done.stdout


def test_a_product_of_another_size_is_damaged(made):
    (product_path(made) / "extra").write_text("x")
    (found,) = examine(made)
    assert found.level is Level.ERROR
    assert "bytes, not" in found.problem


def test_i8_damage_that_keeps_the_size_is_found_by_checksum(made):
    part = max(
        (p for p in product_path(made).rglob("*") if p.is_file()), key=lambda p: p.stat().st_size
    )
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 255
    part.write_bytes(data)
    raw = made.root / made.registry.raw_places()[3].path
    data = bytearray(raw.read_bytes())
    data[-100] ^= 255
    raw.write_bytes(data)
    assert examine(made) == []
    product, frame = sorted(examine(made, checksum=True), key=lambda one: one.subject)
    assert "damaged" in product.problem
    assert "exposure 2021012100004" in frame.subject
    assert "has changed since it was ingested" in frame.problem
    assert "--update-records" in frame.remedy


def test_raw_files_that_went_or_shrank(made, own_biases):
    own_biases.paths[0].unlink()
    data = own_biases.paths[1].read_bytes()
    own_biases.paths[1].write_bytes(data[:-2880])
    done = cpflow("doctor", made.root, code=4)
    assert done.stdout.count("error: raw of exposure") == 2
    assert "2 things are missing or damaged" in done.stderr


def test_orphans_are_found_and_cleaned_but_never_what_is_registered(made):
    good = product_path(made)
    orphan = made.root / "products" / "u" / "gone" / "bias_LATISS_0.zarr"
    shutil.copytree(good, orphan)
    before = contents(made.root)["datasets"]
    (found,) = examine(made)
    assert found.level is Level.WARNING
    assert "belongs to no dataset" in found.problem
    done = cpflow("doctor", made.root, "--clean")
    assert "cleaned" in done.stdout
    assert not orphan.exists()
    assert good.exists()
    assert contents(made.root)["datasets"] == before
    assert "nothing is wrong" in cpflow("doctor", made.root).stdout


def test_a_product_whose_group_is_damaged_is_not_taken_for_orphans(made):
    """Without its root metadata the arrays inside look like groups of their own."""
    (product_path(made) / "zarr.json").unlink()
    found = examine(made)
    assert [one.level for one in found] == [Level.ERROR]
    assert clean(made, found) == []


def test_what_a_process_is_about_to_register_is_no_orphan(made):
    store = made.store
    staging = store.staging("a run that is going on")
    target = made.root / "products" / "u" / "me" / "new" / "x" / "bias_LATISS_0.zarr"
    shutil.copytree(product_path(made), target)
    with store.locked(staging):
        staging.write_facts({"run": "u/me/new/x"})
        assert examine(made) == []
        staging.write_facts({"run": "import", "runs": ["u/me/new/x"]})
        assert examine(made) == []
    findings = examine(made)
    assert {one.subject for one in findings} == {"staging", "store"}
    with store.locked(staging):
        assert clean(made, findings) == [], "it has been taken up again"
    assert len(clean(made, findings)) == 2
    assert examine(made) == []


def test_an_interrupted_run_says_how_to_resume(made):
    staging = made.store.staging("0123456789abcdef")
    staging.write_facts({"run": "u/me/x", "graph": "bias"})
    (found,) = examine(made)
    assert "run u/me/x was interrupted" in found.problem
    assert "the same command resumes it" in found.remedy


def test_copies_of_raws_that_nobody_registered(made, own_biases):
    directory = made.root / "raw" / "LATISS" / "20210121"
    directory.mkdir(parents=True)
    shutil.copyfile(own_biases.paths[0], directory / "lost.fits")
    old, new = directory / ".a.fits.123.tmp", directory / ".b.fits.124.tmp"
    for path in (old, new):
        path.write_text("half")
    os.utime(old, (time.time() - 7200,) * 2)
    findings = examine(made)
    assert {one.level for one in findings} == {Level.WARNING}
    assert len(findings) == 2
    clean(made, findings)
    assert not old.exists()
    assert new.exists(), "somebody may be copying it now"
    assert (directory / "lost.fits").exists(), "raw data is never deleted"
    cpflow("ingest", made.root, directory, "--output-run", "LATISS/raw/again")
    assert examine(made) == []


def test_sqlite_on_a_network_file_system_is_warned_of(made, monkeypatch):
    monkeypatch.setattr(check, "network_file_system", lambda path: "nfs4")
    done = cpflow("doctor", made.root)
    assert "warning: registry" in done.stdout
    assert "nfs4" in done.stdout
    assert "postgresql" in done.stdout


def test_an_older_schema_is_refused_with_the_command_and_upgraded_by_it(made, monkeypatch):
    from cpflow.registry import schema

    assert "up to date" in cpflow("doctor", made.root, "--upgrade").stdout
    monkeypatch.setattr(schema, "VERSION", f"{int(schema.VERSION) + 1:04d}")
    assert "doctor --upgrade" in cpflow("doctor", made.root, code=2).stderr


def test_what_is_no_repository(tmp_path):
    cpflow("doctor", tmp_path, code=2)
    cpflow("doctor", tmp_path, "--upgrade", code=2)


def test_a_damaged_database_is_an_error_and_not_a_traceback(made):
    root = made.root
    made.close()
    path = root / "registry.sqlite"
    data = bytearray(path.read_bytes())
    data[8192:16384] = os.urandom(8192)
    path.write_bytes(data)
    for leftover in root.glob("registry.sqlite-*"):
        leftover.unlink()
    done = _any_code("doctor", root)
    assert "damaged" in done or "not a sound registry" in done or "malformed" in done


def _any_code(*arguments):
    for code in (1, 4, 2):
        try:
            done = cpflow(*arguments, code=code)
        except AssertionError as error:
            if "exit code" not in str(error):
                raise
            continue
        return done.stdout + done.stderr
    raise AssertionError("no error")


def test_a_notebook_sees_the_same(made):
    with Repo(made.root) as repo:
        assert examine(repo) == []
