"""TensorBoard's event files: the losses and the gradient's norm of every epoch, as they come.

Look at them, also while the training runs, with ``tensorboard --logdir``. A training that goes on
from a checkpoint writes its files anew: what a kill left may lack epochs or have some too many.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

from tensorboardX import SummaryWriter

from edge_rnn.training.history import History

EVENTS = "events"
"""Name of the folder that holds the event files."""


class Events:
    """Writes to ``folder/events`` while it is a context; first of all the epochs that ``history`` has."""

    def __init__(self, folder: Path | str, history: History) -> None:
        self._folder = Path(folder) / EVENTS
        self._history = history

    def __enter__(self) -> Self:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._writer = SummaryWriter(str(self._folder))
        for epoch in range(1, len(self._history.train) + 1):
            self._write(epoch)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def epoch(self) -> None:
        """Write the epoch that the history ends with."""
        self._write(len(self._history.train))
        self._writer.flush()

    def _write(self, epoch: int) -> None:
        history = self._history
        for name, values in (
            ("loss/train", history.train),
            ("loss/validation", history.validation),
            ("gradient/norm", history.gradient),
        ):
            self._writer.add_scalar(name, values[epoch - 1], epoch)
