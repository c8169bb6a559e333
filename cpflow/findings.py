"""What a check has found: something sound, or a problem and its remedy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    WARNING = "warning"
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be, and what to do about it; or that it is."""

    level: Level
    subject: str
    problem: str
    """What is wrong; of what is sound, the facts."""
    remedy: str
    leftover: str | None = None
    """Path, relative to the root, that `cpflow.repo.doctor.clean` may remove."""


def sound(subject: str, facts: str) -> Finding:
    """Say that something is as it should be."""
    return Finding(Level.OK, subject, facts, "")


def warning(subject: str, problem: str, remedy: str) -> Finding:
    """Say that something works, but will not always, or not for all."""
    return Finding(Level.WARNING, subject, problem, remedy)


def error(subject: str, problem: str, remedy: str) -> Finding:
    """Say that something does not work."""
    return Finding(Level.ERROR, subject, problem, remedy)


def problems(findings: list[Finding]) -> list[Finding]:
    """Return what is not sound, errors first."""
    found = [one for one in findings if one.level is not Level.OK]
    return sorted(found, key=lambda one: one.level is not Level.ERROR)
