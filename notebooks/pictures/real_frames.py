"""The picture of the README: real cameras, from raw frames to a calibration.

python notebooks/pictures/real_frames.py DATA     # where the frames are: see tests/conftest.py

Left, a sky frame of an SBIG ST-10 (OSCAAR project, MIT licence) before and after its master dark is
subtracted; right, the photon transfer curve of the CCD of the EMVA 1288 reference set (Basler AG,
CC BY-SA 3.0) beside the gain and noise that were published with it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt
from astropy.io import fits

import cpflow

GAIN, NOISE = 0.28077, 3.0734  # published: DN per electron, DN
SIDE = 70


def sky_and_dark(data: Path, root: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the part of a sky frame with most hot pixels, and the same minus the master dark."""
    cpflow.Repo.create(root, "sbig_st10").close()
    with cpflow.Repo(root) as repo:
        repo.ingest(data / "sbig_st10_tres1")
        config = {"isr.bias": False, "cosmic_rays.enabled": False}
        darks = repo.plan("dark", "observation_type='dark'", config=config).run()
        dark = 60 * darks.product["image"].values  # a dark is in adu per second
    sky = fits.getdata(data / "sbig_st10_tres1" / "tres1-090.fits.fz", 1).astype(float)
    hot = (dark > np.median(dark) + 150).cumsum(axis=0).cumsum(axis=1)
    count = hot[SIDE:, SIDE:] - hot[:-SIDE, SIDE:] - hot[SIDE:, :-SIDE] + hot[:-SIDE, :-SIDE]
    y, x = np.unravel_index(count.argmax(), count.shape)
    corner = np.s_[y : y + SIDE, x : x + SIDE]
    return sky[corner], (sky - dark)[corner]


def transfer_curve(data: Path, root: Path) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Return means, variances, gain in DN per electron, and noise in DN."""
    inputs = ("EMVA_CCD12/raw/all", "u/picture/dark", "u/picture/bias")
    cpflow.Repo.create(root, "emva_ccd12").close()
    with cpflow.Repo(root) as repo:
        files = (data / "emva1288_ccd12").glob("*_[0-9][0-9]_[12].fits.fz")
        repo.ingest(*sorted(files))
        repo.plan("bias", "observation_type='bias'").run(output="u/picture/bias")
        config = {"cosmic_rays.enabled": False}
        chosen = (inputs[0], inputs[2])
        dark = repo.plan("dark", "observation_type='dark'", inputs=chosen, config=config)
        dark.run(output="u/picture/dark")
        config = {
            "ptc.fit_type": "POLYNOMIAL",
            "ptc.polynomial_degree": 1,
            "ptc.max_lag": 2,
            "ptc.flux_keyword": "photons",
        }
        plan = repo.plan("ptc", "observation_type='flat'", inputs=inputs, config=config)
        ptc = plan.run(output="u/picture/ptc").product.load()
    gain = 1 / float(ptc["gain"].values[0])
    return (
        ptc["mean"].values[0],
        ptc["variance"].values[0],
        gain,
        float(ptc["noise"].values[0]) * gain,
    )


def main() -> None:
    """Build both, and draw."""
    data = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as scratch:
        before, after = sky_and_dark(data, Path(scratch) / "sbig")
        mean, variance, gain, noise = transfer_curve(data, Path(scratch) / "emva")
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    for axis, image, title in (
        (axes[0], before, "a sky frame of an SBIG ST-10"),
        (axes[1], after, "minus the master dark"),
    ):
        middle = np.median(image)
        axis.imshow(
            image, origin="lower", cmap="gray", vmin=middle - 150, vmax=middle + 450,
            interpolation="nearest",
        )  # fmt: skip
        axis.set(title=title, xticks=[], yticks=[])
    axis = axes[2]
    axis.plot(mean, variance, "o", ms=4, color="#1f4e79", label="pairs of flats, cpflow")
    line = np.linspace(0, np.nanmax(mean) * 1.05, 50)
    axis.plot(line, noise**2 + gain * line, color="#c55a11", label="fit")
    axis.set(xlabel="mean / DN", ylabel="variance / DN²")
    axis.set_title(
        f"gain {gain:.4f} DN/e⁻ (published {GAIN:.4f})\n"
        f"noise {noise:.2f} DN (published {NOISE:.2f})",
        fontsize=10,
    )
    axis.legend(frameon=False, loc="upper left")
    figure.savefig(Path(__file__).with_name("real_frames.png"), dpi=90)


if __name__ == "__main__":
    main()
