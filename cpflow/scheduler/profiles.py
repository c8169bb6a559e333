"""Cluster profiles: data that says where tasks run, and with what.

A profile has a `kind`, and the groups `worker`, `limits` and `security`. It is read from a YAML
file (`cpflow.scheduler.profile_files`), or made here. Nothing is started by making one.
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, field_validator, model_validator

from cpflow.options import Options

LOOPBACK = "127.0.0.1:0"
_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400}


def _bytes(value: Any) -> Any:
    """Read a size such as "4GiB"; a number is of bytes."""
    if not isinstance(value, str):
        return value
    from dask.utils import parse_bytes

    return int(parse_bytes(value))


def _seconds(value: Any) -> Any:
    """Read a time such as "2h", "90min", "12:00:00" or "1-00:00:00"; a number is of seconds.

    YAML itself reads 12:00:00 without quotes as a number of seconds.
    """
    if not isinstance(value, str):
        return value
    clock = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)", value.strip())
    if clock is not None:
        days, hours, minutes, seconds = (int(part or 0) for part in clock.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    amount = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]+)", value.strip())
    if amount is None or amount[2] not in _UNITS:
        raise ValueError(f"cannot read a time from {value!r}; as in 2h, 90min, 1-12:00:00")
    return math.ceil(float(amount[1]) * _UNITS[amount[2]])


def _path(value: Any) -> Any:
    """Expand ~ and variables; in a file, a relative path is beside the file."""
    if not isinstance(value, str | Path):
        return value
    return Path(os.path.expandvars(value)).expanduser().absolute()


Bytes: TypeAlias = Annotated[int, BeforeValidator(_bytes), Field(ge=1)]
Seconds: TypeAlias = Annotated[int, BeforeValidator(_seconds), Field(ge=1)]
Place: TypeAlias = Annotated[Path, BeforeValidator(_path)]


class Worker(Options):
    """The shape of a worker process."""

    threads: int = Field(1, ge=1, le=64)
    """Tasks that it runs at once, each on a core. One or two are best."""
    memory: Bytes | None = None
    """What it may take; by default what the plan needs, where cpflow starts the workers."""
    walltime: Seconds | None = None
    """How long its batch job may last."""
    local_directory: str | None = None
    """Where it puts what does not fit into memory; on a disk of its own machine. A variable such
    as $TMPDIR is that of the worker."""


class Limits(Options):
    """When to give up."""

    allowed_failures: int = Field(2, ge=0)
    """Of how many workers that die a task may be the last one, before it is taken for the cause."""
    start_timeout: Seconds = 300
    """How long to wait for the first worker."""
    no_worker_timeout: Seconds = 300
    """How long a run may be without any worker."""
    silence_timeout: Seconds = 120
    """How long the scheduler may be without an answer."""


class Security(Options):
    """The files of TLS: client, scheduler and workers use all three, and take nobody without."""

    ca_file: Place
    """Certificate of the authority that signed `cert`."""
    cert: Place
    key: Place
    """To be readable by its owner, or a group of people who share a cluster; nobody else."""


class Profile(Options):
    """What all profiles have."""

    kind: str
    description: str = ""
    workers: int | None = Field(None, ge=1)
    """Worker processes."""
    worker: Worker = Worker()
    limits: Limits = Limits()
    security: Security | None = None

    @property
    def cores(self) -> int:
        """How many tasks run at once, as far as the profile says."""
        return (self.workers or 1) * self.worker.threads

    @property
    def expected_cores(self) -> int:
        """Tasks at once when all workers are there; 0 if that is not known."""
        return self.cores

    def with_cores(self, cores: int) -> Profile:
        """Return a profile of so many workers that so many tasks run at once."""
        return self.model_copy(update={"workers": -(-cores // self.worker.threads)})


class ThreadsProfile(Profile):
    """Threads of this process; the least overhead."""

    kind: Literal["threads"] = "threads"
    security: None = None

    @property
    def cores(self) -> int:
        """One per worker; by default one per core of this machine."""
        return self.workers or len(os.sched_getaffinity(0))

    def with_cores(self, cores: int) -> Profile:
        """Return a profile of so many threads."""
        return self.model_copy(update={"workers": cores})


class LocalProfile(Profile):
    """Worker processes on this machine, which listen on loopback only."""

    kind: Literal["local"] = "local"
    dashboard: str = LOOPBACK

    @property
    def cores(self) -> int:
        """As many as workers have threads; by default one per core of this machine."""
        threads = self.worker.threads
        return (self.workers or max(1, len(os.sched_getaffinity(0)) // threads)) * threads


class AddressProfile(Profile):
    """A scheduler that runs already; its workers are whose who started them."""

    kind: Literal["address"] = "address"
    address: str | None = None
    scheduler_file: Place | None = None
    """File that the scheduler writes its address to, instead of `address`."""

    @property
    def expected_cores(self) -> int:
        """Of the workers that the profile says will come; otherwise those that are there."""
        return self.cores if self.workers else 0

    @model_validator(mode="after")
    def _one_place(self) -> AddressProfile:
        if (self.address is None) == (self.scheduler_file is None):
            raise ValueError("it has an address, or a scheduler_file")
        return self


class SlurmProfile(Profile):
    """Jobs of SLURM: one with everything in it (``cpflow submit``), or one for each worker."""

    kind: Literal["slurm"] = "slurm"
    workers: int = Field(8, ge=1)
    worker: Worker = Worker(walltime=7200)
    nodes: int = Field(1, ge=1)
    """Of the job of ``cpflow submit``; workers are spread over them evenly."""
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    directives: tuple[str, ...] = ()
    """More lines for ``#SBATCH``, as "--reservation=night"."""
    prologue: tuple[str, ...] = ()
    """Lines of shell before anything starts, as "module load python"."""
    interface: str | None = None
    """Network interface that nodes see each other by, as "ib0"."""
    python: str | None = None
    """Of the compute nodes; by default the one that runs now."""
    stop_before: Seconds = 300
    """How long before the walltime to stop, so that finished bands are kept."""
    requeue_at_walltime: bool = False
    """Whether a job that stops for its walltime puts itself into the queue again."""
    dashboard: str = LOOPBACK

    @field_validator("worker")
    @classmethod
    def _has_walltime(cls, worker: Worker) -> Worker:
        if worker.walltime is None:
            return worker.model_copy(update={"walltime": 7200})
        return worker

    @field_validator("directives", "prologue", "partition", "account", "qos", "constraint")
    @classmethod
    def _one_line(cls, value: Any) -> Any:
        if any("\n" in text for text in ((value,) if isinstance(value, str) else value or ())):
            raise ValueError("a line has no line break")
        return value

    @model_validator(mode="after")
    def _time_to_stop(self) -> SlurmProfile:
        if self.stop_before >= self.walltime:
            raise ValueError(
                f"stop_before ({self.stop_before} s) must be less than worker.walltime "
                f"({self.walltime} s)"
            )
        return self

    @property
    def walltime(self) -> int:
        """Seconds that a job may last."""
        assert self.worker.walltime is not None
        return self.worker.walltime


