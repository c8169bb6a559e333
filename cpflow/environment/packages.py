"""Python and packages, against what cpflow asks for."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from typing import TYPE_CHECKING

from cpflow import __version__
from cpflow.findings import Finding, error, sound, warning

if TYPE_CHECKING:
    from packaging.requirements import Requirement

EXTRAS = {
    "postgresql": "a registry in PostgreSQL",
    "lacosmic": "cosmic rays by L.A.Cosmic",
    "slurm": "a SLURM job for each worker",
    "kubernetes": "pods as workers",
    "gateway": "clusters of a Dask Gateway",
    "notebook": "widgets in Jupyter",
    "dashboard": "the dashboard and reports of Dask",
}
"""The extras that change what cpflow can do, and what each is for."""

_SHOWN = ("cpflow", "numpy", "scipy", "numba", "dask", "distributed", "xarray", "zarr",
          "astropy", "sqlalchemy", "pydantic")  # fmt: skip


def versions() -> dict[str, str]:
    """Return the versions of what cpflow stands on."""
    found = {"python": platform.python_version(), "system": platform.platform()}
    found |= {name: installed(name) or "missing" for name in _SHOWN}
    # Of a checkout, what is installed may be called otherwise.
    return found | {"cpflow": __version__}


def installed(package: str) -> str | None:
    """Return the version of a package, or None if it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def examine_packages() -> Iterator[Finding]:
    """Compare Python and packages with what the installed cpflow asks for."""
    try:
        asked = requires("cpflow") or []
        about = metadata("cpflow")
    except PackageNotFoundError:
        yield error(
            "packages",
            "this cpflow is not installed: nobody knows which packages it needs",
            f"{sys.executable} -m pip install cpflow (of a checkout: pip install -e .)",
        )
        return
    yield _python(about["Requires-Python"])
    if about["Version"] != __version__:
        yield warning(
            "packages",
            f"cpflow {__version__} runs, but what is installed is called {about['Version']}: "
            "its requirements may be those of another version",
            "install it again: pip install",
        )
    needed, extras = _requirements(asked)
    wrong = [text for one in needed if (text := _shortcoming(one)) is not None]
    if wrong:
        for one, text in zip(needed, map(_shortcoming, needed), strict=True):
            if text is not None:
                yield error("packages", text, _install(f"{one.name}{one.specifier}"))
    else:
        found = versions()
        shown = ", ".join(f"{name} {found[name]}" for name in _SHOWN)
        yield sound("packages", f"{len(needed)} of {len(needed)} as asked for; {shown}")
    yield from _extras(extras)


def _python(wanted: str | None) -> Finding:
    from packaging.specifiers import SpecifierSet

    here = platform.python_version()
    if wanted and not SpecifierSet(wanted).contains(here, prereleases=True):
        return error("python", f"Python {here} is not {wanted}", "install cpflow in a newer one")
    return sound("python", f"{here}, {sys.executable}")


def _requirements(texts: list[str]) -> tuple[list[Requirement], dict[str, list[Requirement]]]:
    """Return what cpflow always needs here, and what each extra needs beside."""
    from packaging.requirements import Requirement

    always: list[Requirement] = []
    extras: dict[str, list[Requirement]] = {name: [] for name in EXTRAS}
    for text in texts:
        one = Requirement(text)
        if one.marker is None or one.marker.evaluate({"extra": ""}):
            always.append(one)
            continue
        for name, of_extra in extras.items():
            if one.marker.evaluate({"extra": name}):
                of_extra.append(one)
    return always, extras


def _shortcoming(one: Requirement) -> str | None:
    found = installed(one.name)
    if found is None:
        return f"{one.name} is not installed"
    if not one.specifier.contains(found, prereleases=True):
        return f"{one.name} {found} is installed, cpflow asks for {one.specifier}"
    return None


def _extras(extras: dict[str, list[Requirement]]) -> Iterator[Finding]:
    there, absent = [], []
    for name, needed in extras.items():
        if any(installed(one.name) is None for one in needed):
            absent.append(name)
            continue
        there.append(name)
        for one in needed:
            text = _shortcoming(one)
            if text is not None:
                yield warning("extras", f"{name}: {text}", _install(f"cpflow[{name}]"))
    text = f"installed are {', '.join(there) or 'none'}"
    if absent:
        text += "; not " + ", ".join(f"{name} ({EXTRAS[name]})" for name in absent)
    yield sound("extras", text)


def _install(what: str) -> str:
    return f"{sys.executable} -m pip install --upgrade '{what}'"
