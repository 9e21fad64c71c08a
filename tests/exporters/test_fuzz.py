"""Random causal modules: at least 95 of 100 exported, none of them wrongly.

``EDGE_RNN_FUZZ=500`` draws as many, anew each time; without it 50, the same each time.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from edge_rnn.contract.errors import EdgeRnnError
from exporters.export import export_bundle
from exporters.forward import forward_of
from exporters.inputs import parse_input
from exporters.source import Source
from tests.exporters.fuzz.strategy import Drawn, modules
from tests.exporters.zoo.trial import largest_error

TOLERANCE = 1e-5
EXAMPLES = int(os.environ.get("EDGE_RNN_FUZZ", "50"))


@pytest.mark.timeout(30 * EXAMPLES)
def test_fuzz_causal_modules_are_exported_and_never_wrong() -> None:
    counts: Counter[str] = Counter()
    refusals: list[str] = []

    @settings(
        max_examples=EXAMPLES,
        derandomize="EDGE_RNN_FUZZ" not in os.environ,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(modules())
    def exported(drawn: Drawn) -> None:
        counts["drawn"] += 1
        specs = [parse_input(text) for text in drawn.inputs]
        with tempfile.TemporaryDirectory() as folder:
            try:
                source = Source(drawn.module, "drawn", {})
                bundle = export_bundle(source, Path(folder) / "b", inputs=specs, tolerance=TOLERANCE)
            except EdgeRnnError as error:
                refusals.append(f"{error}\n{drawn.module}")
                return
            counts["exported"] += 1
            forward = forward_of(drawn.module, specs, {})
            for batch, seed in ((1, 1), (5, 2)):
                assert largest_error(forward, bundle, drawn.steps, seed=seed, batch=batch) <= TOLERANCE, drawn.module

    exported()
    print(f"{counts['drawn']} modules drawn, {counts['exported']} exported, 0 wrong")
    assert counts["drawn"] >= EXAMPLES
    assert counts["exported"] >= 0.95 * counts["drawn"], "\n\n".join(refusals)
