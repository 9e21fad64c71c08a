"""Importing a large package beside work that must not wait.

While a module is executed its thread wants Python's lock all the time, and whoever needs the lock
besides waits a turn for it again and again. Between modules this thread sleeps instead.
"""

from __future__ import annotations

import importlib
import sys
import threading
import time
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

PAUSE_S = 0.01


class _Pauses:
    """Finds nothing, but takes its time for what this thread looks for."""

    def __init__(self, pause_s: float) -> None:
        self._thread, self._pause_s = threading.get_ident(), pause_s

    def find_spec(
        self, _name: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if threading.get_ident() == self._thread:
            time.sleep(self._pause_s)
        return None


def import_gently(name: str, pause_s: float = PAUSE_S) -> ModuleType:
    """Import a module, with a pause before each other one that this brings in."""
    finder = _Pauses(pause_s)
    sys.meta_path.insert(0, finder)
    try:
        return importlib.import_module(name)
    finally:
        sys.meta_path.remove(finder)
