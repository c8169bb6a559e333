import pytest

from cpflow.errors import ConfigurationError
from cpflow.simulate import Observation, Sequence, bias_sequence, dark_sequence
from cpflow.timespan import SECOND, from_iso


def test_bias_sequence_counts_up_from_its_first_number():
    sequence = bias_sequence(3, 20210120, 19)
    assert [o.id for o in sequence] == [2021012000019, 2021012000020, 2021012000021]
    assert sequence.lists == {"bias": (2021012000019, 2021012000020, 2021012000021)}
    assert repr(sequence) == "<Sequence 3 biases: 3 bias>"


def test_times_follow_the_sequence_number():
    first, second = (o.timespan for o in dark_sequence(2, 30.0, 20210120, 1))
    assert first.begin == from_iso("2021-01-20T12:01:24.375", "tai")
    assert first.end - first.begin == 30 * SECOND
    assert second.begin > first.end


def test_dark_time_is_a_little_longer_than_the_exposure():
    dark = Observation(day_obs=20210120, seq_num=1, type="dark", exposure_time=30.0)
    assert dark.dark_seconds == 30.25
    assert dark.model_copy(update={"dark_time": 31.0}).dark_seconds == 31.0


def test_an_exposure_may_occur_only_once():
    once = bias_sequence(2)
    with pytest.raises(ConfigurationError, match="2021012100001 occurs twice"):
        Sequence(once.observations * 2)


def test_lists_are_selected_by_name():
    both = bias_sequence(2) + dark_sequence(3)
    assert len(both.select("dark")) == 3
    with pytest.raises(ConfigurationError, match="has no list flat"):
        both.select("flat")


@pytest.mark.parametrize("day", [2021, 20211332])
def test_a_day_must_be_a_date(day):
    with pytest.raises(ValueError):
        Observation(day_obs=day, seq_num=1, type="bias")
