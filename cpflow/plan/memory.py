"""What tasks hold in memory, and the band height that follows from a limit."""

from __future__ import annotations

from collections.abc import Sequence

from cpflow.camera import Detector

# What one reduce task may hold unless the user says otherwise. Larger bands read in longer runs,
# smaller ones spread better over workers: of 32 to 500 rows of 20 full LATISS frames on two
# threads, 64 and 128 were fastest, and 128 is 120 MiB.
DEFAULT_TASK_MEMORY = 128 * 2**20
_LEAST_BANDS, _LEAST_ROWS = 8, 16
IMAGE_BYTES = 4 + 4 + 2 + 2 + 2
# Python with numpy, numba and its compiled kernels, dask, xarray and zarr, after a small build.
INTERPRETER_MEMORY = 380 * 2**20
# Image, variance and mask of one pixel.
IMAGE_PIXEL = 4 + 4 + 2
# Labels, and copies of the image to interpolate in and to sort: measured on 100 darks.
_FINDING_PIXEL = 24


def size_text(size: float) -> str:
    """Return a number of bytes for people to read."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def frame_memory(detector: Detector, *, corrected: bool = False, images: int = 0) -> int:
    """Return the bytes that a measure task holds.

    One raw frame and one amplifier's work; for a measurement of corrected frames also the frame
    with variance and mask, a copy of each in the detector frame, what finding rays or objects in
    it takes, and `images` whole calibrations.
    """
    rows, columns = detector.raw_shape
    raw = rows * columns * (len(detector.amplifiers) * 4 + 16)
    if not corrected:
        return raw
    pixels = detector.shape[0] * detector.shape[1]
    return raw + pixels * (IMAGE_PIXEL * (2 + images) + _FINDING_PIXEL)


def kept_memory(detector: Detector, measurements: Sequence[str]) -> int:
    """Return the bytes of what measurements leave, given their names, one for each exposure.

    Overscan models have a number for each row and column of each amplifier. Pixels that look like
    cosmic rays are a few thousandths of all, at 16 bytes; object masks a bit for each pixel.
    """
    rows, columns = detector.imaging_shape
    amplifiers = len(detector.amplifiers)
    pixels = amplifiers * rows * columns
    each = {
        "measure-readout": amplifiers * (rows + columns) * 8,
        "measure-cosmic_rays": pixels // 200 * 16,
    }
    return sum(each.get(name, pixels // 8) for name in measurements)


def band_memory(
    detector: Detector, exposures: int, band_rows: int, *, halo: int = 0, images: int = 0
) -> int:
    """Return the bytes that a reduce task holds for bands of `band_rows` rows.

    The stack (float32 and its mask), one frame on its way through ISR with the `halo` rows that
    corrections need on either side, `images` calibrations of these rows, and the outputs.
    """
    amplifiers = len(detector.amplifiers)
    columns, raw_columns = detector.imaging_shape[1], detector.raw_shape[1]
    pixels = amplifiers * band_rows * columns
    per_exposure = 4 + 2 + (4 if exposures < 5 else 0)
    wide = amplifiers * (band_rows + 2 * halo + 2)
    frame = wide * (raw_columns * 8 + columns * 10)
    calibrations = wide * columns * IMAGE_PIXEL * images
    return exposures * pixels * per_exposure + frame + calibrations + pixels * IMAGE_BYTES * 2


def choose_band_rows(
    detector: Detector, exposures: int, task_memory: int, *, halo: int = 0, images: int = 0
) -> int:
    """Return the largest band height whose task fits in `task_memory`; at least one row.

    Bands are made equally high, so that no worker waits for a larger one, and there are eight of
    them or more, so that there is work for several, unless they would have less than 16 rows.
    """
    rows = detector.imaging_shape[0]
    one, two = (band_memory(detector, exposures, n, halo=halo, images=images) for n in (1, 2))
    slope = two - one
    fitting = max(1, int((task_memory - (one - slope)) // slope))
    count = max(-(-rows // fitting), min(_LEAST_BANDS, rows // _LEAST_ROWS), 1)
    return -(-rows // count)
