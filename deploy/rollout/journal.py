"""What the operator's machine keeps: who it is, what every device is to run, and a journal of what was seen.

The truth about a device is on the device. Here lies only what a device cannot know while it is
away: what it is to run when it is back.
"""

from __future__ import annotations

import fcntl
import os
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from edge_rnn.contract.errors import DeployError, DeviceLocked


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a device is to run. ``pending``: it had no chance yet, or was lost; ``why`` tells which."""

    release: str
    pending: bool = False
    why: str = ""


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the journal. ``time`` in ISO 8601, UTC."""

    time: str
    rollout: str
    event: str
    device: str = ""
    release: str = ""
    detail: str = ""


class _Kept(msgspec.Struct, kw_only=True):
    release_path: str = ""
    devices: dict[str, Wanted] = {}


def default_folder(app: str) -> Path:
    """``$XDG_STATE_HOME/edge-rnn/deploy/APP``, else under ``~/.local/state``."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "edge-rnn" / "deploy" / app


class Journal:
    """A directory of one operator and one application. Usable from several threads; `held` keeps other processes out."""

    def __init__(self, folder: Path, listener: Callable[[Event], None] | None = None) -> None:
        self.folder = folder
        self._listener = listener
        self._mutex = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DeployError(f"{folder} cannot be made: {error.strerror}; set XDG_STATE_HOME") from error
        self._kept = self._read()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes of this operator out; given back by the kernel when this one dies. Raises `DeviceLocked`."""
        with (self.folder / "lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DeviceLocked(f"another deploy of this operator is at work ({self.folder}); wait for it") from None
            self._kept = self._read()
            yield

    @property
    def token(self) -> str:
        """Under which this operator's locks on devices are known: a UUID that is made once."""
        path = self.folder / "token"
        with self._mutex:
            if not path.exists():
                _write(path, f"{uuid.uuid4()}\n".encode())
            return path.read_text().strip()

    @property
    def wanted(self) -> Mapping[str, Wanted]:
        """What each device is to run, by name."""
        with self._mutex:
            return dict(self._kept.devices)

    @property
    def release_path(self) -> Path | None:
        """The release that was rolled out last."""
        return Path(self._kept.release_path) if self._kept.release_path else None

    def want(self, devices: Mapping[str, Wanted], release_path: Path | None = None) -> None:
        """Note what devices are to run, so that it survives this process."""
        with self._mutex:
            self._kept.devices.update(devices)
            if release_path is not None:
                self._kept.release_path = str(release_path.absolute())
            _write(self.folder / "wanted.json", msgspec.json.format(msgspec.json.encode(self._kept), indent=1))

    def say(self, event: Event) -> None:
        """Append to the journal, and tell whoever watches."""
        with self._mutex:
            with (self.folder / "journal.jsonl").open("ab") as file:
                file.write(msgspec.json.encode(event) + b"\n")
            if self._listener is not None:
                self._listener(event)

    def _read(self) -> _Kept:
        path = self.folder / "wanted.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=_Kept)
        except FileNotFoundError:
            return _Kept()
        except (OSError, msgspec.DecodeError) as error:
            raise DeployError(f"{path} cannot be read: {error}; mend or remove it") from error


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all."""
    draft = path.with_name(f".{path.name}.new")
    with draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
