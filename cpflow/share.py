"""Where the shipped ``graphs/`` and ``configs/`` are."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

_PACKAGE = Path(__file__).resolve().parent


def share_directory(kind: Literal["graphs", "configs"]) -> Path:
    """Return the directory of shipped graph files or configuration files.

    In a checkout the checkout wins: an editable install leaves a stale copy under ``_share``.
    """
    checkout = _PACKAGE.parent / kind
    if (_PACKAGE.parent / "pyproject.toml").is_file() and checkout.is_dir():
        return checkout
    return _PACKAGE / "_share" / kind
