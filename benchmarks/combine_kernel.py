"""The combine kernel against `astropy.stats.sigma_clip` and a plain mean, on one core.

    python benchmarks/combine_kernel.py

Same array, same process, processor time, best of several rounds. `sigma_clip` clips about the
median with the standard deviation, three iterations, then takes the mean: not the same rule, the
same kind of work. It gets fewer pixels, as it is slow; rates are per pixel and frame.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from astropy.stats import sigma_clip

from cpflow.kernels.clipped_mean import clipped_mean

PIXELS = 2**20
FEWER = 2**15


def rate(function: Callable[[], Any], samples: int, rounds: int) -> float:
    """Return Mpixel-frames per second of processor time."""
    function()
    best = np.inf
    for _ in range(rounds):
        began = time.process_time()
        function()
        best = min(best, time.process_time() - began)
    return samples / best / 1e6


def row(n: int, rng: np.random.Generator) -> str:
    stack = rng.normal(1000, 8, (n, PIXELS)).astype(np.float32)
    stack[rng.integers(0, n, PIXELS // 1000), rng.integers(0, PIXELS, PIXELS // 1000)] += 5000
    small = np.ascontiguousarray(stack[:, :FEWER])
    ours = rate(lambda: clipped_mean(stack), stack.size, 5)
    mean = rate(lambda: np.mean(stack, axis=0), stack.size, 5)
    peer = rate(
        lambda: np.ma.mean(sigma_clip(small, sigma=3, maxiters=3, axis=0), axis=0), small.size, 3
    )
    return (
        f"| {n} | {ours:.0f} | {mean:.0f} | {peer:.1f} "
        f"| 1 / {mean / ours:.1f} | {ours / peer:.0f} |"
    )


def main() -> None:
    rng = np.random.default_rng(1)
    print("Mpixel-frames per second of one core\n")
    print("| frames | cpflow | np.mean | sigma_clip + mean | cpflow / np.mean | cpflow / astropy |")
    print("|---|---|---|---|---|---|")
    for n in (10, 20, 50, 100):
        print(row(n, rng), flush=True)


if __name__ == "__main__":
    main()
