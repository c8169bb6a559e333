"""What products of every kind say about their exposures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cpflow.exposure import Exposure


def dropped_exposures(
    values: Sequence[Mapping[str, Any] | None],
    exposures: Sequence[Exposure],
    shared: Mapping[str, Any],
) -> npt.NDArray[np.bool_]:
    """Return which exposures could not be used and were left out, shape (exposure,)."""
    return np.array([item is None for item in values], bool)
