"""Built engines in a cache folder: a file is used only if it is whole and was built for exactly what is asked for.

What is built and what is looked for agree by `plan_key` and `chunk_sizes`. A file is a line of JSON (`_Head`: the key, the plan's digest, what the builder told of it), then the plan.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from edge_rnn.contract.bundle import GOLDEN
from edge_rnn.contract.errors import EngineError, UsageError
from edge_rnn.contract.signature import Manifest

FORM = 1
"""Version of how step graphs are decomposed and built; engines of another one are built anew."""

LARGEST = 32
"""Steps of the largest chunk that has an engine; longer calls take several."""

BATCHES = (1, 64, 4096)
"""Streams a call: the fewest, what an engine is tuned for, the most."""

EnginePrecision = Literal["fp32", "fp16", "bf16", "int8"]
"""What products are made in; gates, states, inputs and outputs are fp32 in any case."""

TOLERANCES: dict[EnginePrecision, float] = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 5e-2, "int8": 1e-1}
"""How far an engine may be from the golden vectors, per unit of the largest value; see `edge_rnn.contract.gates`."""


class PlanKey(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine was built from and for.

    ``weights`` is a digest of the bundle's files that hold weights, ``gpu`` e.g. ``sm_89``,
    ``builder`` and ``version`` the library's; ``batches`` the smallest, usual and largest number of
    streams a call.
    """

    weights: str
    gpu: str
    builder: str
    version: str
    precision: str
    chunk: int
    batches: tuple[int, int, int]
    form: int = FORM

    @property
    def digest(self) -> str:
        """Hex, 32 characters: the name of the engine's file."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()[:32]


def plan_key(
    manifest: Manifest, builder: str, version: str, gpu: str, chunk: int, precision: EnginePrecision = "fp32"
) -> PlanKey:
    """What decides whether an engine may be used for a bundle."""
    weights = ({name: digest for name, digest in manifest.files.items() if name != GOLDEN}, manifest.constants)
    return PlanKey(
        weights=hashlib.sha256(msgspec.json.encode(weights, order="sorted")).hexdigest(),
        gpu=gpu,
        builder=builder,
        version=version,
        precision=precision,
        chunk=chunk,
        batches=(1, 1, 1) if manifest.batch_limit == 1 else BATCHES,
    )


def chunk_sizes(manifest: Manifest, largest: int = LARGEST) -> list[int]:
    """The chunks 1, 2, 4, ... ``largest`` that have an engine each; one step, where the graph takes one a call.

    Raises `UsageError`.
    """
    if largest < 1 or largest & (largest - 1):
        raise UsageError(f"--largest-chunk is {largest}, expected 1, 2, 4 or another power of two")
    return [1 << bit for bit in range(largest.bit_length())] if manifest.has_time else [1]


def binary_chunks(steps: int, largest: int) -> list[int]:
    """Sizes that together make ``steps``: each power of two below ``largest`` at most once, then ``largest`` alone."""
    rest, whole = steps % largest, steps // largest
    return [1 << bit for bit in range(rest.bit_length()) if rest >> bit & 1] + [largest] * whole


class _Head(msgspec.Struct, frozen=True):
    key: PlanKey
    plan: str
    told: msgspec.Raw


@dataclass(frozen=True)
class Plan:
    """An engine as built: ``told`` is JSON of what its builder said about it."""

    plan: bytes
    told: bytes


def engines_folder() -> Path:
    """Where engines are kept unless ``--cache-dir`` says otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge-rnn" / "engines"


class PlanCache:
    """A folder of engines."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: PlanKey) -> Path:
        """Where the engine of a key is, or would be."""
        return self.folder / f"{key.digest}.engine"

    def read(self, key: PlanKey) -> Plan | None:
        """The engine; ``None`` where there is none, or one that is damaged or was built for something else."""
        try:
            line, _, plan = self.path(key).read_bytes().partition(b"\n")
            head = msgspec.json.decode(line, type=_Head)
        except (OSError, msgspec.DecodeError):
            return None
        if head.key != key or head.plan != _digest(plan):
            return None
        return Plan(plan, bytes(head.told))

    def write(self, key: PlanKey, plan: Plan) -> Path:
        """Keep an engine, whole or not at all. Raises `EngineError` when the folder cannot hold it."""
        line = msgspec.json.encode(_Head(key, _digest(plan.plan), msgspec.Raw(plan.told)))
        path = self.path(key)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file, draft = tempfile.mkstemp(prefix=".draft-", dir=self.folder)
            try:
                with os.fdopen(file, "wb") as out:
                    out.write(line + b"\n" + plan.plan)
                Path(draft).replace(path)
            except BaseException:
                Path(draft).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise EngineError(
                f"--cache-dir {self.folder} cannot hold the engine {path.name}: {error.strerror};"
                " give a directory that can be written"
            ) from error
        return path


def _digest(plan: bytes) -> str:
    return hashlib.sha256(plan).hexdigest()
