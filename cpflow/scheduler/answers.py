"""What workers answered, put together: a problem that many have is told once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cpflow.environment.packages import versions
from cpflow.findings import Finding, Level, sound
from cpflow.scheduler.marks import is_seen
from cpflow.scheduler.version_check import compare_versions
from cpflow.scheduler.worker_probe import Question

_GIB = 2**30
_MOST_THREADS = 2
_MOST_SKEW = 5.0
_SHOWN = 4

Told = tuple[str, Level, str, str]
"""Area, level, problem, remedy."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker said of itself, or why it did not; its clock against this one's, seconds."""

    address: str
    said: Any
    skew: float

    @property
    def name(self) -> str:
        """Where it is."""
        if isinstance(self.said, dict):
            return f"{self.said['host']} ({self.address})"
        return self.address


def examine_answers(answers: Sequence[Answer], question: Question) -> Iterator[Finding]:
    """Yield what is wrong with workers, each problem once, and what is sound with all of them."""
    told: dict[Told, list[Answer]] = defaultdict(list)
    here = versions()
    for answer in answers:
        for one in _of_worker(answer, question, here):
            told[one].append(answer)
    there = [answer for answer in answers if isinstance(answer.said, dict)]
    for one, concerned in _of_hosts(there):
        told[one] += concerned
    if there:
        yield _shape(there)
    for (_, level, problem, remedy), concerned in told.items():
        yield Finding(level, _names(concerned, len(answers)), problem, remedy)
    if there:
        troubled = {area for area, *_ in told}
        name = (
            _all(len(there))
            if len(there) == len(answers)
            else (f"{len(there)} of {len(answers)} workers")
        )
        for area, text in _sound(there, question):
            if area not in troubled:
                yield sound(name, text)


def _of_worker(answer: Answer, question: Question, here: Mapping[str, str]) -> Iterator[Told]:
    said = answer.said
    if isinstance(said, TimeoutError):
        yield (
            "answers", Level.ERROR, f"{said}: it is busy, or hangs",
            "see its log; a directory that is not mounted can hang a worker",
        )  # fmt: skip
        return
    if isinstance(said, BaseException):
        # Dask tells of some as `Exception("ImportError(...)")`.
        kind = "" if type(said) is Exception else f"{type(said).__name__}: "
        reason = " ".join(f"{kind}{said}".split())
        yield (
            "answers", Level.ERROR, f"cpflow does not work there: {reason[:300]}",
            f"start it from an environment with cpflow {here['cpflow']}",
        )  # fmt: skip
        return
    for level, problem, remedy in compare_versions(here, said["versions"]):
        yield "versions", level, problem, remedy
    for level, problem, remedy in said["kernels"]:
        yield "kernels", Level(level), f"kernels: {problem}", remedy
    yield from _resources(said)
    if abs(answer.skew) > _MOST_SKEW:
        ahead = "ahead of" if answer.skew > 0 else "behind"
        yield (
            "clock", Level.WARNING, f"its clock is {abs(answer.skew):.0f} s {ahead} this one: "
            "certificates and walltimes go by it",
            "set both by NTP",
        )  # fmt: skip
    if question.root is not None:
        yield from _repository(said, question, question.root)


def _resources(said: dict[str, Any]) -> Iterator[Told]:
    limit, threads = said["memory_limit"], said["threads"]
    if not limit:
        yield (
            "memory", Level.WARNING,
            "it has no memory limit: a task that goes astray takes its machine with it",
            "dask worker --memory-limit 4GiB",
        )  # fmt: skip
    elif limit < _GIB:
        yield (
            "memory", Level.WARNING, f"it may take {limit / _GIB:.2f} GiB; a plan needs 1.0 GiB",
            "worker.memory of the profile, or dask worker --memory-limit",
        )  # fmt: skip
    if threads > _MOST_THREADS:
        yield (
            "threads", Level.WARNING, f"it runs {threads} tasks at once in one process, where they "
            "wait for each other; one or two are best",
            f"dask worker --nworkers {threads} --nthreads 1",
        )  # fmt: skip


