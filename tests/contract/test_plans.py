"""The cache of engines: what was built for something else is never handed out."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edge_rnn.contract.errors import EngineError
from edge_rnn.contract.plans import FORM, Plan, PlanCache, PlanKey

KEY = PlanKey(
    weights="abc",
    gpu="sm_89",
    builder="tensorrt_rtx",
    version="1.7.1.116",
    precision="fp32",
    chunk=4,
    batches=(1, 64, 4096),
)
PLAN = Plan(bytes(range(256)) * 3 + b"\n\n{}", b'{"layers":[1]}')
OTHERS = [
    {"weights": "abd"},
    {"gpu": "sm_86"},
    {"builder": "tensorrt"},
    {"version": "1.7.2"},
    {"precision": "fp16"},
    {"chunk": 8},
    {"batches": (1, 64, 4097)},
    {"form": FORM + 1},
]


def test_engine_that_was_kept_is_read_again(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path / "new" / "folder")
    assert cache.read(KEY) is None
    path = cache.write(KEY, PLAN)
    assert path == cache.path(KEY)
    assert PlanCache(cache.folder).read(KEY) == PLAN
    assert [each.name for each in cache.folder.iterdir()] == [path.name]


@pytest.mark.parametrize("change", OTHERS, ids=lambda change: next(iter(change)))
def test_engine_of_another_key_is_not_read_even_under_the_name_of_this(
    tmp_path: Path, change: dict[str, object]
) -> None:
    cache, other = PlanCache(tmp_path), msgspec.structs.replace(KEY, **change)
    assert other.digest != KEY.digest
    path = cache.write(other, PLAN)
    assert cache.read(KEY) is None
    path.rename(cache.path(KEY))
    assert cache.read(KEY) is None


@pytest.mark.parametrize("at", [0, 20, -1])
def test_engine_that_is_damaged_is_not_read(tmp_path: Path, at: int) -> None:
    cache = PlanCache(tmp_path)
    path = cache.write(KEY, PLAN)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    assert cache.read(KEY) is None


@pytest.mark.parametrize("size", [0, 10, 300])
def test_engine_that_is_cut_short_is_not_read(tmp_path: Path, size: int) -> None:
    cache = PlanCache(tmp_path)
    path = cache.write(KEY, PLAN)
    path.write_bytes(path.read_bytes()[:size])
    assert cache.read(KEY) is None


def test_folder_that_cannot_hold_an_engine_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineError, match=rf"--cache-dir {tmp_path}/file/engines cannot hold"):
        PlanCache(tmp_path / "file" / "engines").write(KEY, PLAN)
