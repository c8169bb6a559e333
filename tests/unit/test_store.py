"""Product files: removing, listing, and who holds what."""

from __future__ import annotations

import pytest

from cpflow.errors import CpflowError
from cpflow.store import Store


def product(store, path):
    (store.root / path).mkdir(parents=True)
    (store.root / path / "zarr.json").write_text("{}")
    (store.root / path / "c").mkdir()
    (store.root / path / "c" / "0").write_text("x")


def test_products_are_found_by_what_they_hold_not_by_the_name_of_their_run(tmp_path):
    store = Store(tmp_path)
    product(store, "products/u/me/run.zarr/bias.zarr")
    product(store, "products/a/bias.zarr")
    assert store.product_paths() == [
        "products/a/bias.zarr",
        "products/u/me/run.zarr/bias.zarr",
    ]


def test_removing_leaves_no_empty_directory_and_no_staging(tmp_path):
    store = Store(tmp_path)
    product(store, "products/u/me/run/bias.zarr")
    product(store, "products/u/other/bias.zarr")
    store.remove("products/u/me/run/bias.zarr")
    assert store.product_paths() == ["products/u/other/bias.zarr"]
    assert not (tmp_path / "products/u/me").exists()
    assert store.leftovers() == []
    store.remove("products/u/me/run/bias.zarr")
    store.remove("products/u/other/bias.zarr")
    assert (tmp_path / "products").is_dir()


@pytest.mark.parametrize(
    "path", ["raw/a.fits", "../outside", "products", "products/../raw", "/etc"]
)
def test_only_products_can_be_removed(tmp_path, path):
    store = Store(tmp_path / "repo")
    (tmp_path / "repo" / "raw").mkdir(parents=True)
    (tmp_path / "repo" / "raw" / "a.fits").write_text("x")
    (tmp_path / "repo" / "products").mkdir()
    (tmp_path / "outside").mkdir()
    with pytest.raises(CpflowError):
        store.remove(path)
    assert (tmp_path / "repo" / "raw" / "a.fits").exists()
    assert (tmp_path / "outside").exists()


def test_a_staging_directory_that_is_held_is_no_leftover(tmp_path):
    store = Store(tmp_path)
    held, left = store.staging("held"), store.staging("left")
    left.write_facts({"run": "u/me/left"})
    with store.locked(held):
        assert [s.path.name for s in store.in_use()] == ["held"]
        assert [s.path.name for s in store.leftovers()] == ["left"]
    (tmp_path / ".staging" / "a file").write_text("x")
    assert [s.path.name for s in store.leftovers()] == ["held", "left"]
