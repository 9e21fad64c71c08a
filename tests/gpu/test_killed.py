"""A daemon on a GPU that is killed again and again: one output for each input, in order, near those of the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.plans import TOLERANCES
from tests.daemon.conftest import Place
from tests.daemon.test_kill import killed_again_and_again, outputs_by_stream
from tests.gpu.engines import daemons_module, needs_tensorrt


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_every_input_has_one_output_near_the_cpus(
    cupy: Any,
    embedded: Place,
    bundle: Bundle,
    tmp_path: Path,
    device: str,
) -> None:
    if device == "tensorrt":
        needs_tensorrt()
    more = ("--device", device, "--cache-dir", str(tmp_path / "engines"), "--background-records", "8")
    expected = killed_again_and_again(
        embedded, bundle, tmp_path, *more, "--snapshot-interval", "1s", module=daemons_module()
    )
    found = outputs_by_stream(embedded.read())
    assert {key: len(values) for key, values in found.items()} == {key: len(values) for key, values in expected.items()}
    for key, values in expected.items():
        for mine, theirs in zip(found[key], values, strict=True):
            difference = np.frombuffer(mine, "<f4") - np.frombuffer(theirs, "<f4")
            assert np.abs(difference).max() <= TOLERANCES["fp32"]
