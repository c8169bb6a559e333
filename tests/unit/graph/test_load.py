"""Graph files: found in order, loaded without a trace, refused with a reason."""

from __future__ import annotations

import sys

import pytest

from cpflow.errors import UsageError
from cpflow.graph import find_graph, graph_files, load_graph
from cpflow.graph.select import Select

SOURCE = '''"""A bias of my own."""
from cpflow import Combine, GraphConfig, Isr, Select, combine, isr

INPUTS = {"raw": Select(observation_type=("bias", "zero"))}
NEEDS = ("defects?",)
PRODUCT = "bias"


class Config(GraphConfig):
    isr: Isr = Isr()
    combine: Combine = Combine()


def build(raw, calibrations, config):
    return combine(isr(raw, calibrations, config.isr), config.combine)
'''


@pytest.fixture(autouse=True)
def _no_user_graphs(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("CPFLOW_PATH", raising=False)


def test_the_shipped_bias_is_found():
    graph = load_graph("bias")
    assert graph.product == "bias"
    assert graph.inputs["raw"].where == "(exposure.observation_type = 'bias')"
    needs = [(need.product, need.optional) for need in graph.needs]
    assert needs == [("defects", True), ("ptc", True)]
    assert graph.title.startswith("Master bias")


def test_loading_leaves_no_module_behind(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    before = set(sys.modules)
    graph = load_graph(str(path))
    assert not [name for name in set(sys.modules) - before if "mine" in name]
    assert graph.config_class().isr.defect is True
    assert graph.name == "mine"


def test_the_first_place_of_the_search_wins(tmp_path, monkeypatch):
    repo, first = tmp_path / "repo", tmp_path / "first"
    for root, title in ((repo, "repository's"), (first, "first")):
        (root / "graphs").mkdir(parents=True)
        (root / "graphs" / "bias.py").write_text(SOURCE.replace("of my own", title))
    assert load_graph("bias", repo).title == "A bias repository's."
    monkeypatch.setenv("CPFLOW_PATH", str(first))
    assert load_graph("bias", repo).title == "A bias first."
    origins = [file.origin for file in graph_files(repo) if file.name == "bias"]
    assert origins == ["$CPFLOW_PATH", "repository", "shipped"]


@pytest.mark.parametrize(
    "name", ["$CP_PIPE_DIR/pipelines/Latiss/cpBias.yaml", "/pipelines/LATISS/cpBias.yaml"]
)
def test_the_pages_pipeline_files_mean_graphs(name):
    assert find_graph(name).name == "bias"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("def build", "def make"), "has no attribute 'build'"),
        (("INPUTS", "INPUT"), "has no attribute 'INPUTS'"),
        (("(GraphConfig)", ""), "subclass of cpflow.GraphConfig"),
        (("observation_type", "observationtype"), "no field 'observationtype'"),
        (('PRODUCT = "bias"', 'PRODUCT = "bais"'), "no product 'bais'"),
        (("import Combine", "import Combin"), "cannot be loaded"),
    ],
)
def test_a_file_that_is_not_a_graph_is_refused(tmp_path, change, message):
    path = tmp_path / "mine.py"
    path.write_text(SOURCE.replace(*change))
    with pytest.raises(UsageError, match=message):
        load_graph(str(path))


def test_an_unknown_graph_lists_those_that_there_are():
    with pytest.raises(UsageError, match=r"(?s)no graph 'bais'.*bias"):
        find_graph("bais")


def test_select_quotes_its_values():
    select = Select(target_name="O'Neill", exposure_time=0.0)
    assert select.where == "(exposure.target_name = 'O''Neill') AND (exposure.exposure_time = 0.0)"
