"""Packages elsewhere against those here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cpflow.findings import Level

# Tasks and graphs of one version are not for another.
_SAME = ("cpflow", "dask", "distributed")
# Numbers, or what is stored, may differ.
_BETTER_SAME = ("numpy", "scipy", "numba", "xarray", "zarr", "astropy")


def compare_versions(
    here: Mapping[str, str], there: Mapping[str, str]
) -> Iterator[tuple[Level, str, str]]:
    """Yield how bad it is, what differs, and what to do.

    Parameters
    ----------
    here, there : mapping of str to str
        As `cpflow.environment.packages.versions` returns them.
    """
    if _minor(here["python"]) != _minor(there["python"]):
        yield (
            Level.ERROR,
            f"Python {there['python']} there, {here['python']} here: tasks of one cannot be read "
            "by the other",
            f"start it with Python {_minor(here['python'])}",
        )
    for level, names, why in (
        (Level.ERROR, _SAME, "tasks of one may not be those of the other"),
        (Level.WARNING, _BETTER_SAME, "numbers may differ in their last bits"),
    ):
        other = [name for name in names if here[name] != there.get(name, "missing")]
        if other:
            shown = ", ".join(
                f"{name} {there.get(name, 'missing')} there, {here[name]} here" for name in other
            )
            wanted = " ".join(f"'{name}=={here[name]}'" for name in other)
            yield level, f"{shown}: {why}", f"install the same there: pip install {wanted}"


def _minor(python: str) -> str:
    return ".".join(python.split(".")[:2])
