"""Find the files of cluster profiles, and read them."""

from __future__ import annotations

import difflib
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError

from cpflow.errors import ConfigurationError
from cpflow.scheduler.profiles import AddressProfile, AnyProfile, Profile
from cpflow.share import share_directory

logger = logging.getLogger(__name__)

_ADDRESSES = ("tcp://", "tls://", "inproc://")


@dataclass(frozen=True, slots=True)
class ProfileFile:
    """Where a profile was found."""

    name: str
    path: Path
    origin: str


def profile_files(repo_root: Path | None = None) -> list[ProfileFile]:
    """List every profile that can be found, in the order of the search; the first of a name wins.

    It is that of graph files: ``$CPFLOW_PATH/clusters``, ``<repo>/clusters``, the user's
    configuration, those that are shipped.
    """
    return [
        ProfileFile(path.stem, path, origin)
        for origin, directory in _directories(repo_root)
        for path in sorted(directory.glob("*.yaml"))
    ]


def load_profile(
    name: str | Profile, *, workers: int | None = None, repo_root: Path | None = None
) -> Profile:
    """Return a profile by name, by path of a YAML file, or for the address of a scheduler.

    Parameters
    ----------
    name : str or Profile
        A profile is returned as it is.
    workers : int, optional
        Tasks at once, instead of what it says.
    repo_root : path, optional
        Root of the repository, which may have profiles of its own.

    Raises
    ------
    ConfigurationError
        If there is none, or it is not sound; unknown keys are named.
    """
    profile = _find(name, repo_root)
    if workers is None:
        return profile
    if isinstance(profile, AddressProfile):
        logger.warning("-j %d has no say: the workers at an address are there already", workers)
        return profile
    return profile.with_cores(workers)


def _find(name: str | Profile, repo_root: Path | None) -> Profile:
    if isinstance(name, Profile):
        return name
    if name.startswith(_ADDRESSES):
        if not name.startswith("inproc://") and not re.fullmatch(r".+:\d+/?", name[6:]):
            raise ConfigurationError(
                f"the address {name!r} has no port", hint=f"{name.rstrip('/')}:8786, for instance"
            )
        return AddressProfile(address=name)
    files = profile_files(repo_root)
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        found = ProfileFile(path.stem, path.absolute(), "path")
    else:
        named = [file for file in files if file.name == name]
        if not named:
            raise ConfigurationError(
                f"there is no cluster profile {name!r}",
                hint=f"profiles are {_names(files)}; or a .yaml file, or tcp://HOST:PORT",
            )
        found = named[0]
    content = _read(found.path)
    base = content.pop("extends", None)
    if base is None:
        return _validate(_placed(content, found.path.parent), found.path)
    return _extended(content, base, found, files)


def _extended(content: Any, base: Any, file: ProfileFile, files: list[ProfileFile]) -> Profile:
    """Put a profile over the one that it extends: one level, so that two files tell it all."""
    # A site may extend the shipped profile of the same name.
    others = [one for one in files if one.path != file.path and one.name == base]
    if not others:
        raise ConfigurationError(
            f"cluster profile {file.path} extends {base!r}, which there is not",
            hint=f"profiles are {_names(files)}",
        )
    under = _read(others[0].path)
    if "extends" in under:
        raise ConfigurationError(
            f"cluster profile {file.path} extends {others[0].path}, which extends another one",
            hint=f"extend {under['extends']} and write the rest down",
        )
    # Files that a profile names are beside itself.
    return _validate(
        _over(_placed(under, others[0].path.parent), _placed(content, file.path.parent)),
        file.path,
    )


_PLACES = {("security", "ca_file"), ("security", "cert"), ("security", "key"),
           ("scheduler_file",), ("spec",)}  # fmt: skip


def _placed(content: Mapping[str, Any], directory: Path, at: tuple[str, ...] = ()) -> Any:
    """Return a profile whose relative paths are those of a directory."""
    placed: dict[str, Any] = {}
    for key, value in content.items():
        here = (*at, key)
        if isinstance(value, Mapping):
            placed[key] = _placed(value, directory, here)
        elif here in _PLACES and isinstance(value, str):
            placed[key] = str(directory / Path(os.path.expandvars(value)).expanduser())
        else:
            placed[key] = value
    return placed


def _over(under: Mapping[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in content.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _over(merged[key], value) if both else value
    return merged


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"there is no cluster profile {path}",
            hint="configs/clusters/README.md says how to write",
        ) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"cannot read cluster profile {path}: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigurationError(
            f"cluster profile {path} is not a mapping of keys to values", hint="kind: local"
        )
    return content


def _validate(content: dict[str, Any], path: Path) -> Profile:
    adapter: TypeAdapter[Profile] = TypeAdapter(AnyProfile)
    try:
        return adapter.validate_python(content)
    except ValidationError as error:
        problems = [_problem(one, str(content.get("kind"))) for one in error.errors()]
        raise ConfigurationError(f"cluster profile {path}: {'; '.join(problems)}") from error


def _problem(error: Any, kind: str) -> str:
    """Say what is wrong with a value, and what an unknown key may have been meant to be."""
    where = [str(part) for part in error["loc"] if part != kind]
    key = ".".join(where)
    if error["type"] == "extra_forbidden":
        close = difflib.get_close_matches(where[-1], _keys(kind, where[:-1]), n=1)
        return f"unknown key {key!r}" + (f", did you mean {close[0]!r}?" if close else "")
    if error["type"] == "union_tag_not_found":
        return f"it has no kind; kinds are {', '.join(_kinds())}"
    if error["type"] == "union_tag_invalid":
        return f"there is no kind {kind!r}; kinds are {', '.join(_kinds())}"
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{key}: {message}" if key else message


def _models() -> tuple[type[Profile], ...]:
    return get_args(get_args(AnyProfile)[0])


def _kinds() -> list[str]:
    return [str(model.model_fields["kind"].default) for model in _models()]


def _keys(kind: str, group: list[str]) -> list[str]:
    model: Any = next(m for m in _models() if m.model_fields["kind"].default == kind)
    for name in group:
        options = getattr(model.model_fields[name].annotation, "__args__", None)
        model = next(
            (
                one
                for one in options or (model.model_fields[name].annotation,)
                if isinstance(one, type) and issubclass(one, BaseModel)
            ),
            None,
        )
        if model is None:
            return []
    return list(model.model_fields)


def _names(files: list[ProfileFile]) -> str:
    return ", ".join(sorted({file.name for file in files}))


def _directories(repo_root: Path | None) -> list[tuple[str, Path]]:
    places = [
        ("$CPFLOW_PATH", Path(part) / "clusters")
        for part in os.environ.get("CPFLOW_PATH", "").split(os.pathsep)
        if part
    ]
    if repo_root is not None:
        places.append(("repository", repo_root / "clusters"))
    home = Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config"))
    places.append(("user", home / "cpflow" / "clusters"))
    places.append(("shipped", share_directory("configs") / "clusters"))
    return places
