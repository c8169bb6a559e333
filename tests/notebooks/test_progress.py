"""Progress in a real kernel: a widget where there is ipywidgets, plain log lines where not."""

from __future__ import annotations

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed: pip install '.[dev]'")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: pip install '.[dev]'")
pytest.importorskip("ipywidgets", reason="ipywidgets is not installed: pip install '.[dev]'")

CODE = """
from cpflow.report.progress import in_notebook, progress_listener
from cpflow.scheduler.events import Event

assert in_notebook()
with progress_listener() as listen:
    listen(Event("run_started", total=2, run="u/me/x"))
    listen(Event("started", "bias of X detector 1", 0, 5, detector=1))
    listen(Event("progress", "bias of X detector 1", 2, 5, detector=1))
    listen(Event("started", "bias of X detector 2", 0, 7, detector=2))
    {end}
"""
NO_WIDGETS = """
import importlib.util, logging
logging.basicConfig(level=logging.INFO)
import cpflow.report.progress as progress
progress.find_spec = lambda name: None
"""


def executed(*cells, directory):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in cells])
    client = nbclient.NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": directory}}
    )
    client.execute()
    states = client.widget_state
    return [output for cell in notebook.cells for output in cell.outputs], states


def test_a_widget_shows_the_products_in_flight(tmp_path):
    outputs, states = executed(CODE.format(end=""), directory=str(tmp_path))
    (shown,) = outputs
    view = shown["data"]["application/vnd.jupyter.widget-view+json"]
    top = states[view["model_id"]]
    assert top["_model_name"] == "VBoxModel"
    bars = {
        one["description"]: (one["value"], one["max"])
        for one in states.values()
        if one.get("_model_name") == "IntProgressModel"
    }
    assert bars == {"bias of X detector 1": (2, 5), "bias of X detector 2": (0, 7)}


def test_the_widget_ends_with_the_summary(tmp_path):
    end = 'listen(Event("run_ended", text="interrupted", hint="stopped"))'
    _, states = executed(CODE.format(end=end), directory=str(tmp_path))
    (head,) = [one for one in states.values() if one.get("_model_name") == "HTMLModel"]
    assert "run u/me/x: interrupted; 0 of 2 products done" in head["value"]
    boxes = [one for one in states.values() if one.get("_model_name") == "VBoxModel"]
    assert [] in [one["children"] for one in boxes], "no bar is left"


def test_without_widgets_lines_are_logged(tmp_path):
    outputs, _ = executed(NO_WIDGETS, CODE.format(end=""), directory=str(tmp_path))
    text = "".join(one.get("text", "") for one in outputs)
    assert "bias of X detector 1: 5 tasks" in text
    assert not any("widget-view" in str(one.get("data", "")) for one in outputs)
