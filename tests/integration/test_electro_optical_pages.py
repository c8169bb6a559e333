"""Reports and exports of electro-optical products in a repository, by the commands."""

from __future__ import annotations

import re
import uuid

import numpy as np
import pytest
from astropy.table import Table
from commands import cpflow
from electro_optical import NO_CURVE, crosstalk, kernel, linearizer, ptc

from cpflow.io.zarr_product import content_hash, write_product
from cpflow.registry import DataId, DatasetRef, Lineage
from cpflow.report.product import Report

RUN = "u/me/curves/20210312T000000Z"
FIGURES = {"ptc": 3, "linearizer": 2, "bfk": 1, "crosstalk": 1}


@pytest.fixture
def curves(repo):
    """A run with a photon transfer curve, what is made from it, and a crosstalk matrix."""
    numbers = [e.exposure for e in repo.exposures()]
    names = list(repo.detector("LATISS", 0).amplifier_names)
    pairs = np.array(numbers[:12]).reshape(6, 2)
    products = {
        "ptc": ptc(names, pairs=6, lags=5, bad=(3,), exposures=pairs),
        "linearizer": linearizer(names, bad=(3,)),
        "bfk": kernel(names, side=4, invalid=(3,)),
        "crosstalk": crosstalk(names),
    }
    refs = {}
    for kind, product in products.items():
        path = repo.store.relative(RUN, f"{kind}_LATISS_0.zarr")
        repo.store.absolute(path).parent.mkdir(parents=True, exist_ok=True)
        write_product(repo.store.absolute(path), product)
        provenance = {
            "created": "2021-03-12T00:00:00+00:00",
            "user": "me",
            "graph": {"name": kind, "source": "0" * 64},
            "query": "",
            "inputs": ["LATISS/raw/all"],
            "calibrations": {
                "bias": [{"id": "1234", "run": "u/me/bias", "checksum": "sha256:0"}],
                "ptc": [{"of_this_run": "ptc-0", "identity": "0"}],
            },
        }
        refs[kind] = DatasetRef(
            str(uuid.uuid4()), kind, DataId("LATISS", 0), RUN, path, content_hash(product),
            provenance=provenance,
        )  # fmt: skip
    made_with = Lineage(datasets=(refs["ptc"].id,))
    repo.registry.publish(
        RUN,
        list(refs.values()),
        lineages={refs["bfk"].id: made_with, refs["linearizer"].id: made_with},
    )
    return repo, products, refs


@pytest.mark.parametrize("kind", FIGURES)
def test_a_page_has_the_figures_and_a_row_for_each_amplifier(curves, tmp_path, kind):
    repo, _, refs = curves
    page = tmp_path / "out" / "page.html"
    done = cpflow("report", repo.root, RUN, "--product", kind, "-o", page)
    written = done.stdout.split()
    assert len(written) == 1 + FIGURES[kind]
    assert written[0] == str(page)
    assert all(name.startswith(f"{page.with_suffix('')}-") for name in written[1:])
    html = page.read_text()
    assert html.count("data:image/png;base64,") == FIGURES[kind]
    text = re.sub(r"base64,[A-Za-z0-9+/=]*", "", html)
    assert "http" not in text, "the page needs no network"
    assert "<script" not in text
    for name in repo.detector("LATISS", 0).amplifier_names:
        assert f"<td>{name}</td>" in text
    assert refs[kind].id in text
    assert "1234 of run u/me/bias" in text
    assert "ptc-0 of this run" in text
    assert not re.search(r"\bnan\b", text)
    if kind == "ptc":
        assert f'<td class="text">{NO_CURVE}</td>' in text
        assert "1.2500 ± 0.0050" in text
        assert "fit type FULLCOVARIANCE" in text
        assert text.count('<tr class="bad">') == 2, "one amplifier, one pair"


def test_a_notebook_shows_the_page(curves):
    repo, _, refs = curves
    html = Report(repo, refs["bfk"])._repr_html_()
    assert html.startswith("<iframe")
    assert "an element is too high" in html
    # A second page does not change what the first said of a run.
    assert html == Report(repo, refs["bfk"])._repr_html_()


@pytest.mark.parametrize("kind", ["ptc", "linearizer", "bfk"])
def test_tables_are_exported_as_fits(curves, tmp_path, kind):
    repo, products, refs = curves
    path = tmp_path / f"{kind}.fits"
    done = cpflow("export", repo.root, RUN, path, "--product", kind)
    assert done.stdout.strip() == str(path)
    table = Table.read(path, hdu=1, mask_invalid=False)
    table.convert_bytestring_to_unicode()
    assert len(table) == 16
    assert list(table.columns[0]) == list(repo.detector("LATISS", 0).amplifier_names)
    assert table.meta["CALIB_ID"] == refs[kind].id
    assert table.meta["DET_NAME"] == repo.detector("LATISS", 0).name
    gain = products["ptc"]["gain"].values
    np.testing.assert_array_equal(
        table[{"ptc": "GAIN", "linearizer": "INPUT_GAIN", "bfk": "GAIN"}[kind]], gain
    )
    if kind == "ptc":
        first = repo.registry.exposure(int(products["ptc"]["exposures"].values[2, 0]))
        mjd = table["INPUT_EXP_PAIR_MJD_START"][0, 2]
        assert set(table["PTCAUX_observationType"][0]) == {"bias"}
        begin = np.datetime64("1858-11-17") + np.timedelta64(round(mjd * 86_400_000), "ms")
        # Doubles of a day hold a time to a microsecond.
        assert str(begin)[:19] in str(first.timespan)
    if kind == "linearizer":
        np.testing.assert_array_equal(table["INPUT_TURNOFF"], products["ptc"]["turnoff"].values)


def test_a_product_whose_curve_is_gone_is_exported_without_it(curves, tmp_path):
    import shutil

    repo, _, refs = curves
    shutil.rmtree(repo.store.absolute(refs["ptc"].path))
    cpflow("export", repo.root, RUN, tmp_path / "bfk.fits", "--product", "bfk")
    table = Table.read(tmp_path / "bfk.fits", hdu=1, mask_invalid=False)
    assert np.isnan(table["GAIN"]).all()


@pytest.mark.parametrize(
    ("kind", "name"),
    [("ptc", "a.ecsv"), ("linearizer", "a.fit"), ("bfk", "a"), ("crosstalk", "a.fits")],
)
def test_a_wrong_suffix_is_refused_and_nothing_written(curves, tmp_path, kind, name):
    repo, _, _ = curves
    target = tmp_path / "out" / name
    done = cpflow("export", repo.root, RUN, target, "--product", kind, code=2)
    form = "ECSV" if kind == "crosstalk" else "FITS"
    assert f"{kind} are written as {form}" in done.stderr
    assert not target.parent.exists()
