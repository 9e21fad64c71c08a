from __future__ import annotations

import pytest
from torch import nn

from edge_rnn.contract.errors import ExportRefused, UsageError
from exporters.inputs import infer_input, parse_input
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
        ("x:float32:batch,5", "expected 'time' and 'batch' once each"),
        ("x:float32:batch,time,time", "expected 'time' and 'batch' once each"),
        ("x:float32:batch,time,five", "the axis 'five' is neither"),
        ("x:float32:batch,time,0", "the axis '0' is neither"),
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
    with pytest.raises(ExportRefused, match="no recurrent submodule"):
        infer_input(nn.Linear(3, 3))
