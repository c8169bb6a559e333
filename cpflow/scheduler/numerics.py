"""Numerical libraries are held to one thread per task: tasks are what runs at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "BLIS_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}
"""Environment of a worker process that is not yet there."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold the libraries of this process to one thread within the block.

    BLAS adds up in another order on several threads: the last bits of a product would depend on
    where it was made.
    """
    # What is loaded later would not be held: scipy brings a BLAS of its own.
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield
