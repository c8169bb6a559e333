"""What is kept in ``cpflow.yaml``, which makes a directory a repository: where its registry is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cpflow.errors import UsageError
from cpflow.permissions import denied, make_directory
from cpflow.store import write_text

CONFIG = "cpflow.yaml"
SQLITE = "registry.sqlite"


def read_config(root: Path) -> dict[str, Any]:
    """Return the configuration of the repository in a directory.

    Raises
    ------
    UsageError
        If it holds none.
    AccessError
        If the user may not read it.
    """
    import yaml

    try:
        text = (root / CONFIG).read_text(encoding="utf-8")
    except PermissionError as error:
        raise denied(error) from error
    except (OSError, ValueError) as error:
        raise _no_repository(root) from error
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError:
        config = None
    if not isinstance(config, dict):
        raise UsageError(
            f"{root / CONFIG} is damaged: it is not a mapping of keys to values",
            hint="put it back from a backup; without a database of your own it holds two lines: "
            "`registry: null` and `version: 1`",
        )
    return config


def _no_repository(root: Path) -> UsageError:
    """Say that a directory holds no repository, and which one does perhaps."""
    shown = str(root) if len(str(root)) <= 200 else f"{str(root)[:197]}..."
    hint = "make one: cpflow init REPO --instrument NAME"
    with suppress(OSError, ValueError):
        near = [root / "repo", *root.absolute().parents]
        held = next((one for one in near if (one / CONFIG).is_file()), None)
        if held is not None:
            hint = f"{held} is one"
        elif not root.exists():
            hint = f"there is no {shown}; REPO comes first of the arguments; {hint}"
    return UsageError(f"{shown} is not a cpflow repository", hint=hint)


def registry_url(root: Path) -> str:
    """Return where the registry of the repository in a directory is: a URL, or a file.

    Raises
    ------
    UsageError
        If it holds no repository.
    """
    return read_config(root).get("registry") or str(root.resolve() / SQLITE)


@contextmanager
def new_directory(root: Path) -> Iterator[None]:
    """Make a directory, which is taken away again if its registry cannot be made."""
    existed = root.exists()
    make_directory(root)
    try:
        yield
    except BaseException:
        if not existed:
            # Never what is in it: another process may be making the same repository.
            with suppress(OSError):
                root.rmdir()
        raise


def write_config(root: Path, config: Mapping[str, Any]) -> None:
    """Write the configuration of a repository, whole or not at all."""
    import yaml

    write_text(root / CONFIG, yaml.safe_dump(dict(config)))
