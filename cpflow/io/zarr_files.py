"""The files of a stored product, for zarr to read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zarr.storage import LocalStore

from cpflow.errors import ProductError

_GROUP = "zarr.json"


class ProductFiles(LocalStore):  # type: ignore[misc]
    """A product that is read; one that goes away meanwhile is an error.

    To zarr a chunk without a file is one of fill values. A product that somebody removes while it
    is read would turn into NaN, and its mask into zero, without a word. It is removed with one
    rename: as long as its group is there, what lacks a file is meant to.

    Parameters
    ----------
    path : path
        Of the zarr group.
    """

    def __init__(self, root: Path | str, *, read_only: bool = True) -> None:
        super().__init__(root, read_only=read_only)

    async def get(self, *arguments: Any, **options: Any) -> Any:
        """Return the content of a file, or None."""
        try:
            found = await super().get(*arguments, **options)
        except FileNotFoundError:
            found = None
        return self._checked(found)

    def get_sync(self, *arguments: Any, **options: Any) -> Any:
        """Return the content of a file, or None."""
        try:
            found = super().get_sync(*arguments, **options)
        except FileNotFoundError:
            found = None
        return self._checked(found)

    def _checked(self, found: Any) -> Any:
        if found is None and not (self.root / _GROUP).is_file():
            raise ProductError(
                f"product {self.root} is not there, or no longer",
                hint="was its run removed? `cpflow doctor` compares the store with the registry",
            )
        return found

    def __dask_tokenize__(self) -> Any:
        # As of a path: the same product has the same keys, another one in its place has others.
        path = self.root / _GROUP
        return str(self.root), path.stat().st_mtime_ns if path.is_file() else None
