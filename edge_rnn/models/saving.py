"""A trained model as a directory: ``model.json`` says what it is, ``weights.safetensors`` holds its tensors.

A run that training wrote is such a directory with more files in it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from edge_rnn.contract.errors import BundleError, EdgeRnnError, UsageError
from edge_rnn.models.registry import build
from edge_rnn.models.sequence import SequenceModel, Task

MODEL = "model.json"
WEIGHTS = "weights.safetensors"
FORMAT = 1
"""Version of ``model.json`` that this code reads and writes."""

REMEDY = "train it again with `edge-rnn train RECIPE -o RUN`"


class ModelFile(msgspec.Struct, frozen=True, kw_only=True):
    """What ``model.json`` holds.

    ``name`` and ``arguments`` are what `build` takes; ``features``, ``labels`` and ``task`` repeat
    them for readers. ``score`` and ``settings`` are whatever the recipe reported and ran with.
    """

    format: int
    name: str
    arguments: dict[str, Any]
    task: Task
    features: tuple[str, ...] | None = None
    labels: tuple[str, ...] | None = None
    recipe: str | None = None
    score: dict[str, Any] | None = None
    settings: dict[str, Any] | None = None


def save(
    path: Path | str,
    model: SequenceModel,
    *,
    recipe: str | None = None,
    score: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> None:
    """Write a built model, and ``files`` beside it, whole or not at all.

    The files go into a temporary directory next to ``path``, which is then renamed into place. An
    earlier run there is replaced; anything else that exists is refused with `UsageError`.
    """
    path = Path(path)
    if not model.name:
        raise UsageError(f"{path}: the model was not made by edge_rnn.models.build; it cannot be saved as a run")
    check_target(path)
    described = ModelFile(
        format=FORMAT,
        name=model.name,
        arguments=model.arguments,
        task=model.task,
        features=model.features,
        labels=model.labels,
        recipe=recipe,
        score=score,
        settings=settings,
    )
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    contents = {
        **(files or {}),
        MODEL: msgspec.json.format(msgspec.json.encode(described), indent=2) + b"\n",
        WEIGHTS: save_tensors(tensors),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}; give another output") from error
    try:
        for name, data in contents.items():
            (draft / name).parent.mkdir(exist_ok=True)
            (draft / name).write_bytes(data)
        draft.chmod(0o755)
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}-old-", dir=path.parent))
            path.replace(old / path.name)
            draft.replace(path)
            shutil.rmtree(old)
        else:
            draft.replace(path)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise EdgeRnnError(f"{path} cannot be written: {error.strerror}; free space or give another output") from error
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def check_target(path: Path | str) -> None:
    """Raise `UsageError` when writing a run to ``path`` would overwrite something that is not a run."""
    path = Path(path)
    free = not path.exists() or (path / MODEL).is_file() or (path.is_dir() and not any(path.iterdir()))
    if not free:
        raise UsageError(f"{path} exists and is not a run; give another output or remove it")


def read_model_file(path: Path | str) -> ModelFile:
    """Read a run's ``model.json``. Raises `UsageError` when there is none, `BundleError` when it is damaged."""
    file = Path(path) / MODEL
    data = _read(file)
    try:
        described = msgspec.json.decode(data, type=ModelFile)
    except msgspec.DecodeError as error:
        raise BundleError(f"{file} cannot be read: {error}; {REMEDY}") from error
    if described.format != FORMAT:
        raise BundleError(
            f"{file} has format {described.format}, expected {FORMAT}; use the edge-rnn version that wrote it, or {REMEDY}"
        )
    return described


def load_run(path: Path | str) -> SequenceModel:
    """The trained model of a run, in inference mode.

    Raises `UsageError` when the directory or a file is missing, `BundleError` when a file is
    damaged or the weights do not fit the model; either with what to do.
    """
    described = read_model_file(path)
    file = Path(path) / WEIGHTS
    data = _read(file)
    try:
        model = build(described.name, **described.arguments)
    except UsageError as error:
        raise BundleError(f"{Path(path) / MODEL} does not describe a model: {error}; {REMEDY}") from error
    try:
        model.load_state_dict(load_tensors(data))
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BundleError(f"{file} does not hold the weights of {MODEL}: {reason}; {REMEDY}") from error
    return model.eval()


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        run = file.parent
        what = f"has no {file.name}" if run.exists() else "does not exist"
        raise UsageError(f"{run} {what}; give the directory of a run, or {REMEDY}") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}; give the directory of a run") from error
