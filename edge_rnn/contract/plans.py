"""Built engines in a cache folder: a file is used only if it is whole and was built for exactly what is asked for.

A file is a line of JSON (`_Head`: the key, the plan's digest, what the builder told of it), then the plan.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edge_rnn.contract.errors import EngineError

FORM = 1
"""Version of how step graphs are decomposed and built; engines of another one are built anew."""


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


class _Head(msgspec.Struct, frozen=True):
    key: PlanKey
    plan: str
    told: msgspec.Raw


@dataclass(frozen=True)
class Plan:
    """An engine as built: ``told`` is JSON of what its builder said about it."""

    plan: bytes
    told: bytes


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
