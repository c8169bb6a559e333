"""Whether the files of a product hold what was registered."""

from __future__ import annotations

from pathlib import Path


def content_problem(path: Path, checksum: str) -> str | None:
    """Read a product, and return what is wrong with its content, or None.

    Parameters
    ----------
    path : pathlib.Path
        Its zarr group.
    checksum : str
        What `cpflow.io.zarr_product.content_hash` gave when it was made.
    """
    from cpflow.io.zarr_product import content_hash, open_product

    try:
        found = content_hash(open_product(path))
    except Exception as error:  # whatever zarr and its codecs say to damaged chunks
        return f"{path} is damaged: {error}"
    if found != checksum:
        return f"{path} is damaged: its content has the checksum {found}, not {checksum}"
    return None
