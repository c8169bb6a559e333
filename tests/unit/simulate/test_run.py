import hashlib

import numpy as np
import pytest
from astropy.io import fits

from cpflow.errors import ConfigurationError, InstrumentError, NoDataError
from cpflow.io.instrument import load_instrument
from cpflow.simulate import Sequence, Truth, bias_sequence, dark_sequence, simulate
from cpflow.simulate.bias import Bias
from cpflow.simulate.geometry import to_readout


def digests(paths):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_a_bias_is_level_drift_pattern_and_noise(tmp_path, latiss):
    done = simulate(tmp_path, latiss, bias_sequence(4))
    detector = latiss.camera.detectors[0]
    truth = done.open_truth()
    drawn = truth["detectors/0"]
    drift = truth["exposures/0"]["drift"].values
    pattern = to_readout(drawn["bias_pattern"].values, detector)
    for i, path in enumerate(done.paths):
        with fits.open(path) as hdus:
            raw = np.stack([hdu.data for hdu in hdus[1:]])
        assert raw.dtype.kind == "i"
        expected = drawn["bias_level"].values[:, None, None] + drift[i][:, :, None] + pattern
        residual = raw - expected
        sigma = np.sqrt((drawn["read_noise"] / drawn["gain"]).values ** 2 + 1 / 12)
        n = residual[0].size
        assert np.abs(residual.mean(axis=(1, 2)) / sigma).max() < 5 / np.sqrt(n)
        assert np.abs(residual.std(axis=(1, 2)) / sigma - 1).max() < 5 / np.sqrt(2 * n)


def test_the_same_seed_gives_the_same_bits_in_any_order_and_with_any_scheduler(tmp_path, quad):
    sequence = bias_sequence(3)
    backwards = Sequence(sequence.observations[::-1], sequence.truth)
    reference = digests(simulate(tmp_path / "a", quad, sequence, scheduler="synchronous").paths)
    assert len(reference) == 12
    threads = simulate(tmp_path / "b", quad, backwards, scheduler="threads", workers=2)
    processes = simulate(tmp_path / "c", quad, sequence, scheduler="processes", workers=2)
    assert digests(threads.paths) == reference
    assert digests(processes.paths) == reference
    alone = simulate(tmp_path / "d", quad, Sequence(sequence.observations[1:2], sequence.truth))
    assert digests(alone.paths).items() <= reference.items()
    other = simulate(tmp_path / "e", quad, sequence, seed=2)
    assert not set(digests(other.paths).values()) & set(reference.values())


def test_rice_holds_the_same_pixels(tmp_path, quad):
    plain = simulate(tmp_path / "plain", quad, bias_sequence(1))
    rice = simulate(tmp_path / "rice", quad, bias_sequence(1), compress="rice")
    for a, b in zip(plain.paths, rice.paths, strict=True):
        with fits.open(a) as one, fits.open(b) as other:
            assert one[1].data.dtype == np.uint16
            assert np.array_equal(one[1].data, other[1].data)


def test_progress_is_reported_after_each_file(tmp_path, quad):
    seen = []
    simulate(
        tmp_path, quad, bias_sequence(2), progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(i, 8) for i in range(1, 9)]


def test_truth_differs_between_detectors_and_carries_units(tmp_path, quad):
    truth = simulate(tmp_path, quad, bias_sequence(1)).open_truth()
    a, b = (truth[f"detectors/{i}"] for i in (0, 1))
    assert not np.array_equal(a["bias_pattern"], b["bias_pattern"])
    assert a["read_noise"].attrs["units"] == "electron"
    assert a["gain"].values.tolist() == [1.5, 1.6, 1.4, 1.7]
    assert [str(name) for name in a["amp"].values] == ["A", "B", "C", "D"]


def test_exposures_are_added_to_those_of_the_same_camera(tmp_path, quad):
    simulate(tmp_path, quad, bias_sequence(2))
    simulate(tmp_path, quad, bias_sequence(1, first_seq_num=2))
    done = simulate(tmp_path, quad, dark_sequence(1))
    exposures = done.open_truth()["exposures/0"]["exposure"].values
    assert exposures.tolist() == [2021012100001, 2021012100002, 2021012100101]


def test_another_camera_in_the_same_directory_is_refused(tmp_path, quad, latiss):
    simulate(tmp_path, quad, bias_sequence(1))
    with pytest.raises(ConfigurationError, match="its seed differs"):
        simulate(tmp_path, quad, bias_sequence(1), seed=2)
    with pytest.raises(ConfigurationError, match="its truth differs"):
        simulate(tmp_path, quad, bias_sequence(1), truth=Truth(bias=Bias(drift=0.0)))
    with pytest.raises(ConfigurationError, match="its instrument differs"):
        simulate(tmp_path, latiss, bias_sequence(1))


def test_nothing_to_simulate_is_an_error(tmp_path, quad):
    with pytest.raises(NoDataError):
        simulate(tmp_path, quad, Sequence(()))
    with pytest.raises(InstrumentError, match="describes no detector"):
        simulate(tmp_path, load_instrument("generic"), bias_sequence(1))
