"""Every notebook runs from top to bottom without a screen, and is committed without outputs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed: pip install '.[dev]'")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: pip install '.[dev]'")

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_output_is_committed(path):
    for cell in nbformat.read(path, as_version=4).cells:
        assert cell.cell_type != "code" or (not cell.outputs and cell.execution_count is None)


# What it does is replayed by tests/integration/test_page.py, which takes as long: not in CI too.
_BY_HAND = "constructing_calibrations"


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [path for path in NOTEBOOKS if path.stem != _BY_HAND or os.environ.get("CPFLOW_TEST_PAGE")],
    ids=lambda path: path.stem,
)
def test_runs(path, tmp_path, monkeypatch):
    # No screen, no home directory of a user, and nothing of an earlier run.
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("CPFLOW_REPO", raising=False)
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook,
        # A message that zmq does not tell of, seen now and then, is found after so long.
        timeout=60 if path.stem != _BY_HAND else 300,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute(env=dict(os.environ))
    errors = [
        output.get("text", "")
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.get("name") == "stderr" and "Traceback" in output.get("text", "")
    ]
    assert errors == []
