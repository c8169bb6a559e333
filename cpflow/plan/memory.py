"""What tasks hold in memory, and the band height that follows from a limit."""

from __future__ import annotations

from collections.abc import Sequence

from cpflow.camera import Detector

# What one reduce task may hold unless the user says otherwise. Larger bands read in longer runs,
# smaller ones spread better over workers: of 32 to 500 rows of 20 full LATISS frames on two
# threads, 64 and 128 were fastest, and 128 is 120 MiB.
DEFAULT_TASK_MEMORY = 128 * 2**20
_LEAST_BANDS, _LEAST_ROWS = 8, 16
# What a plan should have at most: planning and its scheduler stay quick.
MOST_TASKS = 100_000
# And a scheduler at a time.
MOST_HELD = 50_000
IMAGE_BYTES = 4 + 4 + 2 + 2 + 2
# Python with numpy, numba and its compiled kernels, dask, xarray and zarr, after a small build.
INTERPRETER_MEMORY = 380 * 2**20
# What the process of a Dask scheduler takes, measured by benchmarks/plan_many_detectors.py on a
# scheduler of its own that was sent the products of LSSTCam: up to 275 MiB with the libraries that
# the first graph makes it load, 5 to 7 kB for each further task that waits. A task that is done is
# known with its workers too. A worker took 44 kB; the times of its last tasks come to that.
SCHEDULER_BYTES = 300 * 2**20
SCHEDULER_TASK_BYTES = 10_000
SCHEDULER_WORKER_BYTES = 100_000
# Image, variance and mask of one pixel.
IMAGE_PIXEL = 4 + 4 + 2
# Labels, and copies of the image to interpolate in and to sort: measured on 100 darks.
_FINDING_PIXEL = 24


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


def scheduler_memory(tasks: int, cores: int) -> int:
    """Return the bytes that a Dask scheduler needs which knows so many tasks and worker threads."""
    return SCHEDULER_BYTES + tasks * SCHEDULER_TASK_BYTES + cores * SCHEDULER_WORKER_BYTES


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


def finish_memory(detector: Detector, band_rows: int) -> int:
    """Return the bytes of the task that puts an image together: all of it, and two bands."""
    rows, columns = detector.shape
    amplifier = 4 * rows * columns // max(1, len(detector.amplifiers))
    return rows * columns * (IMAGE_BYTES + 1) + 2 * band_memory(detector, 1, band_rows) + amplifier


def most_bands(products: int, exposures: int, images: int = 0) -> int:
    """Return how many bands products may have, so that a plan of so many has `MOST_TASKS` tasks.

    A band is a task, its writing another one, and each calibration that it needs a third. Three
    looks at each exposure are set aside; eight bands there may always be.
    """
    left = MOST_TASKS // max(1, products) - 3 * exposures
    return max(_LEAST_BANDS, left // (2 + images))


def choose_band_rows(
    detector: Detector,
    exposures: int,
    task_memory: int,
    *,
    halo: int = 0,
    images: int = 0,
    most: int | None = None,
) -> int:
    """Return the largest band height whose task fits in `task_memory`; at least one row.

    Bands are made equally high, so that no worker waits for a larger one, and there are eight of
    them or more, so that there is work for several, unless they would have less than 16 rows.

    Parameters
    ----------
    detector : Detector
    exposures : int
    task_memory : int
        Bytes.
    halo, images : int
        As for `band_memory`.
    most : int, optional
        If there would be more bands than this, they are made higher: as high as putting the product
        together takes memory, which a worker needs anyway.
    """
    rows = detector.imaging_shape[0]
    one, two = (band_memory(detector, exposures, n, halo=halo, images=images) for n in (1, 2))
    slope = two - one

    def least(memory: int) -> int:
        return -(-rows // max(1, int((memory - (one - slope)) // slope)))

    count = max(least(task_memory), min(_LEAST_BANDS, rows // _LEAST_ROWS), 1)
    if most is not None and count > most:
        roomy = max(task_memory, finish_memory(detector, -(-rows // count)))
        count = min(count, max(most, least(roomy)))
    return -(-rows // count)
