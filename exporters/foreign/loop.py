"""The file itself, run as its users run it: one stream a time, its states fed back by hand. What a bundle must equal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_rnn.contract.framing import Framing
from edge_rnn.contract.trial import Record
from exporters.foreign.layout import Roles, Wiring
from exporters.foreign.trying import Trying

SPEECH_HZ = (110.0, 170.0, 235.0)


def run_plain(trying: Trying, wiring: Wiring, inputs: Sequence[np.ndarray], marks: Sequence[int]) -> Record:
    """One stream after the other, one step a call, from zeros; states ``[batch, *row]`` after ``marks``."""
    steps, batch = inputs[0].shape[:2]
    outputs: dict[str, list[np.ndarray]] = {name: [] for name in wiring.outputs}
    after: dict[int, list[list[np.ndarray]]] = {mark: [] for mark in marks}
    for stream in range(batch):
        state = [np.zeros_like(value) for value in trying.states(1, 0)]
        rows: dict[str, list[np.ndarray]] = {name: [] for name in wiring.outputs}
        for step in range(steps):
            found, state = trying.call([value[step : step + 1, stream : stream + 1] for value in inputs], state)
            for name, value in found.items():
                rows[name].append(to_rows(value, trying.layout.outputs[name]))
            if step + 1 in after:
                after[step + 1].append(state)
        for name, parts in rows.items():
            outputs[name].append(np.concatenate(parts))
    joined = {mark: [np.concatenate(parts) for parts in zip(*kept, strict=True)] for mark, kept in after.items()}
    return Record([np.concatenate(outputs[name], axis=1) for name in wiring.outputs], joined)


def run_whole(trying: Trying, wiring: Wiring, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """One stream after the other, the whole sequence in one call; an output of the last step only, by prefixes."""
    steps, batch = inputs[0].shape[:2]
    last_only = [name for name in wiring.outputs if "time" not in trying.layout.outputs[name]]
    outputs: dict[str, list[np.ndarray]] = {name: [] for name in wiring.outputs}
    for stream in range(batch):
        state = [np.zeros_like(value) for value in trying.states(1, 0)]
        one = [value[:, stream : stream + 1] for value in inputs]
        found, _ = trying.call(one, state)
        prefixes = (
            [trying.call([value[:end] for value in one], state)[0] for end in range(1, steps + 1)] if last_only else []
        )
        for name, value in found.items():
            roles = trying.layout.outputs[name]
            parts = [prefix[name] for prefix in prefixes] if name in last_only else [value]
            outputs[name].append(np.concatenate([to_rows(part, roles) for part in parts]))
    return [np.concatenate(outputs[name], axis=1) for name in wiring.outputs]


def sample_inputs(trying: Trying, steps: int, batch: int, framing: Framing | None) -> list[np.ndarray]:
    """A run of ``batch`` streams: made sound cut into windows where there is a framing, else random values."""
    if framing is None:
        return trying.inputs(steps, batch, 29)
    shape = [role for role in next(iter(trying.layout.inputs.values())) if isinstance(role, int)]
    rate = framing.rate or 16000
    windows = np.stack([_sound(stream, steps, framing, rate) for stream in range(batch)], axis=1)
    return [windows.reshape(steps, batch, *shape).astype(np.float32)]


def _sound(stream: int, steps: int, framing: Framing, rate: int) -> np.ndarray:
    """Windows ``[steps, width]`` of syllables: harmonics of a gliding pitch, with pauses, in noise."""
    rng = np.random.default_rng(100 + stream)
    n = steps * framing.hop
    t = np.arange(n) / rate
    pitch = SPEECH_HZ[stream % 3] * (1 + 0.15 * np.sin(2 * np.pi * 0.7 * t + stream))
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    voice = sum(np.sin(k * phase) / k for k in range(1, 20))
    syllables = np.clip(np.sin(2 * np.pi * 3.1 * t), 0, 1) * (np.sin(2 * np.pi * 0.35 * t + stream) > -0.2)
    sound = 0.12 * voice * syllables + 0.004 * rng.standard_normal(n)
    padded = np.concatenate([np.zeros(framing.context), sound])
    return np.lib.stride_tricks.sliding_window_view(padded, framing.width)[:: framing.hop][:steps]


def to_rows(value: np.ndarray, roles: Roles) -> np.ndarray:
    """An output in the graph's own axes to ``[time, batch, *row]``."""
    if "batch" not in roles:
        value, roles = value[None], ("batch", *roles)
    if "time" not in roles:
        return np.moveaxis(value, roles.index("batch"), 0)[None]
    return np.moveaxis(value, (roles.index("time"), roles.index("batch")), (0, 1))
