"""Mask planes: which bit of a mask pixel says what (spec 2.1)."""

from collections.abc import Iterable
from typing import Final

import numpy as np

MASK_DTYPE = np.uint16

#: Names of the planes; a plane's bit is its index.
PLANES: Final[tuple[str, ...]] = (
    "BAD",
    "SAT",
    "INTRP",
    "CR",
    "EDGE",
    "DETECTED",
    "DETECTED_NEGATIVE",
    "SUSPECT",
    "NO_DATA",
    "VIGNETTED",
    "CROSSTALK",
    "UNMASKEDNAN",
    "PARTLY_VIGNETTED",
)

BAD: Final = 1 << 0
SAT: Final = 1 << 1
INTRP: Final = 1 << 2
CR: Final = 1 << 3
EDGE: Final = 1 << 4
DETECTED: Final = 1 << 5
DETECTED_NEGATIVE: Final = 1 << 6
SUSPECT: Final = 1 << 7
NO_DATA: Final = 1 << 8
VIGNETTED: Final = 1 << 9
CROSSTALK: Final = 1 << 10
UNMASKEDNAN: Final = 1 << 11
PARTLY_VIGNETTED: Final = 1 << 12


def bits(names: Iterable[str]) -> int:
    """Combine plane names into one bit pattern.

    Parameters
    ----------
    names
        Plane names, in any order; repeats do no harm. A single string is refused, because its
        letters are not plane names.

    Returns
    -------
    int
        The OR of the planes' bits; 0 for no names.

    Raises
    ------
    ValueError
        If a name is not one of `PLANES`; the message lists them.
    """
    if isinstance(names, str):
        raise ValueError(f"mask planes come as a list of names, not as the string {names!r}")
    pattern = 0
    for name in names:
        if name not in PLANES:
            known = ", ".join(PLANES)
            raise ValueError(f"unknown mask plane {name!r}; the planes are {known}")
        pattern |= 1 << PLANES.index(name)
    return pattern
