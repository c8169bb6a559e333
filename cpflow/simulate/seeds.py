"""Random streams that depend on what is drawn, never on when or where.

Each draw has a key: the seed, the instrument, and whatever else tells it from every other draw
(exposure, detector, amplifier, effect). The key is hashed to the 128-bit key of a Philox generator,
so the same seed gives the same bits in any order, in any number of threads or processes.
"""

from __future__ import annotations

import hashlib

import numpy as np


def stream(*key: str | int) -> np.random.Generator:
    """Return the random generator of one key.

    Parameters
    ----------
    *key : str or int
        What is drawn, for example ``(seed, "LATISS", exposure, detector, "C10", "read_noise")``.

    Returns
    -------
    numpy.random.Generator
        A counter-based generator (Philox 4x64; Salmon et al. 2011, SC11).
    """
    # The repr keeps 1 and "1" apart and no part can run into the next.
    digest = hashlib.sha256(repr(key).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
