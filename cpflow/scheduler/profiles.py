"""Cluster profiles: data that says where tasks run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from cpflow.errors import ConfigurationError
from cpflow.options import Options
from cpflow.share import share_directory


class Profile(Options):
    """Where tasks run, and with what.

    `threads` runs in this process; `local` starts worker processes on this machine; `address`
    connects to a scheduler that runs already.
    """

    kind: Literal["threads", "local", "address"] = "threads"
    description: str = ""
    workers: int | None = Field(None, ge=1)
    """Threads, or worker processes; by default one per core."""
    threads_per_worker: int = Field(1, ge=1)
    memory: str | None = None
    """Memory limit of each worker process, as "4GiB"."""
    address: str | None = None
    dashboard: str = "127.0.0.1:0"

    @property
    def cores(self) -> int:
        """How many tasks run at once, as far as the profile says."""
        return self.workers or len(os.sched_getaffinity(0))


def profile_names() -> list[str]:
    """Return the names of the shipped profiles."""
    return sorted(p.stem for p in (share_directory("configs") / "clusters").glob("*.yaml"))


def load_profile(name: str, *, workers: int | None = None) -> Profile:
    """Return a profile by name, by path of a YAML file, or for the address of a scheduler.

    Raises
    ------
    ConfigurationError
        If there is none, or it is not sound.
    """
    import yaml

    if name.startswith(("tcp://", "tls://", "inproc://")):
        return Profile(kind="address", address=name)
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = share_directory("configs") / "clusters" / f"{name}.yaml"
    if not path.is_file():
        raise ConfigurationError(
            f"there is no cluster profile {name!r}",
            hint=f"profiles are {', '.join(profile_names())}, a .yaml file, or tcp://HOST:PORT",
        )
    try:
        profile = Profile.model_validate(yaml.safe_load(path.read_text()) or {})
    except (yaml.YAMLError, ValidationError) as error:
        raise ConfigurationError(f"cluster profile {path}: {error}") from error
    return profile if workers is None else profile.model_copy(update={"workers": workers})
