"""A trained model whose arithmetic is its bundle's: the recipe's own score, but of what was exported."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.stepgraph import StepGraph, open_step_graph, prompt_manifest
from edge_rnn.models import SequenceModel

State = dict[str, Tensor]


def through_graph(model: SequenceModel, bundle: Bundle) -> SequenceModel:
    """A copy of ``model`` that runs the bundle's graphs in ONNX Runtime."""
    step, names = open_step_graph(bundle), [spec.name for spec in bundle.manifest.states]
    clone = copy.deepcopy(model)

    def to_rows(state: State) -> list[np.ndarray]:
        return [np.moveaxis(state[name].numpy(), 1, 0) for name in names]

    def to_state(rows: list[np.ndarray]) -> State:
        return {name: torch.from_numpy(np.moveaxis(row, 0, 1).copy()) for name, row in zip(names, rows, strict=True)}

    def forward(x: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        assert lengths is None
        given = model.initial_state(x.shape[1]) if state is None else state
        (y, *_), new = step([x.numpy()], to_rows(given))
        return torch.from_numpy(np.ascontiguousarray(y)), to_state(new)

    def prompt(tokens: Tensor, lengths: Tensor | None = None, state: State | None = None) -> State:
        assert state is None
        assert lengths is not None
        spec = bundle.manifest.prompt
        graph = StepGraph(prompt_manifest(bundle.manifest, spec), str(bundle.path / spec.graph))
        found = {name: torch.zeros_like(value) for name, value in model.initial_state(tokens.shape[1]).items()}
        for length in lengths.unique().tolist():
            which = torch.nonzero(lengths == length)[:, 0]
            rows = to_rows(model.initial_state(len(which)))
            new = to_state(graph([tokens[:length, which].numpy()], rows)[1])
            for name, value in new.items():
                found[name][:, which] = value
        return found

    clone.forward = forward
    if bundle.manifest.prompt is not None:
        clone.prompt = prompt
    return clone
