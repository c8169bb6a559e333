"""Cosmic rays by Laplacian edge detection, with the package astroscrappy.

L.A.Cosmic: van Dokkum 2001, PASP 113, 1420. astroscrappy: McCully et al. 2018, Zenodo,
doi:10.5281/zenodo.1482019.
"""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

from cpflow.camera import Detector
from cpflow.errors import ConfigurationError
from cpflow.kernels.interpolate import interpolate_rows
from cpflow.kernels.planes import BAD, INTRP, NO_DATA, SAT
from cpflow.kernels.statistics import clipped_statistics
from cpflow.stack import Frame
from cpflow.stack.geometry import assemble_array
from cpflow.steps.options import CosmicRays

_PACKAGES = ("astroscrappy", "threadpoolctl")


def check_installed() -> None:
    """Refuse what cannot be done here.

    Raises
    ------
    ConfigurationError
        If a package of the extra ``lacosmic`` is missing.
    """
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"cosmic_rays.method=lacosmic needs {' and '.join(missing)}",
            hint="pip install 'cpflow[lacosmic]'",
        )


def lacosmic_mask(frame: Frame, detector: Detector, options: CosmicRays) -> npt.NDArray[np.bool_]:
    """Find the cosmic rays of a whole frame.

    Parameters
    ----------
    frame : Frame
        All amplifiers, with a variance; it is not changed. One in adu is looked at in electrons, by
        the gains of the camera: otherwise amplifiers would differ in level and noise where they
        meet.
    detector : Detector
    options : CosmicRays

    Returns
    -------
    array of bool, shape (y, x)
        In the detector frame.

    Raises
    ------
    ValueError
        If the frame has no variance.

    Notes
    -----
    The noise is the variance plane's, median filtered by astroscrappy; a read noise is not used.
    Pixels with BAD, SAT, INTRP or NO_DATA, or not finite, are no rays, and neither are their eight
    neighbours. They are interpolated first: their values would go into the filters around them.

    astroscrappy runs OpenMP threads, with no argument for how many. The number is a property of the
    calling thread, so that it is set to one around the call without a lock, and others are left
    alone. Its results do not depend on the number.
    """
    import astroscrappy
    from threadpoolctl import ThreadpoolController

    if frame.variance is None:
        raise ValueError("cosmic rays are found with a variance plane: isr.variance=true")
    image = assemble_array(detector, frame.image)
    variance = assemble_array(detector, frame.variance)
    bad = ~(np.isfinite(image) & np.isfinite(variance))
    if frame.mask is not None:
        planes = np.uint16(BAD | SAT | INTRP | NO_DATA)
        bad |= (assemble_array(detector, frame.mask) & planes) != 0
    if bad.all():
        return np.zeros_like(bad)
    if frame.units == "adu":
        for amplifier in detector:
            box = np.s_[amplifier.detector_box.rows, amplifier.detector_box.columns]
            image[box] *= np.float32(amplifier.gain)
            variance[box] *= np.float32(amplifier.gain**2)
    if bad.any():
        interpolate_rows(image, variance, bad, clipped_statistics(image[~bad]).mean)
        variance[bad & ~np.isfinite(variance)] = np.median(variance[~bad])
    # The libraries can only be listed once they are loaded.
    with ThreadpoolController().limit(limits=1, user_api="openmp"):
        rays, _ = astroscrappy.detect_cosmics(
            image,
            inmask=bad,
            invar=variance,
            sigclip=options.lacosmic_sigclip,
            sigfrac=options.lacosmic_sigfrac,
            objlim=options.lacosmic_objlim,
            niter=options.lacosmic_iterations,
            # Saturated pixels are known, from raw counts.
            satlevel=np.inf,
        )
    return np.asarray(rays, np.bool_)
