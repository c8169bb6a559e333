"""One batch job with everything in it: scheduler, workers, and the command that builds.

The script is self-contained. It may be submitted again, by hand or by SLURM, and goes on where it
was: what a run has finished is in the repository's staging, not in the job. Its exit code is that
of the command: `srun` may end the ranks of workers by force when they are done, and says so.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cpflow import __version__
from cpflow.plan import Plan
from cpflow.plan.memory import INTERPRETER_MEMORY
from cpflow.scheduler.fitting import worker_memory
from cpflow.scheduler.numerics import ONE_THREAD
from cpflow.scheduler.profiles import LOOPBACK, Security, SlurmProfile
from cpflow.scheduler.security import dask_security
from cpflow.scheduler.slurm import clock, exports, slurm_directives
from cpflow.scheduler.suspects import NO_WAITING

# Of the process that looks after each worker.
_NANNY_MEMORY = 128 * 2**20
_MIB = 2**20


@dataclass(frozen=True)
class BatchJob:
    """What a batch job does, and where it writes.

    `arguments` are those of `cpflow` without ``--cluster``; `directory` is seen by all nodes and
    takes the script, its log and what it writes for a requeue.
    """

    name: str
    arguments: tuple[str, ...]
    profile: SlurmProfile
    directory: Path
    working_directory: Path
    memory: int
    """Bytes of each worker."""
    head_memory: int
    """Bytes of scheduler and command, which run on the first node."""

    @property
    def script_path(self) -> Path:
        """The script."""
        return self.directory / "job.sh"

    def log_path(self, job_id: str) -> Path:
        """Return what a job prints."""
        return self.directory / f"{job_id}.log"

    def status_path(self, job_id: str) -> Path:
        """Return the file with the exit code of the command."""
        return self.directory / f"{job_id}.exit"


def batch_job(
    plan: Plan,
    profile: SlurmProfile,
    arguments: Sequence[str],
    *,
    directory: Path,
    working_directory: Path,
) -> BatchJob:
    """Return the job that builds a plan; its memory follows from the plan.

    Parameters
    ----------
    plan : Plan
    profile : SlurmProfile
    arguments : sequence of str
        Of `cpflow`, without ``--cluster``.
    directory, working_directory : path
        Where the job writes, and where it runs.
    """
    graph = plan.graph.name.replace("/", "-")
    return BatchJob(
        name=f"cpflow-{graph}",
        arguments=tuple(arguments),
        profile=profile,
        directory=directory,
        working_directory=working_directory,
        memory=profile.worker.memory or worker_memory(plan, profile),
        head_memory=plan.scheduler_memory(profile.cores) + INTERPRETER_MEMORY,
    )


def batch_script(job: BatchJob) -> str:
    """Return the script of a job, for ``sbatch``."""
    return "\n".join([*_directives(job), "", *_before(job), "", *_start(job), "", _END]).replace(
        "@REQUEUE@", "yes" if job.profile.requeue_at_walltime else ""
    )


def _directives(job: BatchJob) -> list[str]:
    profile = job.profile
    per_node = -(-profile.workers // profile.nodes)
    node_memory = per_node * (job.memory + _NANNY_MEMORY) + job.head_memory
    options: dict[str, Any] = {
        "job-name": job.name,
        "partition": profile.partition,
        "account": profile.account,
        "nodes": profile.nodes,
        "ntasks": profile.workers,
        "ntasks-per-node": per_node,
        "cpus-per-task": profile.worker.threads,
        "mem": f"{-(-node_memory // _MIB)}M",
        "time": clock(profile.walltime),
        # To the shell alone: it stops the command, and the workers when that has ended.
        "signal": f"B:USR1@{profile.stop_before}",
        "open-mode": "append",
        "output": _directive_text(f"{_no_pattern(job.directory)}/%j.log"),
        "chdir": _directive_text(str(job.working_directory)),
    }
    return [
        "#!/usr/bin/env bash",
        f"# Written by cpflow {__version__}. sbatch of this file again resumes.",
        *(f"#SBATCH --{name}={value}" for name, value in options.items() if value is not None),
        "#SBATCH --requeue",
        *(f"#SBATCH {line}" for line in slurm_directives(profile)),
    ]


def _directive_text(text: str) -> str:
    """Quote for a line of ``#SBATCH``, which has quotes of its own."""
    return f'"{text}"' if any(c.isspace() for c in text) else text


def _no_pattern(path: Path) -> str:
    """Return a path in which SLURM replaces nothing."""
    return str(path).replace("%", "%%")


