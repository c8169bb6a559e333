"""What a product was made from, and with what."""

from __future__ import annotations

import getpass
import os
import platform
import socket
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from cpflow.plan import Plan, PlannedProduct
from cpflow.registry import DatasetRef

_PACKAGES = ("cpflow", "dask", "distributed", "numba", "numpy", "astropy", "xarray", "zarr")


@cache
def package_versions() -> dict[str, str]:
    """Return the versions of the packages that decide the numbers."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def provenance(plan: Plan, product: PlannedProduct, run: str) -> dict[str, Any]:
    """Return everything that is needed to build a product again and to judge it."""
    return {
        "run": run,
        "identity": plan.identity,
        "graph": {
            "name": product.graph.name,
            "path": str(product.graph.path),
            "source": product.graph.source_hash,
        },
        **({"chain": plan.graph.name, "step": product.step} if product.step else {}),
        "query": plan.query,
        "inputs": list(plan.inputs),
        "config": product.resolved.as_dict(),
        "config_origins": dict(product.resolved.origins),
        "drop_bad": plan.drop_bad,
        "raws": [
            {"exposure": e.exposure, "path": raw.path, "checksum": raw.checksum}
            for e, raw in product.raws
        ],
        "calibrations": {
            name: [_source(source) for source in calibration.sources]
            for name, calibration in product.calibrations.items()
        },
        "packages": package_versions(),
        "user": user(),
        "host": socket.gethostname(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _source(source: DatasetRef | PlannedProduct) -> dict[str, str]:
    if isinstance(source, PlannedProduct):
        return {"of_this_run": source.slug, "identity": source.token}
    return {"id": source.id, "run": source.run, "checksum": source.checksum}


def user() -> str:
    """Return the name of the user, also where there is no password file entry."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
