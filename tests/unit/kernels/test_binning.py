"""Block means against loops."""

from __future__ import annotations

import numpy as np
import pytest

from cpflow.kernels.binning import bin_image


@pytest.mark.parametrize("shape", [(12, 20), (13, 19), (1, 1), (5, 40)])
@pytest.mark.parametrize("factor", [1, 2, 4, 7, 64])
@pytest.mark.parametrize("ignore_nan", [True, False])
def test_block_by_block(shape, factor, ignore_nan) -> None:
    rng = np.random.default_rng(1)
    image = rng.normal(10, 3, shape).astype(np.float32)
    image[rng.random(shape) < 0.2] = np.nan
    image[:4, :4] = np.nan
    binned = bin_image(image, factor, ignore_nan=ignore_nan)
    assert binned.shape == (-(-shape[0] // factor), -(-shape[1] // factor))
    for row, column in np.ndindex(binned.shape):
        block = image[row * factor : (row + 1) * factor, column * factor : (column + 1) * factor]
        values = block[~np.isnan(block)] if ignore_nan else block.ravel()
        wanted = np.mean(values, dtype=np.float64) if len(values) else np.nan
        # Half a float32 step of the result.
        np.testing.assert_allclose(binned[row, column], wanted, rtol=6e-8)


def test_factor_one_copies() -> None:
    image = np.random.default_rng(2).normal(0, 1, (6, 7)).astype(np.float32)
    np.testing.assert_array_equal(bin_image(image, 1), image)


def test_integers_and_leading_axes() -> None:
    cube = np.arange(2 * 3 * 4 * 6, dtype=np.uint16).reshape(2, 3, 4, 6)
    binned = bin_image(cube, 2)
    assert binned.shape == (2, 3, 2, 3)
    np.testing.assert_array_equal(binned, cube.reshape(2, 3, 2, 2, 3, 2).mean(axis=(3, 5)))


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="blocks of 0"):
        bin_image(np.zeros((2, 2)), 0)
    with pytest.raises(ValueError, match="rows and columns"):
        bin_image(np.zeros(3), 1)
