"""States in mapped files: the same bits as in memory, without the memory, and nothing left behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import EngineError, UsageError
from edge_rnn.contract.signature import StateSpec
from runtime.codecs.registry import make_decoder, make_encoder
from runtime.core.arena import Arena, in_memory
from runtime.core.processor import Processor, ProcessorSettings
from runtime.engines.cpu import open_cpu_engine
from runtime.engines.scratch import ScratchFiles
from tests.runtime.records import batch_of, f32
from tests.runtime.test_arena import FIRST, SPECS


def processor_of(bundle: Bundle, folder: Path | None) -> Processor:
    manifest = bundle.manifest
    return Processor(
        open_cpu_engine(bundle, folder=folder),
        make_decoder("f32", manifest),
        make_encoder("f32", manifest),
        ProcessorSettings(topic="in"),
    )


def test_outputs_with_states_in_files_are_those_with_states_in_memory_bit_for_bit(lstm_bundle, tmp_path):
    rng = np.random.default_rng(2)
    in_files, offsets = processor_of(lstm_bundle, tmp_path / "arena"), {}
    memory = processor_of(lstm_bundle, None)
    for _ in range(6):  # beyond the first 1,024 rows, so that the files grow
        records = [(0, b"s%d" % s, f32(rng.standard_normal(3))) for s in rng.integers(0, 5000, 2000).tolist()]
        batch = batch_of(records, offsets)
        assert in_files.process(batch).outputs.values == memory.process(batch).outputs.values
    slots = np.arange(len(memory.streams))
    assert in_files.streams.capacity > 1024
    assert (in_files.read_states(slots) == memory.read_states(slots)).all()


def test_grow_in_files_keeps_what_is_there_and_leaves_no_name(tmp_path):
    rows = ScratchFiles(tmp_path)
    arena, rng = Arena(SPECS, FIRST, 4, rows), np.random.default_rng(0)
    states = [rng.random((4, 2, 3), np.float32), np.arange(4), np.zeros((4, 0), np.float32)]
    arena.scatter(np.arange(4), states)
    arena.grow(10_000)
    arena.reset(np.array([9_999]))
    for found, expected, first in zip(arena.gather(np.array([0, 1, 2, 3, 9_999])), states, FIRST, strict=True):
        assert (found[:4] == expected).all()
        assert (found[4] == first).all()
    assert list(tmp_path.iterdir()) == []


def test_arena_in_files_beyond_the_disk_is_refused_with_what_to_do(tmp_path):
    spec = StateSpec(name="h", input="h", output="h.next", dtype="float32", shape=("batch", 1 << 20))
    with pytest.raises(EngineError, match="--max-streams"):
        ScratchFiles(tmp_path)(spec, 1 << 40, None)


def test_folder_that_is_a_file_is_refused_naming_the_flag(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="--arena-dir"):
        ScratchFiles(tmp_path / "file")


HOLD = """
import resource, sys
from pathlib import Path
import numpy as np
from edge_rnn.contract.signature import StateSpec
from runtime.core.arena import Arena, in_memory
from runtime.engines.scratch import ScratchFiles

used = int(next(l for l in open("/proc/self/status") if l.startswith("VmData")).split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + (96 << 20), used + (96 << 20)))
spec = StateSpec(name="h", input="h", output="h.next", dtype="float32", shape=("batch", 1024))
rows = ScratchFiles(Path(sys.argv[1])) if sys.argv[1] else in_memory
arena = Arena([spec], [np.zeros(1024, np.float32)], 1024, rows)
for capacity in (1024, 8192, 65536):
    arena.grow(capacity)
    for begin in range(0, capacity, 1024):
        slots = np.arange(begin, begin + 1024)
        arena.scatter(slots, [np.repeat(slots[:, None], 1024, 1).astype(np.float32)])
for begin in range(0, 65536, 1024):
    assert (arena.gather(np.arange(begin, begin + 1024))[0][:, 5] == np.arange(begin, begin + 1024)).all()
print(sum(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("RssAnon")) * 1024)
"""
"""256 MiB of states under a limit of 96 MiB of memory of the process's own (files that are mapped do not count)."""


def held(folder: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", HOLD, folder], capture_output=True, text=True, check=False)


def test_states_in_files_may_be_more_than_the_memory_that_a_process_may_have(tmp_path):
    assert "MemoryError" in held("").stderr
    done = held(str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 128 << 20
    assert list(tmp_path.iterdir()) == []


def test_in_memory_rows_grow_with_what_is_there():
    rows = in_memory(SPECS[1], 2, None)
    rows[:] = [4, 5]
    assert in_memory(SPECS[1], 3, rows)[:2].tolist() == [4, 5]
