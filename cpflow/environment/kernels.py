"""Are kernels compiled, kept, and right? A small one tells."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from cpflow.findings import Finding, error, sound, warning

_REMEDY = "name a directory that you may write to: export NUMBA_CACHE_DIR=$HOME/.cache/cpflow-numba"


def examine_kernels() -> Iterator[Finding]:
    """Run a kernel: it is taken from the cache, or compiled and put there."""
    named = os.environ.get("NUMBA_CACHE_DIR")
    begin = time.perf_counter()
    try:
        # Kernels look for their cache when they are imported.
        kept = _run()
    except RuntimeError as failure:
        if "no locator available" not in str(failure):
            yield _broken(failure)
            return
        yield error(
            "kernels",
            f"compiled kernels cannot be kept: neither {_own_cache()} nor a cache of this user "
            "can be written, and nothing starts without",
            _REMEDY,
        )
        return
    except Exception as failure:
        yield _broken(failure)
        return
    seconds = time.perf_counter() - begin
    if named and not kept.is_relative_to(Path(named).absolute()):
        yield warning(
            "kernels",
            f"$NUMBA_CACHE_DIR is {named}, which cannot be written: compiled kernels are kept in "
            f"{kept}",
            "name a directory that you may write to, or unset it",
        )
    elif not named and kept != _own_cache():
        yield warning(
            "kernels",
            f"{_own_cache()} cannot be written: compiled kernels are kept in {kept}, where each "
            "user of each machine compiles them once more",
            "it works; a directory that all share saves the time: export NUMBA_CACHE_DIR=DIR",
        )
    else:
        yield sound("kernels", f"compiled and right in {seconds:.1f} s, kept in {kept}")


def _run() -> Path:
    """Run a small kernel and return the directory that it is kept in."""
    import numpy as np

    from cpflow.kernels import binning

    means = binning.bin_image(np.arange(16.0).reshape(4, 4), 2)
    if not np.array_equal(means, [[2.5, 4.5], [10.5, 12.5]]):
        raise ArithmeticError(f"the means of 0 to 15 in four blocks came out as {means.tolist()}")
    return Path(binning._average.stats.cache_path)


def _own_cache() -> Path:
    import cpflow

    return Path(cpflow.__file__).resolve().parent / "kernels" / "__pycache__"


def _broken(failure: Exception) -> Finding:
    reason = " ".join(str(failure).split())
    again = f"{sys.executable} -m pip install --upgrade --force-reinstall numba"
    # Where they are kept is known as soon as they are imported.
    imported = sys.modules.get("cpflow.kernels.binning")
    kept = _own_cache() if imported is None else imported._average.stats.cache_path
    return error(
        "kernels",
        f"a kernel cannot be run: {type(failure).__name__}: {reason[:300]}",
        again
        if isinstance(failure, ImportError)
        else f"remove what was compiled before: find {kept} -name '*.nb?' -delete; if that does "
        f"not help: {again}",
    )