def _before(job: BatchJob) -> list[str]:
    allowed = job.profile.limits.allowed_failures
    environment = {
        **ONE_THREAD,
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": str(allowed),
        **NO_WAITING,
    }
    return [
        *job.profile.prologue,
        *exports(environment),
        f"directory={shlex.quote(str(job.directory))}",
        'scheduler_file="$directory/$SLURM_JOB_ID.scheduler.json"',
        'status_file="$directory/$SLURM_JOB_ID.exit"',
        "# Put into the queue again after it was done.",
        '[ "$(cat "$status_file" 2>/dev/null)" != 0 ] || exit 0',
        'rm -f "$scheduler_file" "$status_file"',
        'cat >"$directory/$SLURM_JOB_ID.cluster.yaml" <<PROFILE',
        *_inside(job),
        "PROFILE",
    ]


def _inside(job: BatchJob) -> list[str]:
    """Return the profile that the command runs with, inside the job."""
    profile = job.profile
    scheduler_file = _yaml_text(f"{job.directory}/@ID@.scheduler.json").replace(
        "@ID@", "$SLURM_JOB_ID"
    )
    lines = [
        "kind: address",
        f"scheduler_file: {scheduler_file}",
        f"workers: {profile.workers}",
        f"worker: {{threads: {profile.worker.threads}, memory: {job.memory}}}",
        f"limits: {{no_worker_timeout: {profile.limits.no_worker_timeout}}}",
    ]
    if profile.security is not None:
        named = ((name, getattr(profile.security, name)) for name in Security.model_fields)
        lines += ["security:", *(f"  {name}: {_yaml_text(str(path))}" for name, path in named)]
    return lines


def _yaml_text(text: str) -> str:
    """Quote a path for YAML in a here-document."""
    quoted = "'" + text.replace("'", "''") + "'"
    return quoted.replace("\\", "\\\\").replace("$", "\\$").replace("`", "\\`")


def _start(job: BatchJob) -> list[str]:
    profile = job.profile
    python = shlex.quote(profile.python or sys.executable)
    per_node = -(-profile.workers // profile.nodes)
    tls = _tls_arguments(profile)
    # On one node nobody else can reach them.
    host = ["--host", "127.0.0.1"] if profile.nodes == 1 else []
    if profile.interface is not None:
        host = ["--interface", profile.interface]
    scheduler = [
        "--port", "0", "--dashboard-address", profile.dashboard, *host, *tls,
    ]  # fmt: skip
    worker = [
        "--nthreads", str(profile.worker.threads), "--memory-limit", str(job.memory),
        "--no-dashboard", "--dashboard-address", LOOPBACK, "--death-timeout", "60", *host, *tls,
    ]  # fmt: skip
    local = profile.worker.local_directory
    where = "" if local is None else f' --local-directory "{_double_quoted(local)}"'
    return [
        f'{python} -m distributed.cli.dask_scheduler --scheduler-file "$scheduler_file" '
        f"{shlex.join(scheduler)} &",
        "scheduler=$!",
        f"srun --nodes={profile.nodes} --ntasks={profile.workers} --ntasks-per-node={per_node} "
        f"--cpus-per-task={profile.worker.threads} --kill-on-bad-exit=0 "
        f'{python} -m distributed.cli.dask_worker --scheduler-file "$scheduler_file" '
        f"{shlex.join(worker)}{where} &",
        "workers=$!",
        'stopped=""',
        'client=""',
        'trap \'stopped=yes; again=yes; [ -z "$client" ] || kill -TERM "$client"\' USR1 TERM',
        f"{python} -m cpflow {shlex.join(job.arguments)} "
        '"--cluster=$directory/$SLURM_JOB_ID.cluster.yaml" &',
        "client=$!",
    ]


def _double_quoted(text: str) -> str:
    """Return text for double quotes of a shell, in which variables are those of the job."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("`", "\\`").replace("$(", "\\$(")


def _tls_arguments(profile: SlurmProfile) -> list[str]:
    if profile.security is None:
        return []
    # Refuses files that are not there.
    dask_security(profile.security)
    files: Mapping[str, Path] = {
        "ca-file": profile.security.ca_file,
        "cert": profile.security.cert,
        "key": profile.security.key,
    }
    pairs = [(f"--tls-{name}", str(path)) for name, path in files.items()]
    return ["--protocol", "tls", *(text for pair in pairs for text in pair)]


_END = r"""[ -z "$stopped" ] || kill -TERM "$client"
# A signal ends `wait` before the command has ended.
again=yes
while [ -n "$again" ]; do
  again=""
  wait "$client"
  code=$?
done
trap "" USR1 TERM
# Workers end when their scheduler does; otherwise srun ends them by force.
kill "$scheduler" 2>/dev/null
for _ in $(seq 30); do
  kill -0 "$workers" 2>/dev/null || break
  sleep 0.5
done
kill "$workers" 2>/dev/null && sleep 1
kill -KILL "$workers" "$scheduler" 2>/dev/null
rm -f "$scheduler_file"
if [ "$code" = 130 ] && [ -n "$stopped" ] && [ -n "@REQUEUE@" ]; then
  echo "the walltime is near: into the queue again"
  scontrol requeue "$SLURM_JOB_ID" && sleep 60
fi
echo "$code" >"$status_file"
exit "$code"
"""
