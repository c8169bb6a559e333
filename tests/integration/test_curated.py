"""Curated calibrations end to end: from ECSV files to a bias that knows its defects."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from commands import contents, cpflow

from cpflow.errors import ConflictError, NoDataError, ProductError, UsageError
from cpflow.io.ecsv_crosstalk import write_crosstalk
from cpflow.io.ecsv_defects import defects_product, write_defects
from cpflow.io.fits_defects import read_boxes
from cpflow.kernels.planes import BAD, INTRP
from cpflow.repo.curated import write_curated
from cpflow.timespan import from_iso

# A column across the boundary of the detector's halves, a corner, and one pixel.
BOXES = np.array([[20, 100, 1, 50], [0, 0, 2, 3], [200, 30, 1, 1]])
COLLECTION = "LATISS/calib/curated"


def add_defects(directory, stamp, boxes, instrument="LATISS", name="rxx_s00"):
    path = directory / "latiss" / "defects" / name / f"{stamp}.ecsv"
    write_defects(path, defects_product(np.array(boxes), instrument=instrument, detector=0), {})
    return path


def add_crosstalk(directory, stamp, camera):
    import xarray as xr

    names = [amplifier.name for amplifier in camera.detector(0).amplifiers]
    dims, shape = ("source_amp", "target_amp"), (len(names), len(names))
    units = {"units": "adu/adu"}
    product = xr.Dataset(
        {
            "coefficients": (dims, np.full(shape, 1e-4), units),
            "errors": (dims, np.full(shape, np.nan), units),
            "valid": (dims, np.ones(shape, bool), {"units": "1"}),
        },
        coords=dict.fromkeys(dims, names) | {},
        attrs={"instrument": "LATISS", "detector": 0},
    )
    path = directory / "latiss" / "crosstalk" / "rxx_s00" / f"{stamp}.ecsv"
    write_crosstalk(path, product, {})
    return path


@pytest.fixture
def curated(tmp_path):
    """Defects as LATISS publishes them: one file from 1970, one from the day of the biases."""
    directory = tmp_path / "curated"
    add_defects(directory, "19700101T000000", [[5, 5, 1, 1]])
    add_defects(directory, "20210121T000000", BOXES)
    (directory / "latiss" / "defects" / "README.md").write_text("where they come from")
    (directory / "latiss" / "transmission_filter").mkdir()
    return directory


def spans(repo, collection=COLLECTION):
    return [(c.dataset.type, c.timespan.begin, c.timespan.end) for c in repo.certified(collection)]


def utc(text):
    return from_iso(text, "utc")


def test_v41_ranges_come_from_file_names_as_utc_each_to_the_next(repo, curated):
    report = repo.write_curated(curated)
    change = utc("2021-01-21T00:00:00")
    assert change == from_iso("2021-01-21T00:00:37", "tai"), "37 s later than the same text in TAI"
    assert spans(repo) == [
        ("defects", utc("1970-01-01T00:00:00"), change),
        ("defects", change, None),
    ]
    assert {one.dataset.run for one in report.certified} == {
        f"{COLLECTION}/19700101T000000Z",
        f"{COLLECTION}/20210121T000000Z",
    }
    assert report.new_chain == "LATISS/calib"
    assert "2 certified" in repr(report)


def test_i10_what_is_certified_identically_is_skipped_and_said(repo, curated):
    repo.write_curated(curated)
    before = contents(repo.root)
    done = cpflow("curated", repo.root, curated)
    assert done.stdout.count("certified already, skipped") == 2
    assert contents(repo.root) == before
    again = cpflow("write-curated-calibrations", repo.root, curated, "--json").json
    assert len(again["already"]) == 2
    assert again["certified"] == []


def test_a_file_that_came_later_shortens_the_range_before_it(repo, curated):
    repo.write_curated(curated)
    add_defects(curated, "20211105T120000", [[7, 7, 1, 1]])
    report = repo.write_curated(curated)
    assert len(report.already) == 1
    assert [end for _, _, end in spans(repo)] == [
        utc("2021-01-21T00:00:00"), utc("2021-11-05T12:00:00"), None,
    ]  # fmt: skip
    between = add_defects(curated, "20210601T000000", [[8, 8, 1, 1]])
    repo.write_curated(curated)
    assert len(spans(repo)) == 4
    between.unlink()
    repo.write_curated(curated)
    assert len(spans(repo)) == 3, "and a file that went gives the time back"


def test_a_build_takes_curated_defects_by_certification(repo, curated):
    plain = repo.plan("bias").run(output="u/me/plain").product.compute()
    cpflow("curated", repo.root, curated)
    arguments = ("run", "-b", repo.root, "-p", "bias", "-d", "instrument='LATISS' AND detector=0")
    plan = cpflow(*arguments, "--dry-run", "--json").json
    used = plan["products"][0]["calibrations"]["defects"]
    assert "20210121T000000Z" in used
    cpflow(*arguments, "-o", "u/me/with")
    product = repo.get("bias", collections="u/me/with", detector=0).compute()
    inside = np.zeros(product["mask"].shape, bool)
    for x0, y0, width, height in BOXES:
        inside[y0 : y0 + height, x0 : x0 + width] = True
    # Interpolated pixels are kept out of the stack, so nothing good is left of them, and the
    # product has them filled and flagged; every other pixel has the bits that it had.
    mask = product["mask"].values
    assert ((mask & BAD) != 0)[inside].all()
    assert not mask[~inside].any()
    assert not (mask & INTRP)[~inside].any()
    assert (product["n_used"].values[inside] == 0).all()
    np.testing.assert_array_equal(product["image"].values[~inside], plain["image"].values[~inside])
    assert np.isfinite(product["image"].values).all()
    cpflow(*arguments, "-o", "u/me/without", "-c", "isr:doDefect=False")
    ignored = repo.get("bias", collections="u/me/without", detector=0).compute()
    np.testing.assert_array_equal(ignored["image"], plain["image"])
    assert not ignored["mask"].any()


def test_what_a_bias_used_can_be_asked(repo, curated):
    repo.write_curated(curated)
    run = repo.plan("bias").run(output="u/me/with")
    (defects,) = [
        one.dataset
        for one in repo.certified(COLLECTION)
        if one.dataset.run.endswith("20210121T000000Z")
    ]
    rows = cpflow("lineage", repo.root, "dataset", defects.id, "--format", "json").json
    assert [(row["relation"], row["id"]) for row in rows] == [("used by", run.datasets[0].id)]
    rows = cpflow("lineage", repo.root, "dataset", defects.id, "--rebuild", "--format", "json").json
    assert [row["type"] for row in rows] == ["defects", "bias"]
    rows = cpflow("lineage", repo.root, "dataset", run.datasets[0].id, "--format", "json").json
    assert [r["id"] for r in rows if r["relation"] == "made with"] == [defects.id]


def test_crosstalk_goes_the_same_way(repo, curated, tmp_path):
    add_crosstalk(curated, "19700101T000000", repo.camera("LATISS"))
    repo.write_curated(curated)
    found = repo.get(
        "crosstalk", collections="LATISS/calib", detector=0, exposure=repo.exposures()[0].exposure
    )
    assert found["coefficients"].dims == ("source_amp", "target_amp")
    assert float(found["coefficients"].sel(source_amp="C10", target_amp="C00")) == 1e-4
    cpflow("export", repo.root, f"{COLLECTION}/19700101T000000Z", tmp_path / "xt.ecsv",
           "--product", "crosstalk")  # fmt: skip
    cpflow("export", repo.root, f"{COLLECTION}/20210121T000000Z", tmp_path / "d.ecsv")
    assert "20 100 1 50" in (tmp_path / "d.ecsv").read_text()
    assert "CROSSTALK_RATIOS_UNITS: adu" in (tmp_path / "xt.ecsv").read_text()
    # Defects are FITS tables too, and come back as such; crosstalk has no such layout.
    cpflow("export", repo.root, f"{COLLECTION}/20210121T000000Z", tmp_path / "d.fits")
    assert [20, 100, 1, 50] in read_boxes(tmp_path / "d.fits")[0].tolist()
    cpflow("export", repo.root, f"{COLLECTION}/20210121T000000Z", tmp_path / "d.txt", code=2)
    cpflow("export", repo.root, f"{COLLECTION}/19700101T000000Z", tmp_path / "xt.fits",
           "--product", "crosstalk", code=2)  # fmt: skip


def test_a_collection_of_ones_own_makes_no_chain(repo, curated):
    cpflow("curated", repo.root, curated / "latiss", "--collection", "LATISS/calib/DM-2")
    names = repo.registry.collection_names()
    assert "LATISS/calib/DM-2/curated/20210121T000000Z" in names
    assert "LATISS/calib" not in names


def test_an_existing_chain_is_left_as_it_is(repo, curated):
    repo.registry.register_collection("u/me/x", "CALIBRATION")
    repo.registry.change_chain("LATISS/calib", ["u/me/x"])
    assert repo.write_curated(curated).new_chain is None
    assert repo.registry.collection("LATISS/calib").children == ("u/me/x",)


def spoil_box(directory):
    add_defects(directory, "20220101T000000", [[4000, 3999, 1, 1]])


def spoil_owner(directory):
    add_defects(directory, "20220101T000000", BOXES, instrument="DECam")


def spoil_name(directory):
    add_defects(directory, "high_cti", BOXES)


def spoil_date(directory):
    add_defects(directory, "20211301T000000", BOXES)


def spoil_detector(directory):
    add_defects(directory, "20220101T000000", BOXES, name="rxx_s01")


def spoil_all(directory):
    shutil.rmtree(directory / "latiss")


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (spoil_box, ProductError, "has no pixel of the detector"),
        (spoil_owner, ProductError, "INSTRUME is 'DECam'"),
        (spoil_name, UsageError, "high_cti.ecsv: the name does not say"),
        (spoil_date, UsageError, "20211301T000000.ecsv"),
        (spoil_detector, UsageError, "no detector 'rxx_s01'"),
        (spoil_all, NoDataError, "holds no curated"),
    ],
)
def test_one_file_that_cannot_be_used_leaves_everything_as_it_was(
    repo, curated, spoil, error, message
):
    spoil(curated)
    before = contents(repo.root)
    with pytest.raises(error, match=message):
        write_curated(repo, curated)
    assert contents(repo.root) == before
    assert not repo.store.leftovers()


def test_a_file_that_changed_under_its_name_is_refused(repo, curated):
    repo.write_curated(curated)
    before = contents(repo.root)
    add_defects(curated, "20210121T000000", [[9, 9, 1, 1]])
    with pytest.raises(ConflictError, match="its content has changed"):
        repo.write_curated(curated)
    assert contents(repo.root) == before
    repo.write_curated(curated, collection="LATISS/calib/new")


def test_what_somebody_certified_is_not_displaced(repo, curated):
    repo.write_curated(curated)
    early, late = (one.dataset for one in repo.certified(COLLECTION))
    span = repo.certified(COLLECTION)[1].timespan
    assert early.checksum != late.checksum
    repo.registry.certify("LATISS/calib/mine", [early], span, create=True)
    before = contents(repo.root)
    with pytest.raises(ConflictError, match="another --collection"):
        repo.write_curated(curated, collection="LATISS/calib/mine")
    assert contents(repo.root) == before, "neither files nor runs are left behind"


def test_the_wrong_type_of_collection_is_refused_before_a_file_is_written(repo, curated):
    before = contents(repo.root)
    cpflow("curated", repo.root, curated, "--collection", "LATISS/raw/all", code=2)
    cpflow("curated", repo.root, curated, "--collection", "../x", code=2)
    cpflow("curated", repo.root, curated / "nowhere", code=3)
    assert contents(repo.root) == before
