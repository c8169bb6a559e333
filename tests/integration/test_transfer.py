"""Collections from one repository to another (spec 5.2)."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from commands import contents, cpflow

from cpflow import Repo
from cpflow.errors import ConflictError, NoDataError, ProductError, UsageError
from cpflow.io.zarr_product import content_hash
from cpflow.repo.transfer import export_collections, import_collections

CERTIFIED = "LATISS/calib/DM-1"


@pytest.fixture
def made(repo):
    """A repository with a certified bias, a chain and a tag."""
    run = repo.plan("bias", "instrument='LATISS'").run(output="u/me/biasGen")
    repo.certify(run, CERTIFIED, begin="2021-01-01", end="2022-01-01", reason="looks well")
    repo.registry.change_chain("LATISS/calib", [CERTIFIED], doc="recommended")
    repo.registry.associate("u/me/best", run.datasets)
    return repo


@pytest.fixture
def exported(made, tmp_path):
    export_collections(made, tmp_path / "out", ["LATISS/calib", "u/me/best"])
    return tmp_path / "out"


@pytest.fixture
def other(tmp_path):
    """An empty repository, which does not even know the instrument."""
    with Repo.create(tmp_path / "other") as opened:
        yield opened


def test_x1_x2_everything_arrives_with_the_same_ids(made, exported, other):
    done = import_collections(other, exported)
    assert len(done.datasets) == 1
    assert done.certified == 1
    (theirs,), (ours,) = made.registry.datasets("bias"), other.registry.datasets("bias")
    assert (ours.id, ours.run, ours.checksum) == (theirs.id, theirs.run, theirs.checksum)
    assert dict(ours.provenance) == dict(theirs.provenance)
    assert other.registry.lineage(ours.id) == made.registry.lineage(theirs.id)
    here, there = other.certified(CERTIFIED), made.certified(CERTIFIED)
    assert [(c.timespan, c.reason) for c in here] == [(c.timespan, c.reason) for c in there]
    assert other.registry.collection("LATISS/calib").children == (CERTIFIED,)
    assert other.registry.collection("LATISS/calib").doc == "recommended"
    found = other.registry.datasets("bias", collections=["u/me/best"])
    assert [one.id for one in found] == [theirs.id]
    assert content_hash(other.open_dataset(ours)) == ours.checksum
    np.testing.assert_array_equal(
        other.open_dataset(ours)["image"], made.open_dataset(theirs).image
    )
    assert "nothing is wrong" in cpflow("doctor", other.root, "--checksum").stdout


def test_x2_importing_again_is_harmless_and_says_so(made, exported, other):
    import_collections(other, exported)
    before = contents(other.root)
    text = cpflow("import", other.root, exported).stdout
    assert "0 products imported, 1 here already, 0 certifications added" in text
    assert contents(other.root) == before
    cpflow("import", made.root, exported)


def test_a_product_is_found_by_time_in_the_receiving_repository(made, exported, other):
    import_collections(other, exported)
    assert other.registry.instruments() == ["LATISS"]
    record = made.exposures()[0]
    found = other.registry.find("bias", ("LATISS", 0), "LATISS/calib", record.timespan)
    assert found is not None


def test_commands_say_what_went(made, other, tmp_path):
    text = cpflow("export-calibs", made.root, tmp_path / "o", "LATISS/calib").stdout
    assert "1 products, 1 certifications" in text
    facts = cpflow("import-collections", other.root, tmp_path / "o", "--json").json
    assert facts["certified"] == 1
    assert len(facts["datasets"]) == 1
    cpflow("export-collections", made.root, tmp_path / "d", "LATISS/calib", "--type", "dark")
    assert json.loads((tmp_path / "d" / "collections.json").read_text())["datasets"] == []


def test_a_chain_with_other_children_here_is_kept_and_said(made, exported, other):
    other.registry.register_collection("mine", "CALIBRATION")
    other.registry.change_chain("LATISS/calib", ["mine"])
    done = import_collections(other, exported)
    assert done.kept_chains == ["LATISS/calib"]
    assert other.registry.collection("LATISS/calib").children == ("mine",)
    assert len(other.certified(CERTIFIED)) == 1


class TestCompleteOrNotAtAll:
    def test_a_missing_or_damaged_product_stops_the_export(self, made, tmp_path):
        (ref,) = made.registry.datasets("bias")
        path = made.store.absolute(ref.path)
        part = next(p for p in sorted((path / "image" / "c").rglob("*")) if p.is_file())
        part.write_bytes(part.read_bytes()[:-10])
        with pytest.raises(ProductError, match="is damaged"):
            export_collections(made, tmp_path / "out", CERTIFIED)
        shutil.rmtree(path)
        with pytest.raises(ProductError, match="missing"):
            export_collections(made, tmp_path / "out", CERTIFIED)
        assert not [p for p in tmp_path.iterdir() if "out" in p.name], "nothing is left"

    def test_an_existing_directory_is_not_touched(self, made, exported):
        before = sorted(exported.rglob("*"))
        with pytest.raises(UsageError, match="exists"):
            export_collections(made, exported, CERTIFIED)
        assert sorted(exported.rglob("*")) == before

    def test_unknown_names_are_refused(self, made, tmp_path):
        cpflow("export-collections", made.root, tmp_path / "o", "nowhere", code=2)
        cpflow("export-collections", made.root, tmp_path / "o", "LATISS/*", code=2)
        cpflow("export-collections", made.root, tmp_path / "o", CERTIFIED, "--type", "b", code=2)
        cpflow("export-collections", made.root, tmp_path / "o", "", code=2)
        assert not (tmp_path / "o").exists()

    def test_a_damaged_product_stops_the_import(self, exported, other):
        part = next(p for p in sorted(exported.rglob("n_used/c/**/*")) if p.is_file())
        part.write_bytes(b"")
        before = contents(other.root)
        with pytest.raises(ProductError, match="is damaged"):
            import_collections(other, exported)
        assert contents(other.root) == before

    def test_another_product_of_the_same_run_and_data_id_conflicts(self, made, exported, other):
        import_collections(other, exported)
        records = json.loads((exported / "collections.json").read_text())
        old = records["datasets"][0]["id"]
        new = "12345678-1234-1234-1234-123456789012"
        text = (exported / "collections.json").read_text().replace(old, new)
        (exported / "collections.json").write_text(text)
        (exported / "products" / old).rename(exported / "products" / new)
        before = contents(other.root)
        with pytest.raises(ConflictError, match="holds another bias"):
            import_collections(other, exported)
        assert contents(other.root) == before
        assert "nothing is wrong" in cpflow("doctor", other.root, "--checksum").stdout

    def test_a_range_that_is_taken_here_stops_the_import(self, made, exported, other):
        import_collections(other, exported)
        other.decertify(CERTIFIED, "bias", begin="2021-06-01")
        before = contents(other.root)
        with pytest.raises(ConflictError, match="overlap"):
            import_collections(other, exported)
        assert contents(other.root) == before


class TestHostileExports:
    """What an export says is not trusted."""

    def spoil(self, exported, change):
        path = exported / "collections.json"
        records = json.loads(path.read_text())
        change(records)
        path.write_text(json.dumps(records))

    @pytest.mark.parametrize(
        "change",
        [
            lambda r: r["datasets"][0].update(run="../../outside"),
            lambda r: r["datasets"][0].update(id="../../../etc"),
            lambda r: r["datasets"][0].update(stored="yes"),
            lambda r: r["collections"][0].update(name="/etc"),
            lambda r: r["datasets"][0].update(data_id={"detektor": 1}),
            lambda r: r.update(datasets=7),
            lambda r: r.pop("collections"),
        ],
    )
    def test_records_that_no_export_holds_are_refused(self, exported, other, tmp_path, change):
        self.spoil(exported, change)
        before, around = contents(other.root), sorted(tmp_path.iterdir())
        with pytest.raises((UsageError, ConflictError)):
            import_collections(other, exported)
        assert contents(other.root) == before
        assert sorted(tmp_path.iterdir()) == around

    def test_the_path_of_a_product_does_not_come_from_the_export(self, exported, other):
        self.spoil(exported, lambda r: r["datasets"][0].update(path="../../../outside"))
        import_collections(other, exported)
        (ref,) = other.registry.datasets("bias")
        assert ref.path.startswith("products/u/me/biasGen/")

    def test_links_inside_a_product_are_refused(self, exported, other, tmp_path):
        (tmp_path / "secret").write_text("secret")
        product = next((exported / "products").iterdir())
        (product / "link").symlink_to(tmp_path / "secret")
        before = contents(other.root)
        with pytest.raises(ProductError, match="neither a file"):
            import_collections(other, exported)
        assert contents(other.root) == before

    def test_no_export_and_no_json(self, other, tmp_path):
        with pytest.raises(NoDataError, match="holds no export"):
            import_collections(other, tmp_path)
        (tmp_path / "collections.json").write_text("{")
        with pytest.raises(UsageError, match="cannot be read"):
            import_collections(other, tmp_path)
        (tmp_path / "collections.json").write_text(
            '{"format": 99, "collections": [], "datasets": []}'
        )
        with pytest.raises(UsageError, match="format 99"):
            import_collections(other, tmp_path)
