"""The manifest of an imported graph: what was found, in the contract's words."""

from __future__ import annotations

import numpy as np

from edge_rnn.contract.bundle import GRAPH, INITIAL
from edge_rnn.contract.signature import (
    FORMAT,
    ConstantSpec,
    GateReport,
    InitialArray,
    InputSpec,
    Manifest,
    OutputSpec,
    StateSpec,
)
from exporters.foreign.asked import LARGEST_INLINE
from exporters.foreign.layout import Roles
from exporters.foreign.reading import Reading
from exporters.foreign.wrap import with_batch

FIRST_ONNXRUNTIME = {
    **dict.fromkeys(range(1, 13), "1.4"),
    **{13: "1.6", 14: "1.8", 15: "1.10", 16: "1.11", 17: "1.12", 18: "1.14", 19: "1.15", 20: "1.17", 21: "1.18"},
}
"""The first onnxruntime that knows an opset; later opsets need at least the last one named here."""


def manifest_of(
    reading: Reading, name: str, *, opset: int, source: str, gates: GateReport | None = None
) -> tuple[Manifest, dict[str, np.ndarray]]:
    """The manifest, and the constants that are too large for it by name."""
    layout, wiring = reading.layout, reading.wiring
    arrays: dict[str, np.ndarray] = {}
    constants = []
    for constant, (value, axis) in wiring.constants.items():
        kept: float | int | list[float | int] | InitialArray = value.tolist()
        if value.ndim > 1 or value.size > LARGEST_INLINE:
            arrays[constant] = value
            kept = InitialArray(file=INITIAL, array=constant)
        constants.append(ConstantSpec(name=constant, dtype=str(value.dtype), value=kept, batch_axis=axis))
    states = []
    for pair, dtype in zip(wiring.pairs, wiring.dtypes, strict=True):
        first = pair.input in reading.cut.initial
        states.append(
            StateSpec(
                name=pair.input,
                input=pair.input,
                output=pair.output,
                dtype=dtype,
                shape=_shape(layout.states[pair.input]),
                initial=InitialArray(file=INITIAL, array=pair.input) if first else "zeros",
            )
        )
    manifest = Manifest(
        format=FORMAT,
        name=name,
        graph=GRAPH,
        precision="fp32",
        opset=opset,
        onnxruntime=FIRST_ONNXRUNTIME.get(opset, "1.18"),
        inputs=tuple(
            InputSpec(
                name=s.name, dtype=s.dtype, shape=_shape(layout.inputs[s.name]), axes=_axes(layout.inputs[s.name])
            )
            for s in wiring.streamed
        ),
        outputs=tuple(
            OutputSpec(
                name=output,
                dtype=reading.model.outputs[output].dtype,
                shape=_shape(layout.outputs[output]),
                axes=_axes(layout.outputs[output]),
                kind="probabilities" if reading.probabilities and not index else "values",
            )
            for index, output in enumerate(wiring.outputs)
        ),
        states=tuple(states),
        constants=tuple(constants),
        framing=reading.framing,
        batch_limit=1 if layout.one_stream else None,
        gates=gates,
        source={"onnx": source},
    )
    return manifest, arrays


def _shape(roles: Roles) -> Roles:
    return with_batch(roles)


def _axes(roles: Roles) -> tuple[str, ...]:
    return tuple(role if isinstance(role, str) else "feature" for role in with_batch(roles))