class KubernetesProfile(Profile):
    """Pods, by the operator of dask-kubernetes."""

    kind: Literal["kubernetes"] = "kubernetes"
    workers: int = Field(4, ge=1)
    image: str | None = None
    """With the same cpflow and Python as here."""
    name: str = "cpflow"
    namespace: str | None = None
    volumes: dict[str, str] = Field(default_factory=dict)
    """Persistent volume claims by name, and where pods mount them: the repository and the raws
    must be at the same paths as here."""
    environment: dict[str, str] = Field(default_factory=dict)
    spec: Place | None = None
    """Manifest of a DaskCluster, instead of all these."""

    @model_validator(mode="after")
    def _image_or_spec(self) -> KubernetesProfile:
        if (self.image is None) == (self.spec is None):
            raise ValueError("it has an image, or a spec")
        if self.spec is not None and (self.volumes or self.environment):
            raise ValueError("volumes and environment go into the spec")
        if self.security is not None:
            raise ValueError("certificates go into the image or the spec, not into security")
        return self


class GatewayProfile(Profile):
    """A cluster that a Dask Gateway starts; it secures it by itself."""

    kind: Literal["gateway"] = "gateway"
    workers: int = Field(4, ge=1)
    address: str
    proxy_address: str | None = None
    auth: Literal["basic", "kerberos", "jupyterhub"] | None = None
    """By default what Dask's configuration says; passwords and tokens are never in a profile."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of this gateway, as `worker_memory`."""
    security: None = None


AnyProfile: TypeAlias = Annotated[
    ThreadsProfile
    | LocalProfile
    | AddressProfile
    | SlurmProfile
    | KubernetesProfile
    | GatewayProfile,
    Field(discriminator="kind"),
]
