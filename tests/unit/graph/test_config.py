"""Configuration in layers: spellings, origins, refusals."""

from __future__ import annotations

import pytest

from cpflow import Combine, GraphConfig, Isr
from cpflow.errors import ConfigurationError
from cpflow.graph.config import Layer, load_layer, parse_assignments, resolve, snake_key


class Config(GraphConfig):
    isr: Isr = Isr(interpolate=False)
    combine: Combine = Combine(clip=4.0)


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ("isr:doEmpiricalReadNoise", "isr.empirical_read_noise"),
        ("isr:doDefect", "isr.defect"),
        ("isr.defect", "isr.defect"),
        ("isr.overscan.fitType", "isr.overscan.fit_type"),
        ("isr:overscan.fit_type", "isr.overscan.fit_type"),
        ("combine.document", "combine.document"),
    ],
)
def test_the_pages_spelling_is_the_same_key(given, key):
    assert snake_key(given) == key


def test_later_layers_win_and_origins_are_kept(tmp_path):
    path = tmp_path / "site.yaml"
    path.write_text("isr:\n  overscan: {fit_type: MEDIAN, leading: 2}\n")
    resolved = resolve(
        Config,
        [
            Layer("instrument LATISS", {"isr.overscan.fit_type": "MEAN", "combine.clip": 5}),
            load_layer(path),
            parse_assignments(["isr:doDefect=False", "combine.clip=2.5"]),
        ],
    )
    assert resolved.config.isr.overscan.fit_type == "MEDIAN"
    assert resolved.config.isr.overscan.leading == 2
    assert resolved.config.isr.defect is False
    assert resolved.config.isr.interpolate is False, "the graph's own default stays"
    assert resolved.config.combine.clip == 2.5
    assert resolved.origins == {
        "isr.overscan.fit_type": str(path),
        "isr.overscan.leading": str(path),
        "isr.defect": "command line",
        "combine.clip": "command line",
    }


def test_lists_are_written_with_or_without_brackets():
    for text in ("combine.mask=[SAT,CR]", "combine.mask=SAT,CR"):
        assert resolve(Config, [parse_assignments([text])]).config.combine.mask == ("SAT", "CR")


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("isr.defct=true", "did you mean isr.defect"),
        ("combin.clip=3", "did you mean combine.clip"),
        ("isr.overscan=3", "is a group"),
        ("combine.clip=three", "combine.clip='three'"),
        ("combine.clip=-1", "greater than 0"),
        ("combine.mask=SATURATED", "SATURATED"),
        ("isr.defect", "cannot read configuration"),
        ("isr.defect=[", "cannot read the value"),
        ("isr.overscan.fit_type=MEDIAN_PER_COLUMN", "MEDIAN_PER_COLUMN"),
    ],
)
def test_what_is_wrong_is_named_before_anything_runs(assignment, message):
    with pytest.raises(ConfigurationError, match="(?s).*" + message.replace("[", r"\[")):
        resolve(Config, [parse_assignments([assignment])])


def test_a_file_that_is_not_a_mapping_is_refused(tmp_path):
    path = tmp_path / "list.yaml"
    path.write_text("- isr\n")
    with pytest.raises(ConfigurationError, match="not a mapping"):
        load_layer(path)
    with pytest.raises(ConfigurationError, match="cannot read"):
        load_layer(tmp_path / "missing.yaml")


def test_values_are_frozen():
    from pydantic import ValidationError

    with pytest.raises(ValidationError):
        Config().isr.defect = False
