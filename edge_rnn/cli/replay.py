"""``edge-rnn replay``: a file of rows through a bundle, without a broker."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from edge_rnn.contract.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator


def command(
    bundle: Annotated[Path, typer.Argument(help="The bundle's directory.")],
    source: Annotated[
        Path,
        typer.Argument(metavar="INPUT", help="Rows: .csv, .jsonl or .parquet with a key column; sound: .wav or .pcm."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="JSON lines to write; - is standard output.")],
    emit: Annotated[str, typer.Option(help="every, or segments:on=0.5,...; see run --help")] = "every",
    resample: Annotated[
        bool, typer.Option("--resample", help="Bring a WAV of another rate to the model's, as a whole.")
    ] = False,
    input_rate: Annotated[
        int | None,
        typer.Option(help="Take the file as a live stream of so many samples a second, filtered as run does."),
    ] = None,
    batch_records: Annotated[int, typer.Option(min=1, help="Rows taken at a time.")] = 4096,
) -> None:
    """Run a file of rows through a bundle and write one JSON line per row: key and output.

    Example: edge-rnn replay activity.bundle rows.csv -o outputs.jsonl

    Example: edge-rnn replay vad.bundle speech.wav -o segments.jsonl --emit segments

    The bytes of each output are those that the daemon would write.
    """
    from runtime.daemon.replay import replay

    rows = 0
    with _written_whole(output) as file:
        for lines in replay(
            bundle, source, batch_records=batch_records, emit=emit, resample=resample, input_rate=input_rate
        ):
            file.writelines(lines)
            rows += len(lines)
    print(f"{rows} outputs in {output}", file=sys.stderr)


@contextmanager
def _written_whole(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name only when all of it is written."""
    if str(path) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        number, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}; give another --output") from error
    draft = Path(name)
    try:
        with os.fdopen(number, "wb") as file:
            yield file
        draft.chmod(0o644)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
