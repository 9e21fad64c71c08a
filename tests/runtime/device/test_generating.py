"""Replies on a device that works late: the tokens that the CPU says, with states that spill and come back."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from runtime.codecs.registry import make_decoder, make_encoder
from runtime.core.generating import GeneratingProcessor
from runtime.core.processor import ProcessorSettings
from runtime.daemon.generate import check_settings, generator_on
from runtime.daemon.settings import RunSettings
from runtime.engines.bound import BoundSession, BoundStep
from runtime.engines.device import DeviceEngine
from tests.runtime.device.late import late_device
from tests.runtime.test_generating import STREAMS, asked, by_key, processor, records, run_on
from tests.runtime.test_generation import bundle, translator

__all__ = ["bundle", "translator"]


def on_device(bundle, rows: int | None) -> GeneratingProcessor:
    manifest = bundle.manifest
    session = onnxruntime.InferenceSession(str(bundle.graph_path), providers=["CPUExecutionProvider"])
    step = BoundStep(manifest, BoundSession(session, "cpu"), np, bundle.constants())
    first = [bundle.initial_state(spec) for spec in manifest.states]
    engine = DeviceEngine(manifest, step, first, late_device(shared=rows is None), rows)
    codecs = (make_decoder("json", manifest), make_encoder("json", manifest))
    return GeneratingProcessor(engine, generator_on(engine, bundle), *codecs, ProcessorSettings("in"))


@pytest.mark.parametrize("rows", [7, 100, None])
@pytest.mark.parametrize("which", ["bundle", "translator"])
def test_replies_on_a_device_are_those_of_the_cpu(which, rows, request):
    made = request.getfixturevalue(which)
    said = []
    for one in (processor(made), on_device(made, rows)):
        prompts = [(i % 4, i, f"s{i}", asked(i, 0)) for i in range(STREAMS)]
        assert one.process(records(*prompts)).errors == []
        said.append(by_key(run_on(one)))
    assert said[0] == said[1]
    assert len(said[0]) == STREAMS


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "tensorrt"])
def test_device_goes_together_with_generation(device):
    check_settings(RunSettings(input="a", output="b", broker="sqlite:x", mode="generate", device=device))
