"""Bad input: each fault names file and exposure, and leaves the repository as it was."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from astropy.io import fits
from commands import cpflow

from cpflow import Repo
from cpflow.errors import BuildError, CpflowError, NoDataError, RawError
from cpflow.repo.ingest import ingest

QUERY = "instrument='LATISS' AND detector=0"


def contents(repo):
    """Everything that a repository shows: records, collections, datasets, files of products."""
    registry = repo.registry
    return (
        [e.exposure for e in registry.exposures("")],
        sorted(registry.collection_names()),
        sorted(ref.id for ref in registry.datasets("*")),
        sorted(str(p) for p in (repo.root / "products").rglob("*"))
        if (repo.root / "products").exists()
        else [],
        sorted(str(p) for p in (repo.root / "raw").rglob("*")),
    )


def truncate(path):
    path.write_bytes(path.read_bytes()[:-20000])


def empty(path):
    path.write_bytes(b"")


def not_fits(path):
    path.write_text("this is not a FITS file\n" * 200)


def flip_a_bit(path):
    """One bit of one pixel, without changing DATASUM."""
    content = bytearray(path.read_bytes())
    content[-4000] ^= 16
    path.write_bytes(bytes(content))


def wrong_shape(path):
    with fits.open(path) as hdus:
        hdus[3].data = np.ascontiguousarray(hdus[3].data[:-7])
        hdus.writeto(path, overwrite=True, checksum=True)


def missing_amplifier(path):
    with fits.open(path) as hdus:
        del hdus[-1]
        hdus.writeto(path, overwrite=True, checksum=True)


def missing_keyword(path):
    with fits.open(path) as hdus:
        for name in ("DAYOBS", "SEQNUM", "OBSID", "OBS-NITE"):
            hdus[0].header.remove(name, ignore_missing=True)
        hdus.writeto(path, overwrite=True, checksum=True)


def nan_in_header(path):
    """FITS cannot hold NaN as a number, but cameras write it as a word."""
    with fits.open(path) as hdus:
        hdus[0].header["EXPTIME"] = "NaN"
        hdus.writeto(path, overwrite=True, checksum=True)


INGEST_FAULTS = [
    (truncate, "truncated"),
    (empty, "empty"),
    (not_fits, "not a FITS file"),
    (flip_a_bit, "(?i)checksum|datasum"),
    (wrong_shape, "imaging|rows|shape"),
    (missing_amplifier, "HDU|amplifier"),
    (missing_keyword, "exposure|DAYOBS|SEQNUM"),
    (nan_in_header, "EXPTIME"),
]


@pytest.mark.filterwarnings("ignore::astropy.io.fits.verify.VerifyWarning")
@pytest.mark.parametrize(("fault", "message"), INGEST_FAULTS)
def test_a_faulty_file_is_refused_and_the_others_go_in(own_biases, tmp_path, fault, message):
    root = tmp_path / "repo"
    Repo.create(root, own_biases.instrument).close()
    victim = own_biases.paths[4]
    fault(victim)
    with Repo(root) as repo:
        for transfer in ("copy", "direct"):
            report = ingest(repo, [own_biases.raws], transfer=transfer)
            assert [refused.path for refused in report.refused] == [str(victim)]
            error = report.refused[0].error
            assert isinstance(error, RawError)
            assert victim.name in str(error)
            assert "hint" in str(error), "a remedy is named"
            with pytest.raises(AssertionError):
                assert_matches("no such words anywhere", str(error))
            assert_matches(message, str(error))
        assert len(repo.exposures()) == len(own_biases.paths) - 1
        assert not [p for p in (root / "raw").rglob("*") if victim.name in p.name]


def assert_matches(pattern, text):
    import re

    assert re.search(pattern, text), text


def test_the_same_exposure_twice(own_biases, tmp_path):
    """Identical content is already there; other content under the same exposure is refused."""
    root = tmp_path / "repo"
    Repo.create(root, own_biases.instrument).close()
    with Repo(root) as repo:
        ingest(repo, [own_biases.raws])
        before = contents(repo)
        again = ingest(repo, [own_biases.raws])
        assert (len(again.added), len(again.already)) == (0, len(own_biases.paths))
        other = own_biases.raws / "other.fits"
        shutil.copyfile(own_biases.paths[0], other)
        with fits.open(other) as hdus:
            hdus[1].data = hdus[1].data + 1
            hdus.writeto(other, overwrite=True, checksum=True)
        report = ingest(repo, [other])
        assert len(report.refused) == 1
        assert str(repo.exposures()[0].exposure) in str(report.refused[0].error)
        assert contents(repo) == before


def saturate(path):
    with fits.open(path) as hdus:
        for hdu in hdus[1:]:
            if hdu.is_image:
                hdu.data = np.full_like(hdu.data, 200000)
        hdus.writeto(path, overwrite=True, checksum=True)


def vanish(path):
    path.unlink()


BUILD_FAULTS = [
    (truncate, "truncated|ends"),
    (vanish, "not there"),
]


@pytest.mark.parametrize(("fault", "message"), BUILD_FAULTS)
def test_a_file_damaged_after_ingest_stops_its_product(own_repo, own_biases, fault, message):
    victim = own_biases.paths[2]
    exposure = own_repo.exposures()[2].exposure
    before = contents(own_repo)
    fault(victim)
    with pytest.raises(BuildError) as caught:
        own_repo.plan("bias", QUERY).run(output="u/test/biasGen")
    text = str(caught.value)
    assert victim.name in text
    assert str(exposure) in text
    assert "--drop-bad 1" in text
    assert_matches(message, text)
    after = contents(own_repo)
    assert after[0] == before[0]
    assert after[2:] == before[2:], "no dataset, no product file"
    assert "u/test/biasGen" not in after[1], "a failed run is not in its chain"


def test_all_pixels_saturated_names_the_exposure(own_biases, tmp_path):
    saturate(own_biases.paths[5])
    root = tmp_path / "repo"
    Repo.create(root, own_biases.instrument).close()
    with Repo(root) as repo:
        ingest(repo, [own_biases.raws])
        exposure = repo.exposures()[5].exposure
        with pytest.raises(BuildError, match=f"(?s)saturated.*{exposure}"):
            repo.plan("bias", QUERY).run()
        run = repo.plan("bias", QUERY, drop_bad=1).run()
        product = run.product.compute()
        dropped = product["exposure"].values[product["dropped"].values]
        assert list(dropped) == [exposure]
        assert run.summaries["bias-0"]["dropped"] == [exposure]
        assert product["n_used"].max() <= len(own_biases.paths) - 1


def test_dropped_exposures_leave_the_same_bits_as_a_shorter_list(own_repo, own_biases):
    exposures = own_repo.exposures()
    clean = own_repo.plan("bias", exposures[:-1]).run().product.compute()
    truncate(own_biases.paths[-1])
    product = own_repo.plan("bias", exposures, drop_bad=1).run().product.compute()
    np.testing.assert_array_equal(product["image"], clean["image"])
    np.testing.assert_array_equal(product["variance"], clean["variance"])


def test_a_query_without_exposures_says_where_they_were_lost(repo):
    with pytest.raises(NoDataError, match="selects none of the 12 exposures"):
        repo.plan("bias", "instrument='LATISS' AND exposure = 7")
    with pytest.raises(CpflowError, match="did you mean"):
        repo.plan("bias", "instrument='LATISS' AND observation_typ = 'bias'")


def test_what_a_failed_run_keeps_goes_with_it(own_repo, own_biases):
    vanish(own_biases.paths[2])
    with pytest.raises(BuildError):
        own_repo.plan("bias", QUERY).run(output="u/test/biasGen")
    (run,) = [name for name in own_repo.registry.collection_names() if name.startswith("u/test/")]
    staging = own_repo.root / ".staging"
    assert [path for path in staging.iterdir() if path.is_dir()]
    cpflow("remove-run", own_repo.root, run, "--yes")
    assert [path for path in staging.iterdir() if path.is_dir()] == []
