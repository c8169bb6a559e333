"""The registry against the reference, `lsst-daf-butler` from PyPI, both on SQLite.

    python benchmarks/registry.py [--exposures 20000] [--raw-exposures 20000]
                                  [--reference-raw-exposures 200] [--reference PYTHON]

The reference is installed into an environment of its own, unless `--reference` names the
interpreter of one. Each side is one process that fills a repository with the same scene
(`registry_scene.py`) and measures itself; commands are started as whole processes, in turn.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from processes import Usage, compare
from registry_scene import Scene

HERE = Path(__file__).resolve().parent
ROWS = {
    "ingest": "ingest, per raw (an exposure with all its detectors at a time)",
    "query": "the page's bias query",
    "bulk": "calibration look-ups, all exposures at once",
    "single": "calibration look-up, one exposure",
    "flatten": "flattening the chain",
    "certify": "certifying one dataset",
}


def install(directory: Path) -> Path:
    """Make an environment for the reference, and return its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", directory], check=True)
    python = directory / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "lsst-daf-butler"], check=True)
    return python


def measure(python: Path | str, script: str, scene: Scene) -> dict[str, float]:
    done = subprocess.run(
        [str(python), str(HERE / script), json.dumps(asdict(scene))],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def time_text(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.3g} s"
    if seconds >= 1e-3:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds * 1e6:.3g} us"


def commands(python: Path, ours: Scene, theirs: Scene) -> dict[str, tuple[Usage, Usage]]:
    butler = str(python.parent / "butler")
    cpflow = [sys.executable, "-m", "cpflow"]
    pairs = {
        "`--help`": ([*cpflow, "--help"], [butler, "--help"]),
        "list collections": (
            [*cpflow, "collections", ours.root],
            [butler, "query-collections", theirs.root],
        ),
    }
    found = {}
    for name, (mine, reference) in pairs.items():
        used = compare({"cpflow": mine, "reference": reference}, rounds=5)
        found[name] = used["cpflow"], used["reference"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exposures", type=int, default=20_000)
    parser.add_argument("--raw-exposures", type=int, default=20_000)
    parser.add_argument("--reference-raw-exposures", type=int, default=200)
    parser.add_argument("--detectors", type=int, default=189)
    parser.add_argument("--reference", type=Path, help="Python that has lsst-daf-butler.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        here = Path(directory)
        python = given.reference or install(here / "reference")
        ours = Scene(str(here / "cpflow"), given.exposures, given.raw_exposures, given.detectors)
        theirs = Scene(
            str(here / "butler"), given.exposures, given.reference_raw_exposures, given.detectors
        )
        mine = measure(sys.executable, "registry_cpflow.py", ours)
        reference = measure(python, "registry_butler.py", theirs)
        print("| | cpflow | reference | reference / cpflow |")
        print("|---|---|---|---|")
        for key, text in ROWS.items():
            ratio = reference[key] / mine[key]
            print(
                f"| {text} | {time_text(mine[key])} | {time_text(reference[key])} | {ratio:.3g} |"
            )
        for name, (one, other) in commands(python, ours, theirs).items():
            print(
                f"| {name}, processor time | {time_text(one.cpu)} | {time_text(other.cpu)} "
                f"| {other.cpu / one.cpu:.3g} |"
            )
        print(
            f"\n{given.exposures} exposures; {given.raw_exposures} of cpflow's and "
            f"{given.reference_raw_exposures} of the reference's have {given.detectors} raws each; "
            f"cpflow's registry has {mine['bytes'] / 2**20:.0f} MiB."
        )


if __name__ == "__main__":
    main()
