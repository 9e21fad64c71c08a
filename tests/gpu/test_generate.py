"""Replies made on a GPU: with the likeliest token at each step, they are those of the CPU."""

from __future__ import annotations

from typing import Any

from runtime.codecs.registry import make_decoder, make_encoder
from runtime.core.generating import GeneratingProcessor
from runtime.core.processor import ProcessorSettings
from runtime.daemon.generate import generator_on
from tests.gpu.engines import cuda
from tests.runtime.test_generating import STREAMS, by_key, processor, records, run_on
from tests.runtime.test_generation import bundle

__all__ = ["bundle"]


def test_replies_are_those_of_the_cpu(cupy: Any, bundle: Any) -> None:
    engine = cuda(bundle)
    codecs = (make_decoder("json", bundle.manifest), make_encoder("json", bundle.manifest))
    on_gpu = GeneratingProcessor(engine, generator_on(engine, bundle), *codecs, ProcessorSettings("in"))
    said = []
    for one in (processor(bundle), on_gpu):
        prompts = [
            (i % 4, i, f"s{i}", {"prompt": "abc"[: i % 4], "tokens": 20, "temperature": 0}) for i in range(STREAMS)
        ]
        assert one.process(records(*prompts)).errors == []
        said.append(by_key(run_on(one)))
    assert said[0] == said[1]
