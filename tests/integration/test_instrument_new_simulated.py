"""`cpflow instrument new` on simulated cameras, whose description is known."""

from __future__ import annotations

from commands import cpflow
from filled_in import fill_in

from cpflow.io.instrument import load_instrument
from cpflow.repo.rehearsal import rehearse_ingest


def same_pixels(ours, theirs):
    assert ours.shape == theirs.shape
    for mine, other in zip(ours, theirs, strict=True):
        for name in (
            "raw", "source", "imaging", "detector_box", "serial_overscan", "parallel_overscan",
            "serial_prescan", "flip_x", "flip_y", "gain",
        ):  # fmt: skip
            assert getattr(mine, name) == getattr(other, name), name


def test_sixteen_outputs_in_as_many_hdus(biases, tmp_path):
    path = tmp_path / "latiss.yaml"
    cpflow("instrument", "new", biases.raws, "-o", path)
    truth = load_instrument(biases.instrument)
    (detector,) = truth.camera
    box = detector.amplifiers[0].parallel_overscan
    answer = f"{{x0: {box.x0}, y0: {box.y0}, width: {box.width}, height: {box.height}}}"
    assert f"#   {answer}   yes" in path.read_text(), "the answer is the one that is offered"
    fill_in(path, {"types.CCD.amplifier.parallel_overscan": answer})
    ours = load_instrument(path)
    same_pixels(ours.camera.detectors[0], detector)
    names = [f"Segment{name[1:]}" for name in detector.amplifier_names]
    assert list(ours.camera.detectors[0].amplifier_names) == names
    found = rehearse_ingest(ours, biases.paths)
    assert found.refused == []
    known = rehearse_ingest(truth, biases.paths)
    assert [(e.timespan, e.day_obs, e.seq_num, e.observation_type) for e, _ in found.taken] == [
        (e.timespan, e.day_obs, e.seq_num, e.observation_type) for e, _ in known.taken
    ]


def test_four_detectors_of_four_outputs_in_files_of_their_own(tmp_path):
    cpflow("simulate", tmp_path / "raws", "--instrument", "quad", "--bias", 2)
    path = tmp_path / "quad.yaml"
    cpflow("instrument", "new", tmp_path / "raws", "-o", path)
    counts = "prescan_columns: 4, overscan_columns: 20, overscan_rows: 8"
    fill_in(path, {"types.CCD.outputs": f"{{corners: [LL, LR, UL, UR], {counts}}}"})
    ours, truth = load_instrument(path), load_instrument("quad")
    assert [d.name for d in ours.camera] == [d.name for d in truth.camera]
    for mine, other in zip(ours.camera, truth.camera, strict=True):
        assert [a.source for a in mine] == [a.source for a in other]
        assert [a.imaging for a in mine] == [a.imaging for a in other]
        assert [a.detector_box for a in mine] == [a.detector_box for a in other]
    found = rehearse_ingest(ours, [tmp_path / "raws"])
    assert found.refused == []
    # The four files of one time are one exposure.
    assert len(found.taken) == 8
    assert len({exposure.exposure for exposure, _ in found.taken}) == 2
