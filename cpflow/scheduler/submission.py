"""Hand a batch job to SLURM, and wait for its end."""

from __future__ import annotations

import logging
import subprocess
import time
from pathlib import Path

from cpflow.errors import ClusterLostError, ConfigurationError, InterruptedRunError
from cpflow.permissions import make_directory
from cpflow.scheduler.batch import BatchJob, batch_script

logger = logging.getLogger(__name__)

# Seconds between two looks at a job, and how long the files of a job that has ended may take to be
# seen from here: directories of NFS are cached.
_LOOK = 2.0
_FILES = 60.0


def submit(job: BatchJob) -> str:
    """Write the script of a job and submit it; return the id.

    Raises
    ------
    ConfigurationError
        If there is no ``sbatch``.
    ClusterLostError
        If it takes no jobs, or not this one.
    """
    make_directory(job.directory)
    # What is run is its owner's, also where a group shares the repository.
    job.directory.chmod(0o755)
    job.script_path.write_text(batch_script(job))
    job.script_path.chmod(0o755)
    printed = _slurm("sbatch", "--parsable", str(job.script_path))
    return printed.strip().partition(";")[0]


def wait(job: BatchJob, job_id: str) -> int:
    """Wait until a job has ended, and return the exit code of its command.

    Raises
    ------
    InterruptedRunError
        If the user stops waiting; the job goes on.
    ClusterLostError
        If the job ended without an exit code: it was cancelled, or lost.
    """
    try:
        while _in_queue(job_id):
            time.sleep(_LOOK)
        deadline = time.monotonic() + _FILES
        while (code := _exit_code(job.status_path(job_id))) is None:
            if time.monotonic() > deadline or not job.log_path(job_id).exists():
                raise ClusterLostError(
                    f"job {job_id} ended without an exit code: cancelled, or lost with its node",
                    hint=f"see {job.log_path(job_id)}; sbatch {job.script_path} resumes",
                )
            time.sleep(_LOOK)
    except KeyboardInterrupt as error:
        raise InterruptedRunError(
            f"no longer waiting; job {job_id} goes on", hint=f"scancel {job_id} stops it"
        ) from error
    return code


def _in_queue(job_id: str) -> bool:
    try:
        states = _slurm("squeue", "--noheader", "--jobs", job_id, "--format=%T").split()
    except ClusterLostError as error:
        # It forgets jobs soon after their end.
        if "Invalid job id" in error.message:
            return False
        logger.warning("%s; asking again", error.message)
        return True
    return bool(states)


def _exit_code(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def _slurm(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"there is no {command[0]} here",
            hint="submit from a login node; --dry-run prints the script",
        ) from error
    if done.returncode != 0:
        raise ClusterLostError(
            f"{command[0]}: {(done.stderr or done.stdout).strip()}",
            hint="partition, account and limits are in the cluster profile",
        )
    return done.stdout
