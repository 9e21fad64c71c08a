"""The first node of a graph whose result depends on how time is cut: what a refusal names."""

from __future__ import annotations

import re

import numpy as np

from edge_rnn.contract.errors import EngineError
from exporters.foreign.flow import node_name
from exporters.foreign.layout import Layout, Wiring
from exporters.foreign.model import ForeignModel, with_outputs
from exporters.foreign.trying import Trying

WHOLE, PART = 12, 6
CLOSE = 2e-3


def first_unlike(model: ForeignModel, wiring: Wiring, layout: Layout) -> str | None:
    """Run twelve steps in one call and in two, and compare every tensor on the way: the node, and what it does.

    ``None`` where all agree or the graph does not run so.
    """
    made = {out: node for node in model.proto.graph.node for out in node.output if out}
    names = [name for node in model.proto.graph.node if node.op_type != "Constant" for name in node.output if name]
    wiring = Wiring(
        wiring.streamed, wiring.pairs, tuple(dict.fromkeys(names)), wiring.constants, wiring.draw, wiring.dtypes
    )
    try:
        trying = Trying(with_outputs(model, names), wiring, layout)
        inputs, states = trying.inputs(WHOLE, 1, 1), trying.states(1, 2)
        whole, _ = trying.call(inputs, states)
        first, middle = trying.call([value[:PART] for value in inputs], states)
        second, _ = trying.call([value[PART:] for value in inputs], middle)
    except EngineError as error:
        found = re.search(r"running (\w+) node\. Name:'([^']*)' Status Message: (.*)", str(error))
        if found is None:
            return None
        kind, name, told = found.groups()
        return f"node {name!r} ({kind}) fails on {PART} or {WHOLE} steps ({told[:100].strip()})"
    for name in wiring.outputs:
        what = _unlike(whole[name], first[name], second[name])
        if what is not None:
            node = made[name]
            return f"node {node_name(node)!r} ({node.op_type}) {what}"
    return None


def _unlike(whole: np.ndarray, first: np.ndarray, second: np.ndarray) -> str | None:
    """How a tensor of the whole run differs from its two parts; ``None``: it does not, or has nothing to do with time."""
    if whole.dtype == object or not np.issubdtype(whole.dtype, np.floating) or whole.ndim != first.ndim:
        return None
    grown = [axis for axis in range(whole.ndim) if whole.shape[axis] != first.shape[axis]]
    if not grown:
        if whole.shape != second.shape or _close(whole, second):
            return None
        return "takes all steps together (a mean, a maximum or a norm over time)"
    if len(grown) > 1:
        return None
    axis = grown[0]
    parts = np.concatenate([first, second], axis=axis)
    if parts.shape == whole.shape:
        return None if _close(whole, parts) else "looks at steps before or after its own, or at all of them"
    lost = whole.shape[axis] - parts.shape[axis]
    if first.shape[axis] and whole.shape[axis] % WHOLE == 0:
        return None
    return f"looks at neighbouring steps: {abs(lost)} are {'lost' if lost > 0 else 'added'} at a cut"


def _close(value: np.ndarray, reference: np.ndarray) -> bool:
    if value.shape != reference.shape:
        return False
    largest = max(1e-3, float(np.abs(reference).max(initial=0)))
    return bool(np.abs(value - reference).max(initial=0) <= CLOSE * largest)
