"""The export: a module in, a verified bundle out, or nothing.

1. copy      the module, in inference mode, in fp32, on the CPU
2. lift      its forward becomes a step graph; onnx checks it
3. record    the module itself runs 256 steps of 8 streams
4. gates     the graph must give the same: alone, in a batch, however time is split
5. golden    two of the streams are kept, and must pass as they will on the device
6. write     the bundle, whole or not at all
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from edge_rnn.contract.bundle import GOLDEN, GRAPH, INITIAL, Bundle, write_bundle
from edge_rnn.contract.errors import ExportRefused, GateFailed
from edge_rnn.contract.framing import Framing
from edge_rnn.contract.front_end import FrontEnd
from edge_rnn.contract.gates import SEED, TOLERANCE, check_parity
from edge_rnn.contract.golden import GOLDEN_STEPS, Golden, encode_arrays, encode_golden
from edge_rnn.contract.signature import FORMAT, GateReport, InputSpec, Manifest
from edge_rnn.contract.stepgraph import Step, StepGraph
from edge_rnn.contract.trial import Record, Subject, run_chunks
from edge_rnn.models import EncoderDecoder, SequenceModel
from exporters.frontends.around import behind, check_framing
from exporters.graph import LEAST_ONNXRUNTIME, OPSET
from exporters.inputs import infer_input, sample_input
from exporters.lift import Lifted, lift
from exporters.naming import LARGEST_TOLERANCE, check_name, check_tolerance
from exporters.prompt import PROMPT_GRAPH, lift_prompt
from exporters.proof import BATCH, MARKS, Progress, prove_graph
from exporters.reference import RunRecord, measure_rounding, record_module
from exporters.source import Source


def export_bundle(
    source: Source,
    path: Path | str,
    *,
    name: str | None = None,
    inputs: Sequence[InputSpec] = (),
    states: Mapping[str, int] | None = None,
    framing: Framing | None = None,
    front_end: FrontEnd | None = None,
    tolerance: float = TOLERANCE,
    progress: Progress | None = None,
) -> Bundle:
    """Export a module to the bundle ``path``; see the protocol above.

    ``inputs`` describe the arguments of forward where the module does not say them itself.
    ``states`` name the arguments that are states, and the number of the result that is the new one.
    ``framing``: samples come, and this makes the windows that the one input takes; ``front_end`` is then put before a
    module that takes what is heard of them. ``tolerance`` is the error allowed per unit of the largest absolute value.
    ``progress`` is told each gate and its figure as it passes. Raises `UsageError` for settings that do not go
    together, `ExportRefused` when the module cannot become a step graph and `GateFailed` when the graph is not the
    module; either way nothing is written.
    """
    name = check_name(name or source.name)
    check_tolerance(tolerance)
    module = _copy_for_inference(source.module)
    specs = tuple(inputs) or (infer_input(module),)
    if front_end is not None:
        module, specs = behind(front_end, module, specs)
    check_framing(framing, specs)
    lifted = lift(module, specs, name, states)
    golden, report = prove(module, lifted, name, tolerance=tolerance, progress=progress)
    manifest = msgspec.structs.replace(_manifest(lifted, name, origin=source.origin, gates=report), framing=framing)
    files = {GRAPH: lifted.graph, GOLDEN: encode_golden(manifest, golden)}
    first = {state.spec.name: state.initial for state in lifted.states if state.spec.initial != "zeros"}
    if first:
        files[INITIAL] = encode_arrays(first)
    if isinstance(module, SequenceModel):
        manifest = msgspec.structs.replace(manifest, generation=module.generation)
    if isinstance(module, EncoderDecoder):
        prompt, files[PROMPT_GRAPH] = lift_prompt(module, manifest, tolerance=tolerance)
        manifest = msgspec.structs.replace(manifest, prompt=prompt)
    return write_bundle(path, manifest, files)


def prove(
    module: nn.Module,
    lifted: Lifted,
    name: str,
    *,
    step: Step | None = None,
    tolerance: float = TOLERANCE,
    progress: Progress | None = None,
) -> tuple[Golden, GateReport]:
    """Run every gate on a lifted graph (or on another ``step`` function for it) against its module.

    Returns the golden vectors and the figures. Raises `GateFailed`.
    """
    manifest = _manifest(lifted, name)
    step = StepGraph(manifest, lifted.graph) if step is None else step
    rng = np.random.default_rng(SEED)
    inputs = [sample_input(spec, module, GOLDEN_STEPS, BATCH, rng) for spec in lifted.inputs]
    for value, argument in zip(inputs, lifted.forward.arguments, strict=True):
        if lifted.forward.is_static(argument):
            value[:] = value[:1]
    subject = Subject.of(manifest, step, [state.initial for state in lifted.states])
    expected = _with_states(subject, record_module(module, lifted, inputs, MARKS), inputs)

    def explain(told: str, parity: bool) -> str:
        if parity:
            return told
        remark = _explain(subject, inputs, expected, measure_rounding(module, lifted, inputs, expected))
        return f"{told.partition('; ')[0]}; {remark}" if remark else told

    return prove_graph(subject, inputs, expected, tolerance=tolerance, progress=progress, explain=explain)


def _with_states(subject: Subject, record: RunRecord, inputs: Sequence[np.ndarray]) -> Record:
    """The record, with those states taken from the graph itself that the module does not show.

    What such a state does to the outputs is compared with the module; the state has no other witness.
    """
    if all(value is not None for values in record.states.values() for value in values):
        return Record(record.outputs, {m: [v for v in values if v is not None] for m, values in record.states.items()})
    own = run_chunks(subject, inputs, [1] * inputs[0].shape[0])
    states = {
        mark: [own.states[mark][i] if value is None else value for i, value in enumerate(values)]
        for mark, values in record.states.items()
    }
    return Record(record.outputs, states)


def _explain(subject: Subject, inputs: Sequence[np.ndarray], expected: Record, rounding: float | None) -> str:
    """What to do when parity fails because the module makes its own rounding errors grow."""
    if rounding is None or rounding < TOLERANCE / 4:
        return ""
    if not math.isfinite(rounding):
        return "the module itself gives values that are not finite here: clamp what it divides by or takes the log of"
    needed = 10.0 ** math.ceil(math.log10(4 * rounding))
    told = f"the module's own rounding grows to {rounding:.1g} of its largest value here (fp32 against fp64)"
    if needed > LARGEST_TOLERANCE:
        return f"{told}: it is chaotic, train it with smaller recurrent weights"
    try:
        check_parity(subject, inputs, expected, [1] * inputs[0].shape[0], tolerance=needed)
    except GateFailed:
        return ""
    return f"{told}: --tolerance {needed:.0e} allows for that"


def _copy_for_inference(module: nn.Module) -> nn.Module:
    try:
        copied = copy.deepcopy(module)
    except Exception as error:  # modules may refuse in their own ways: torch's older weight norm does
        if any(
            parameter.grad_fn is not None
            for child in module.modules()
            for parameter in vars(child).values()
            if isinstance(parameter, torch.Tensor)
        ):
            with torch.no_grad():
                return _checked(_copy_without_gradients(module))
        raise ExportRefused(
            f"the module {type(module).__name__} cannot be copied: {' '.join(str(error).split())[:200]};"
            " remove its parametrisations (e.g. weight norm) first"
        ) from error
    return _checked(copied)


def _checked(copied: nn.Module) -> nn.Module:
    """In inference mode. Raises `ExportRefused` for weights that are not numbers, and for code that torch.jit compiled."""
    for path, child in copied.named_modules():
        if isinstance(child, torch.jit.ScriptModule):
            raise ExportRefused(
                f"{f'the submodule {path!r}' if path else 'the module'} is compiled by torch.jit, which shows no"
                " operations; export the module that it was compiled from"
            )
    for path, weight in (*copied.named_parameters(), *copied.named_buffers()):
        if is_lazy(weight) or weight.is_meta:
            raise ExportRefused(
                f"the weight {path!r} of the module {type(copied).__name__} has no values yet; run the module once on a"
                " sample, or load its weights, where it is made"
            )
        if bool(weight.isnan().any()):
            raise ExportRefused(
                f"the weight {path!r} of the module {type(copied).__name__} holds NaN: its training went astray; export an"
                " earlier checkpoint, or train again with smaller steps or clipped gradients"
            )
    return copied.to("cpu", torch.float32).eval()


def _copy_without_gradients(module: nn.Module) -> nn.Module:
    """A copy where computed tensors lie on the module, e.g. the product of torch's older weight norm."""
    memo: dict[int, object] = {}
    for child in module.modules():
        for value in vars(child).values():
            if isinstance(value, torch.Tensor) and value.grad_fn is not None:
                memo[id(value)] = value.detach().clone()
    return copy.deepcopy(module, memo)


def _manifest(
    lifted: Lifted, name: str, *, origin: dict[str, str] | None = None, gates: GateReport | None = None
) -> Manifest:
    return Manifest(
        format=FORMAT,
        name=name,
        graph=GRAPH,
        precision="fp32",
        opset=OPSET,
        onnxruntime=LEAST_ONNXRUNTIME,
        inputs=lifted.inputs,
        outputs=tuple(output.spec for output in lifted.outputs),
        states=tuple(state.spec for state in lifted.states),
        gates=gates,
        source={**(origin or {}), "torch": str(torch.__version__)},
    )
