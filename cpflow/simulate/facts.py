"""What was peculiar to each exposure, as datasets for the truth.

Pixels and stars are tables: one row each, with the exposure in a column.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cpflow.camera import Detector
from cpflow.simulate.exposure import Exposed
from cpflow.simulate.sequence import Observation


def exposure_facts(
    exposed: Exposed, observation: Observation, detector: Detector
) -> dict[str, xr.Dataset]:
    """Return the datasets of one exposure by the name of their group.

    ``exposures`` has dimensions exposure, amp and row; ``cosmic_rays``, ``saturated`` and
    ``stars`` have one row per pixel or star.
    """
    scene, hits = exposed.charge.scene, exposed.charge.cosmic_rays
    gradient_x, gradient_y = scene.sky_gradient
    scalars = {
        "exposure_time": (observation.exposure_time, "s"),
        "dark_time": (observation.dark_seconds, "s"),
        "lamp": (observation.lamp * scene.lamp_factor, "electron/s"),
        "sky": (observation.sky, "electron/s"),
        "sky_gradient_x": (gradient_x, "1"),
        "sky_gradient_y": (gradient_y, "1"),
        "fringe_amplitude": (observation.fringe, "1"),
    }
    exposures = xr.Dataset(
        {
            "drift": (("exposure", "amp", "row"), exposed.drift[None], {"units": "adu"}),
            **{n: ("exposure", [value], {"units": unit}) for n, (value, unit) in scalars.items()},
        },
        coords={
            "exposure": np.array([observation.id], np.int64),
            "amp": np.array(detector.amplifier_names, object),
        },
    )
    rows, columns = exposed.charge.saturated
    tables: dict[str, dict[str, NDArray[Any]]] = {
        "cosmic_rays": {"y": hits.y, "x": hits.x, "electrons": hits.electrons},
        "saturated": {"y": rows.astype(np.int32), "x": columns.astype(np.int32)},
        "stars": {"y": scene.stars.y, "x": scene.stars.x, "flux": scene.stars.flux},
    }
    units = {"y": "pixel", "x": "pixel", "electrons": "electron", "flux": "electron/s"}
    facts = {"exposures": exposures}
    for name, table in tables.items():
        which = np.full(table["y"].size, observation.id, np.int64)
        columns_of = {key: ("entry", value, {"units": units[key]}) for key, value in table.items()}
        facts[name] = xr.Dataset({"exposure": ("entry", which), **columns_of})
    return facts
