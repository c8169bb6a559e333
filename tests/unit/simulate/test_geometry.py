import numpy as np

from cpflow.simulate.geometry import to_detector, to_file, to_readout


def test_detector_image_survives_the_way_to_readout_order_and_back(latiss, quad):
    for instrument in (latiss, quad):
        detector = instrument.camera.detectors[0]
        image = np.random.default_rng(1).random(detector.shape, np.float32)
        raw = to_readout(image, detector)
        assert np.array_equal(to_detector(raw, detector), image)
        # Nothing spills into overscans: the sums agree.
        assert np.isclose(raw.sum(dtype=float), image.sum(dtype=float))


def test_the_first_pixel_read_out_lies_in_the_amplifier_readout_corner(quad):
    detector = quad.camera.detectors[0]
    for amplifier, (y, x) in zip(detector, [(0, 0), (0, -1), (-1, 0), (-1, -1)], strict=True):
        image = np.zeros(detector.shape, np.float32)
        image[y, x] = 1
        raw = to_readout(image, detector)[detector.amplifier_names.index(amplifier.name)]
        box = amplifier.imaging
        assert raw[box.y0, box.x0] == 1
        assert raw.sum() == 1


def test_file_layout_follows_source_boxes_and_flips(quad):
    detector = quad.camera.detectors[0]
    rows, columns = detector.raw_shape
    raw = np.arange(4 * rows * columns, dtype=np.int32).reshape(4, rows, columns)
    (stored,) = to_file(raw, detector).values()
    assert stored.shape == (2 * rows, 2 * columns)
    assert np.array_equal(stored[:rows, :columns], raw[0])
    assert np.array_equal(stored[:rows, columns:], raw[1][:, ::-1])
    assert np.array_equal(stored[rows:, :columns], raw[2][::-1])
    assert np.array_equal(stored[rows:, columns:], raw[3][::-1, ::-1])


def test_one_hdu_per_amplifier_is_stored_unflipped(latiss):
    detector = latiss.camera.detectors[0]
    raw = np.random.default_rng(1).integers(0, 9, (16, *detector.raw_shape)).astype(np.int32)
    stored = to_file(raw, detector)
    assert list(stored) == list(range(1, 17))
    assert all(np.array_equal(stored[i + 1], raw[i]) for i in range(16))
