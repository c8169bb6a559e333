"""Commands as several Unix users at once: real user ids, groups and umasks.

A server of root imports cpflow and compiles its kernels once, then forks for each command, and the
child gives up root before it begins. An interpreter for each command would compile all kernels
again, and cannot be started where the files of Python are root's alone. The graphs and profiles of
cpflow itself are read by the child: `unreadable` says where others may not.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import select
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cpflow

GROUP = 61000


@dataclass(frozen=True)
class User:
    """Who runs a command; he need not be in the password file."""

    name: str
    uid: int
    groups: tuple[int, ...] = (GROUP,)
    umask: int = 0o022
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """What came of a command."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


@dataclass(frozen=True)
class Begun:
    """A command that goes on."""

    pid: int
    output: Path

    @property
    def is_running(self) -> bool:
        return not self.output.with_suffix(".code").exists()

    def wait(self, code: int | None = 0, seconds: float = 120) -> Ended:
        """Wait for the end; `code` is what it must be, None stands for any."""
        deadline = time.monotonic() + seconds
        while self.is_running:
            assert time.monotonic() < deadline, f"still running after {seconds} s"
            time.sleep(0.005)
        found, out, err = (
            self.output.with_suffix(suffix).read_text() for suffix in (".code", ".out", ".err")
        )
        assert "Traceback" not in err, err
        assert code is None or int(found) == code, f"exit code {found}\n{err}\n{out}"
        return Ended(int(found), out, err)


class Users:
    """Runs commands of cpflow as any user; root itself runs `warm_up` first."""

    def __init__(self, *warm_up: list[str]) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="cpflow-users-")
        self._count = 0
        self._server = subprocess.Popen(
            [sys.executable, __file__, json.dumps(warm_up)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self._answer() != "ready":
            self.close()
            raise AssertionError("a command of the warm-up failed")

    def _answer(self) -> str:
        assert self._server.stdout is not None
        return self._server.stdout.readline().strip()

    def begin(self, user: User, *arguments: object) -> Begun:
        """Begin a command."""
        self._count += 1
        output = Path(self._directory.name) / str(self._count)
        request = [asdict(user), [str(argument) for argument in arguments], str(output)]
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return Begun(int(self._answer()), output)

    def run(self, user: User, *arguments: object, code: int | None = 0) -> Ended:
        """Run a command to its end."""
        return self.begin(user, *arguments).wait(code)

    def close(self) -> None:
        """End the server, which waits for what runs."""
        self._server.communicate(timeout=120)
        self._directory.cleanup()


def unreadable() -> Path | None:
    """Return the directory that keeps others from the files of cpflow, if one does."""
    here = Path(cpflow.__file__).resolve().parent
    # To pass through a directory it need not be readable.
    needed = {here: 0o005, **dict.fromkeys(here.parents, 0o001)}
    closed = (one for one, mode in needed.items() if one.stat().st_mode & mode != mode)
    return next(closed, None)


def _import_all() -> None:
    """Import all of cpflow, of which a child may not be able to read more."""
    for module in pkgutil.walk_packages(cpflow.__path__, "cpflow."):
        # Alembic runs its scripts; they are not for import.
        if not module.name.endswith("__main__") and ".migrations." not in module.name:
            importlib.import_module(module.name)


def _child(user: dict[str, Any], arguments: list[str], output: str) -> None:
    """Become the user, run the command, and end with its exit code."""
    code = 99
    try:
        for number, suffix in ((0, None), (1, ".out"), (2, ".err")):
            name = os.devnull if suffix is None else output + suffix
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), number)
        os.setgroups(user["groups"])
        os.setresgid(user["uid"], user["uid"], user["uid"])
        os.setresuid(user["uid"], user["uid"], user["uid"])
        os.umask(user["umask"])
        os.chdir("/")
        os.environ.update(LOGNAME=user["name"], HOME="/nonexistent", **user["environment"])
        from cpflow.cli.app import run

        code = run(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _serve(warm_up: list[list[str]]) -> None:
    import dask

    from cpflow.cli.app import run

    _import_all()
    answers = os.fdopen(os.dup(1), "w")
    with (
        Path(os.devnull).open("w") as nowhere,
        redirect_stdout(nowhere),
        # Its threads would be missing in the children.
        dask.config.set(scheduler="synchronous"),
    ):
        for arguments in warm_up:
            assert run(["--log-level", "ERROR", *arguments]) == 0, arguments
    os.dup2(2, 1)
    answers.write("ready\n")
    answers.flush()
    running: dict[int, str] = {}
    asked = True
    while asked or running:
        if asked and select.select([sys.stdin.buffer.raw], [], [], 0.005)[0]:
            line = sys.stdin.buffer.raw.readline()
            asked = bool(line)
            if line:
                user, arguments, output = json.loads(line)
                pid = os.fork()
                if pid == 0:
                    _child(user, arguments, output)
                running[pid] = output
                answers.write(f"{pid}\n")
                answers.flush()
        while running:
            pid, status = os.waitpid(-1, os.WNOHANG if asked else 0)
            if pid == 0:
                break
            output = Path(running.pop(pid))
            temporary = output.with_suffix(".tmp")
            temporary.write_text(str(os.waitstatus_to_exitcode(status)))
            temporary.rename(output.with_suffix(".code"))


if __name__ == "__main__":
    _serve(json.loads(sys.argv[1]))
