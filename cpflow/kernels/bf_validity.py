"""Whether a brighter-fatter kernel can be physical (spec 3.3)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: Least side of a kernel whose edge can be told from its middle.
LEAST_SIDE = 7
_FRAME = 3


def kernel_fault(
    kernel: npt.NDArray[np.float64], *, edge_sigma: float = 5.0, largest_positive: float = 0.025
) -> str | None:
    """Say what is wrong with a kernel.

    Parameters
    ----------
    kernel : array of float64, shape (side, side)
        1/electron; indexed either way.
    edge_sigma : float
        How many standard deviations of the outer three pixels the outermost may be from zero.
    largest_positive : float
        How far above zero any element may be, as a fraction of the centre's depth.

    Returns
    -------
    str or None
        None for a kernel that passes.

    Raises
    ------
    ValueError
        If the kernel is not square with an odd side of at least 7.

    Notes
    -----
    Charge repels charge: a kernel is negative, deepest at its centre, and falls to zero. The
    tolerance at the edge is absolute (spec 8, Q13; the reference's never depends on its options).
    """
    side = kernel.shape[0]
    if kernel.ndim != 2 or kernel.shape[1] != side or side % 2 == 0 or side < LEAST_SIDE:
        raise ValueError(
            f"a kernel to be checked has an odd side of at least {LEAST_SIDE}, not {kernel.shape}"
        )
    if not np.isfinite(kernel).all():
        return "elements are not finite"
    centre = float(kernel[side // 2, side // 2])
    if centre >= 0:
        return f"the centre is {centre:.3g}, not negative"
    if kernel.min() < centre:
        x, y = np.unravel_index(int(kernel.argmin()), kernel.shape)
        return f"element [{x}, {y}] is below the centre: {kernel.min():.3g} < {centre:.3g}"
    if kernel.max() > largest_positive * -centre:
        return (
            f"an element is {kernel.max():.3g}, more than {largest_positive:g} of the centre's "
            f"depth above zero"
        )
    ring, frame = np.ones(kernel.shape, np.bool_), np.ones(kernel.shape, np.bool_)
    ring[1:-1, 1:-1] = False
    frame[_FRAME:-_FRAME, _FRAME:-_FRAME] = False
    at_edge, spread = float(np.abs(kernel[ring]).max()), float(kernel[frame].std())
    if at_edge > edge_sigma * spread:
        return (
            f"the edge is not zero: {at_edge:.3g} is more than {edge_sigma:g} times the scatter "
            f"{spread:.3g} of the outer {_FRAME} pixels"
        )
    return None
