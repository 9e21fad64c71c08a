"""What every output must be: the bundle's graph in a plain loop, one stream, one step, one call.

It shares no code with the runtime, and no batch, no chunk and no restart ever happens here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.stepgraph import first_states, open_step_graph


def step_by_step(bundle: Bundle, sequences: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The first output after each step of each sequence, from ``float32[time, feature]`` to ``float32[time, class]``."""
    graph = open_step_graph(bundle)
    results = []
    for rows in sequences:
        states = first_states(bundle, 1)
        outputs = []
        for row in rows:
            (output, *_), states = graph([row[None, None]], states)
            outputs.append(output[0, 0])
        results.append(np.stack(outputs))
    return results
