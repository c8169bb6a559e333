import pytest

from cpflow.errors import ConfigurationError
from cpflow.simulate import Truth, load_sequence

PAGE_SUMS = {
    "bias_initial": 101_051_276_706_475,
    "bias": 121_261_517_107_921,
    "dark": 202_102_469_411_836,
    "flat_empty": 50_525_579_804_396,
    "flat_rg610": 50_525_609_602_790,
    "crosstalk": 26_273_282_104_589,
    "ptc": 80_841_244_003_660,
    "sky": 60_630_969_012_528,
}

TWO_LISTS = """
name: two lists
truth: {dark: {rate: 0.05}, cosmic_rays: {}}
defaults: {filter: RG610~empty}
observations:
  - {list: bias, type: bias, day_obs: 20210121, first_seq_num: 5, count: 2}
  - {list: ptc, type: flat, lamp: 9000, exposures: [2021012100101, 2021012100102, 2021012100103],
     exposure_time: [0.5, 1.0], repeat: 2}
  - {list: flat, same_as: ptc, exposures: [2021012100102]}
"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return path

    return write


def test_a_file_lists_observations(written):
    sequence = load_sequence(written(TWO_LISTS))
    assert sequence.name == "two lists"
    assert sequence.truth.dark.rate == 0.05
    assert sequence.truth.cosmic_rays == Truth.complete().cosmic_rays
    assert sequence.truth.flat is None
    assert sequence.lists == {
        "bias": (2021012100005, 2021012100006),
        "ptc": (2021012100101, 2021012100102, 2021012100103),
        "flat": (2021012100102,),
    }
    assert [o.exposure_time for o in sequence] == [0, 0, 0.5, 0.5, 1.0]
    assert {o.filter for o in sequence} == {"RG610~empty"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TWO_LISTS.replace("type: bias,", "type: bias, colour: red,"), "colour"),
        (TWO_LISTS.replace("rate: 0.05", "ratio: 0.05"), "truth.dark.ratio"),
        (TWO_LISTS.replace("count: 2", "count: 0"), "observations.0.count"),
        (TWO_LISTS.replace(", count: 2", ""), "needs either `exposures`"),
        (TWO_LISTS.replace("same_as: ptc", "type: flat"), "is in two lists"),
        (TWO_LISTS.replace("same_as: ptc", "same_as: bias"), "list 'bias' has no exposure"),
        ("- 1", "dictionary"),
        ("{a: [", "not YAML"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(written, text, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_sequence(written(text))
    assert "mine.yaml" in str(caught.value)


def test_a_sequence_that_does_not_exist_names_those_that_do(tmp_path):
    with pytest.raises(ConfigurationError, match="latiss-2021"):
        load_sequence("latis")
    with pytest.raises(ConfigurationError, match=r"none\.yaml"):
        load_sequence(tmp_path / "none.yaml")


def test_sequences_of_the_user_s_path_are_found(written, monkeypatch, tmp_path):
    (tmp_path / "sequences").mkdir()
    written(TWO_LISTS).rename(tmp_path / "sequences" / "mine.yaml")
    monkeypatch.setenv("CPFLOW_PATH", str(tmp_path))
    assert load_sequence("mine").name == "two lists"


def test_the_page_s_lists_are_complete():
    sequence = load_sequence("latiss-2021")
    sizes = {name: len(ids) for name, ids in sequence.lists.items()}
    assert sizes == {
        "bias": 60, "bias_initial": 50, "dark": 100, "ptc": 40, "flat_empty": 25,
        "flat_rg610": 25, "crosstalk": 13, "sky": 30, "fringe": 8,
    }  # fmt: skip
    # Sums of the ids as they are printed on the page.
    sums = {name: sum(ids) for name, ids in sequence.lists.items() if name != "fringe"}
    assert sums == PAGE_SUMS


def test_observations_answer_the_page_s_queries():
    sequence = load_sequence("latiss-2021")
    for bias in sequence.select("bias", "bias_initial"):
        assert bias.type == "bias"
        assert bias.target == "Park position"
        assert bias.exposure_time == 0
        assert bias.dark_seconds < 0.1
        assert bias.day_obs > 20210101
    for dark in sequence.select("dark"):
        assert dark.type == "dark"
        assert dark.exposure_time > 0
        assert dark.dark_seconds > 0
    assert {o.filter for o in sequence.select("flat_empty")} == {"empty~empty"}
    assert {o.filter for o in sequence.select("flat_rg610")} == {"RG610~empty"}
    assert {o.target for o in sequence.select("crosstalk")} == {"NGC 4755"}
    assert {(o.type, o.day_obs, o.filter) for o in sequence.select("sky")} == {
        ("science", 20210323, "RG610~empty")
    }
    ptc = list(sequence.select("ptc"))
    assert {o.day_obs for o in ptc} == {20210311}
    times = [o.exposure_time for o in ptc]
    assert times[::2] == times[1::2] == sorted(set(times))
    assert not any(o.lit for o in sequence.select("bias", "dark"))
