from __future__ import annotations

import pytest
import yaml

from cpflow.io.yaml_text import dump_yaml, load_yaml


def test_a_key_given_twice_is_refused_with_its_line():
    with pytest.raises(yaml.YAMLError, match=r"'a' is given twice") as caught:
        load_yaml("a: 1\nb: 2\na: 3\n")
    assert "line 3" in str(caught.value)


def test_merged_keys_may_be_overridden():
    text = "base: &base {a: 1, b: 2}\nown: {<<: *base, b: 3}\n"
    assert load_yaml(text)["own"] == {"a": 1, "b": 3}


def test_only_plain_data_is_read():
    with pytest.raises(yaml.YAMLError):
        load_yaml("!!python/object/apply:os.system ['true']")


def test_what_is_written_is_read_back_in_order():
    box = {"x0": 0, "width": 3}
    value = {
        "z": [1, 2],
        "a": {"first": box, "again": box, "text": "y", "number": "007"},
        "n": None,
    }
    text = dump_yaml(value)
    assert load_yaml(text) == value
    assert list(load_yaml(text)) == ["z", "a", "n"]
    assert "{x0: 0, width: 3}" in text
    assert "&" not in text
