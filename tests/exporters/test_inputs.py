from __future__ import annotations

import pytest
from torch import nn

from edge_rnn.contract.errors import UsageError
from exporters.inputs import infer_input, parse_input, parse_inputs, parse_state, parse_states
from tests.exporters import user_modules as user


def test_parse_input_reads_name_type_and_axes() -> None:
    spec = parse_input("x:float32:batch,time,5")
    assert (spec.name, spec.dtype, spec.shape) == ("x", "float32", ("batch", "time", 5))
    assert spec.axes == ("batch", "time", "feature")
    assert parse_input("t:int64:time,batch").row_shape == ()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x", "found 1 parts between colons"),
        ("x:float32:", "expected 3"),
        ("x:float33:batch,time,5", "the type is 'float33', expected one of float32"),
        ("x:float32:time,5", "expected 'batch' once and 'time' at most once"),
        ("x:float32:batch,time,time", "expected 'batch' once and 'time' at most once"),
        ("x:float32:batch,time,five", "the axis 'five' is neither"),
        ("x:float32:batch,time,0", "the axis '0' is neither"),
        ("x:float32:batch,time,1024,1024", "a step has 1,048,576 numbers, expected at most 262,144"),
    ],
)
def test_parse_input_when_a_part_is_wrong_names_it(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        parse_input(text)


def test_infer_input_reads_width_and_order_from_the_module() -> None:
    assert infer_input(user.Tagger()).shape == ("batch", "time", 5)
    assert infer_input(nn.Sequential(nn.Linear(7, 4), nn.GRU(4, 4))).shape == ("time", "batch", 7)


def test_infer_input_when_the_module_does_not_say_asks_for_it() -> None:
    with pytest.raises(UsageError, match=r"takes whole numbers; .*--input tokens:int64:batch,time"):
        infer_input(user.LastStep())
    with pytest.raises(UsageError, match="does not say what its input is"):
        infer_input(nn.ReLU())
    with pytest.raises(
        UsageError, match=r"nothing says which axis is time; give e\.g\. --input x:float32:batch,time,5"
    ):
        infer_input(nn.Linear(3, 3))


def test_parse_state_reads_argument_and_place() -> None:
    assert parse_state("h=1") == ("h", 1)


@pytest.mark.parametrize("text", ["h", "h=", "=1", "h=-1", "h=one", "two words=1"])
def test_parse_state_when_a_part_is_wrong_says_what_to_give(text: str) -> None:
    with pytest.raises(UsageError, match="expected ARG=INDEX"):
        parse_state(text)


def test_inputs_and_states_given_twice_are_refused() -> None:
    assert [spec.name for spec in parse_inputs(["x:float32:batch,time,5", "z:float32:batch,3"])] == ["x", "z"]
    with pytest.raises(UsageError, match="--input gives 'x' twice"):
        parse_inputs(["x:float32:batch,time,5", "x:float32:batch,time,5"])
    assert parse_states(["h=1", "c=2"]) == {"h": 1, "c": 2}
    with pytest.raises(UsageError, match="--state gives the argument 'h' twice"):
        parse_states(["h=1", "h=2"])
    with pytest.raises(UsageError, match="--state gives the result 1 twice"):
        parse_states(["h=1", "c=1"])
