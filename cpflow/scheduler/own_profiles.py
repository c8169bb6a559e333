"""Can the cluster profiles of one's own, or of a repository, be read? All are looked at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cpflow.errors import CpflowError
from cpflow.findings import Finding, sound, warning
from cpflow.scheduler.profile_files import ProfileFile, load_profile, profile_files


def examine_own_profiles(repo_root: Path | None = None) -> Iterator[Finding]:
    """Read all profiles but those that are shipped, and those that one of the same name hides."""
    used: dict[str, ProfileFile] = {}
    for file in profile_files(repo_root):
        used.setdefault(file.name, file)
    own = [file for file in used.values() if file.origin != "shipped"]
    failures = 0
    for file in own:
        try:
            load_profile(str(file.path), repo_root=repo_root)
        except CpflowError as failure:
            failures += 1
            yield warning(
                f"cluster profile {file.name}",
                failure.message,
                failure.hint or f"correct {file.path}",
            )
    if len(own) > failures:
        yield sound("cluster profiles", f"{len(own) - failures} of your own can be read")