def _repository(said: dict[str, Any], question: Question, root: Path) -> Iterator[Told]:
    if "unseen" in said:
        yield (
            "repository", Level.ERROR, f"the repository is not to be seen there: {said['unseen']}",
            f"mount it at {root} there, too, for the user of the worker",
        )  # fmt: skip
    elif "unwritten" in said:
        yield (
            "repository", Level.ERROR,
            f"the repository cannot be written there: {said['unwritten']} for user {said['user']}",
            "mount it so that it can be written; workers of another user need `cpflow init REPO "
            "--shared GROUP`",
        )  # fmt: skip
    elif question.mark is not None and not is_seen(Path(said["written"]), question.mark):
        yield (
            "repository", Level.ERROR,
            f"a file that it wrote into {question.mark.path.parent} is not seen here",
            f"mount the same file system at {root}; one that caches for minutes does not do",
        )  # fmt: skip
    if "lock" in said:
        yield (
            "locks", Level.WARNING, f"{said['lock']}: two runs of one plan, from there and from "
            "here, would get mixed up",
            "mount it with locks (NFS: without nolock; Lustre: -o flock)",
        )  # fmt: skip
    if said["raws"]:
        path, reason = next(iter(said["raws"].items()))
        yield (
            "raws", Level.ERROR,
            f"{len(said['raws'])} of {len(question.raws)} raw files, a sample, cannot be read "
            f"there; {path}: {reason}",
            "mount their directory there at the same path, or `cpflow ingest --transfer copy`",
        )  # fmt: skip


def _of_hosts(there: Sequence[Answer]) -> Iterator[tuple[Told, list[Answer]]]:
    """Find machines whose workers are promised more than there is."""
    hosts: dict[str, list[Answer]] = defaultdict(list)
    for answer in there:
        hosts[answer.said["host"]].append(answer)
    for host, workers in hosts.items():
        memory, cores = workers[0].said["memory"], workers[0].said["cores"]
        limits = sum(one.said["memory_limit"] or 0 for one in workers)
        threads = sum(one.said["threads"] for one in workers)
        # "auto" is rounded, and of the whole machine.
        if limits > 1.05 * memory:
            yield (
                (
                    "memory", Level.WARNING,
                    f"together they may take {limits / _GIB:.1f} GiB, {host} has "
                    f"{memory / _GIB:.1f} GiB",
                    "fewer workers, or a lower --memory-limit (worker.memory of the profile)",
                ),
                workers,
            )  # fmt: skip
        if threads > cores:
            yield (
                (
                    "threads", Level.WARNING,
                    f"together they run {threads} tasks at once, {host} has {cores} cores for them",
                    "as many workers as there are cores, of one thread each",
                ),
                workers,
            )  # fmt: skip


def _shape(there: Sequence[Answer]) -> Finding:
    hosts = sorted({answer.said["host"] for answer in there})
    threads = sorted({answer.said["threads"] for answer in there})
    limits = sorted({answer.said["memory_limit"] or 0 for answer in there})
    each = f"{_range(threads)} thread{'s' * (threads != [1])} and " + _range(
        [round(limit / _GIB, 1) for limit in limits]
    )
    return sound(
        "workers",
        f"{len(there)} on {_some(hosts)}, of {each} GiB" + " each" * (len(there) > 1),
    )


def _sound(there: Sequence[Answer], question: Question) -> Iterator[tuple[str, str]]:
    """Yield areas, and what is true there if there is no trouble."""
    yield "versions", "the same versions as here"
    yield "kernels", "kernels run"
    skew = max(abs(answer.skew) for answer in there)
    yield "clock", f"clocks agree within {max(skew, 1):.0f} s"
    if question.root is not None:
        if question.mark is not None:
            yield "repository", "see the repository, and write where it is seen here"
            if question.mark.is_locked:
                yield "locks", "see locks that are held here"
        if question.raws:
            yield (
                "raws",
                f"read {len(question.raws)} of {len(question.raws)} raw files, a sample",
            )


def _names(concerned: Sequence[Answer], count: int) -> str:
    if len(concerned) == count:
        return _all(count)
    names = [answer.name for answer in concerned]
    word = "worker" if len(names) == 1 else f"{len(names)} of {count} workers,"
    return f"{word} {_some(names)}"


def _all(count: int) -> str:
    return "worker" if count == 1 else f"all {count} workers"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _range(values: Sequence[float]) -> str:
    return f"{values[0]:g}" if len(values) == 1 else f"{values[0]:g} to {values[-1]:g}"
