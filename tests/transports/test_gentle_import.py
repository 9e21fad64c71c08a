"""Importing with pauses: it imports, it pauses in its own thread only, and leaves nothing behind."""

from __future__ import annotations

import importlib
import sys
import threading
import time

from runtime.transports.gentle_import import import_gently

MODULES, PAUSE_S = 8, 0.05


def test_import_gently_pauses_between_modules_and_only_in_its_thread(tmp_path, monkeypatch):
    for name in ("slow_pack", "quick_pack"):
        (tmp_path / name).mkdir()
        parts = [f"part{number}" for number in range(MODULES)]
        (tmp_path / name / "__init__.py").write_text("".join(f"from . import {part}\n" for part in parts))
        for part in parts:
            (tmp_path / name / f"{part}.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    before, found = list(sys.meta_path), []
    thread = threading.Thread(target=lambda: found.append(import_gently("slow_pack", PAUSE_S)))
    began = time.perf_counter()
    thread.start()
    importlib.import_module("quick_pack")
    assert time.perf_counter() - began < MODULES * PAUSE_S / 2
    thread.join()
    assert time.perf_counter() - began >= MODULES * PAUSE_S
    assert found[0].part7.value == 1
    assert sys.meta_path == before
