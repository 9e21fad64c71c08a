"""Progress of a training: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress


class Progress(Protocol):
    """A context within which epochs are told."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def epoch(self, number: int, total: int, train_loss: float, validation_loss: float) -> None:
        """Epoch ``number`` of at most ``total`` is done, with the mean losses on both parts."""

    def note(self, text: str) -> None:
        """Something worth a line."""


class Silent:
    """Says nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def epoch(self, number: int, total: int, train_loss: float, validation_loss: float) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


class Lines(Silent):
    """Writes every ``every``-th epoch as a line."""

    def __init__(self, stream: TextIO, every: int = 10) -> None:
        self._stream = stream
        self._every = every

    def epoch(self, number: int, total: int, train_loss: float, validation_loss: float) -> None:
        """A line for the first, every ``every``-th and the last epoch."""
        if number == 1 or number % self._every == 0 or number == total:
            line = f"epoch {number}/{total}  train {train_loss:.4f}  validation {validation_loss:.4f}"
            print(line, file=self._stream, flush=True)

    def note(self, text: str) -> None:
        """The line."""
        print(text, file=self._stream, flush=True)


class Bar:
    """A rich bar that is gone when the training is over."""

    def __init__(self, stream: TextIO) -> None:
        columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[losses]}"))
        self._bar = RichProgress(*columns, TimeElapsedColumn(), console=Console(file=stream), transient=True)
        self._task = self._bar.add_task("training", total=None, losses="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def epoch(self, number: int, total: int, train_loss: float, validation_loss: float) -> None:
        """Move the bar."""
        losses = f"train {train_loss:.4f}  validation {validation_loss:.4f}"
        self._bar.update(self._task, completed=number, total=total, losses=losses)

    def note(self, text: str) -> None:
        """A line above the bar, which stays."""
        self._bar.console.print(text)


def progress_for(stream: TextIO) -> Progress:
    """A bar when ``stream`` is a terminal, else plain lines."""
    return Bar(stream) if stream.isatty() else Lines(stream)
