"""silero-vad as its users run it: one stream, a window at a time. Shares no code with the runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

HOP, CONTEXT, RATE = 512, 64, 16000


def open_vad(path: Path) -> onnxruntime.InferenceSession:
    """The file on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def samples_of(pcm: bytes) -> np.ndarray:
    """float32[n] in [-1, 1) of signed 16 bits."""
    return np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)


def probabilities(path: Path, samples: np.ndarray) -> np.ndarray:
    """float32[windows] of samples ``float32[n]``; an unfinished last window gives nothing."""
    session = open_vad(path)
    state, context, found = np.zeros((2, 1, 128), np.float32), np.zeros(CONTEXT, np.float32), []
    for at in range(0, samples.size - HOP + 1, HOP):
        window = np.concatenate([context, samples[at : at + HOP]])
        context = window[-CONTEXT:]
        p, state = session.run(None, {"input": window[None], "state": state, "sr": np.array(RATE)})
        found.append(p[0, 0])
    return np.array(found, np.float32)


def plain_segments(
    scores: np.ndarray, *, on: float, off: float, min_speech: int, min_silence: int, pad: int
) -> list[tuple[int, int | None]]:
    """Segments in steps, found by reading the whole score at once: begin and end, ``None`` where it goes on."""
    found: list[tuple[int, int | None]] = []
    at, last = 0, 0
    while at < scores.size:
        if scores[at] < on:
            at += 1
            continue
        begin, end, cursor, silent = at, None, at, None
        while cursor < scores.size:
            if scores[cursor] >= on:
                silent = None
            elif scores[cursor] < off and silent is None:
                silent = cursor
            cursor += 1
            if silent is not None and cursor - silent >= min_silence:
                end = silent
                break
        told = _was_sure(scores, begin, cursor if end is None else end, on, off, min_speech)
        if told:
            start = max(last, begin - pad, 0)
            found.append((start, None if end is None else end + pad))
            last = last if end is None else end + pad
        at = cursor
    return found


def _was_sure(scores: np.ndarray, begin: int, end: int, on: float, off: float, min_speech: int) -> bool:
    """Whether at some step the segment was long enough and not in a silence."""
    quiet = False
    for step in range(begin, end):
        quiet = False if scores[step] >= on else quiet or scores[step] < off
        if not quiet and step + 1 - begin >= min_speech:
            return True
    return False
