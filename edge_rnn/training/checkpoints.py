"""Checkpoints of a training: all that it needs to go on as if it had never been interrupted.

A checkpoint is taken between two epochs and holds the weights, the optimiser, the early stopping
with its best weights, the losses so far and the random generators. It is written to another file
and renamed, so that a kill in the middle leaves the one before.
"""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edge_rnn.contract.errors import UsageError
from edge_rnn.training.early import EarlyStopping
from edge_rnn.training.history import History

CHECKPOINT = "checkpoint.pt"
EVERY_S = 0.5
"""Epochs may be shorter than it is worth to write one; after the last epoch there is always one."""

NUMPY_STATE = ("keys", "position", "has_gauss", "gauss")


class Checkpoints:
    """Saves to and resumes from ``folder``, which is made. ``identity`` tells one training from another."""

    def __init__(
        self,
        folder: Path | str,
        identity: str,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        stopping: EarlyStopping,
        history: History,
    ) -> None:
        """Raises `UsageError` when ``folder`` cannot be made."""
        self._file = Path(folder) / CHECKPOINT
        self._identity = identity
        self._model = model
        self._optimiser = optimiser
        self._stopping = stopping
        self._history = history
        self._written_s = -EVERY_S
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{folder} cannot be made: {error.strerror}; give another place") from error

    def resume(self) -> int:
        """Bring everything to where the last checkpoint was: how many epochs it had done, 0 without one of this training."""
        try:
            found: dict[str, Any] = torch.load(self._file, weights_only=True)
        except FileNotFoundError:
            return 0
        except Exception:  # torch.load raises whatever its parts do; a file that is no checkpoint is none
            return 0
        if found.get("identity") != self._identity:
            return 0
        self._model.load_state_dict(found["model"])
        self._optimiser.load_state_dict(found["optimiser"])
        self._stopping.load(found["stopping"])
        for name, value in found["history"].items():
            setattr(self._history, name, value)
        torch.set_rng_state(found["torch"])
        keys, position, has_gauss, gauss = (found["numpy"][name] for name in NUMPY_STATE)
        np.random.set_state(("MT19937", keys.numpy(), position, has_gauss, gauss))
        version, internal, following = found["python"]
        random.setstate((version, tuple(internal), following))
        return len(self._history.train)

    def save(self, *, last: bool = False) -> None:
        """Write a checkpoint, unless the one before is younger than `EVERY_S`; ``last``: in any case."""
        now = time.monotonic()
        if not last and now - self._written_s < EVERY_S:
            return
        _, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
        numpy_state = (torch.from_numpy(np.array(keys)), position, has_gauss, gauss)
        draft = self._file.with_suffix(".draft")
        with draft.open("wb") as file:
            torch.save(
                {
                    "identity": self._identity,
                    "model": self._model.state_dict(),
                    "optimiser": self._optimiser.state_dict(),
                    "stopping": self._stopping.state(),
                    "history": asdict(self._history),
                    "torch": torch.get_rng_state(),
                    "numpy": dict(zip(NUMPY_STATE, numpy_state, strict=True)),
                    "python": random.getstate(),
                },
                file,
            )
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._file)
        self._written_s = now


def identity_of(model: nn.Module, settings: str, tensors: Mapping[str, Tensor | None]) -> str:
    """Hex digest of what decides a training: fresh weights, settings, data, the seeded generator, torch's version.

    ``tensors`` are the data, as far as they are at hand.
    """
    digest = hashlib.sha256(f"{torch.__version__} {settings}".encode())
    given = {**model.state_dict(), **tensors, "generator": torch.get_rng_state()}
    for name, tensor in given.items():
        if tensor is not None:
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
