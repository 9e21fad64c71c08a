"""How the CUDA engine comes to its calls: the first way that opens and repeats the golden vectors; CuPy played by NumPy."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import EngineError, GateFailed
from runtime.core.device import Device
from runtime.core.moves import PlainMoves
from runtime.engines import cuda, cupy_device
from runtime.engines.cupy_device import cuda_device, shares_memory
from runtime.engines.kernel_moves import KernelMoves
from tests.gpu import pretend
from tests.models_for_tests import make_bundle
from tests.runtime.device.compiled import HostKernel, needs_compiler


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("ways") / "gru", "gru")


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Any:
    played = pretend.cupy()
    monkeypatch.setitem(sys.modules, "cupy", played)
    monkeypatch.setitem(sys.modules, "cupyx", SimpleNamespace(empty_pinned=np.empty))
    monkeypatch.setattr(cuda, "_session", session())
    return played


def session(refuses: Callable[[bool, int | None], bool] = lambda graphs, queue: False) -> Callable[..., Any]:
    def opened(bundle: Bundle, graphs: bool = False, queue: int | None = None) -> Any:
        if refuses(graphs, queue):
            raise EngineError(f"not with {graphs}, {queue}")
        return pretend.OnCpu(bundle)

    return opened


def test_first_way_is_one_recording_of_the_whole_call_with_kernels_of_ours(bundle: Bundle, cupy: Any) -> None:
    needs_compiler()
    engine = cuda.open_cuda_engine(bundle)
    assert engine.how == "fused"
    assert isinstance(engine._device.moves, KernelMoves)
    fresh = engine.read(np.arange(2))
    assert (fresh == 0).all()  # as new, though the golden vectors were repeated with these


@pytest.mark.parametrize(
    ("refuses", "how"),
    [
        (lambda graphs, queue: graphs, "queued"),
        (lambda graphs, queue: queue is not None, "waiting"),
    ],
)
def test_way_that_does_not_open_is_followed_by_a_plainer_one(
    bundle: Bundle, cupy: Any, monkeypatch: pytest.MonkeyPatch, refuses: Callable[..., bool], how: str
) -> None:
    monkeypatch.setattr(cuda, "_session", session(refuses))
    assert cuda.open_cuda_engine(bundle).how == how
    with pytest.raises(EngineError, match="not with"):
        cuda.open_cuda_engine(bundle, plainer=False)


def test_last_way_that_does_not_open_is_the_error(bundle: Bundle, cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "_session", session(lambda graphs, queue: True))
    with pytest.raises(EngineError, match="not with False, None"):
        cuda.open_cuda_engine(bundle)


def test_recording_that_does_not_repeat_the_golden_vectors_is_not_taken(
    bundle: Bundle, cupy: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A recording that misses part of the model gives what was there before: the results of the rehearsal."""

    class Stale:
        def __init__(self, *given: Any) -> None:
            pass

        def __call__(self, body: Callable[[], None]) -> Callable[[], object]:
            body()
            return lambda: None

    monkeypatch.setattr(cuda, "CudaGraphs", Stale)
    caplog.set_level("INFO")
    assert cuda.open_cuda_engine(bundle).how == "graphs"
    assert "does not make its calls recorded" in caplog.text
    with pytest.raises(GateFailed):
        cuda.open_cuda_engine(bundle, way="recorded", plainer=False)


def refused(source: str, name: str) -> Any:
    raise ValueError("no such architecture\nand more")


def wrong(source: str, name: str) -> HostKernel:
    needs_compiler()
    return HostKernel(source.replace("halted[row] = 1", "halted[row] = 0"), name)


@pytest.mark.parametrize(
    ("raw_kernel", "told"),
    [
        (refused, "move_rows cannot be compiled for this GPU: no such architecture"),
        (wrong, "do not settle them as plain statements do"),
    ],
)
def test_kernels_that_do_not_do_leave_all_to_plain_statements_with_a_warning(
    bundle: Bundle, cupy: Any, caplog: pytest.LogCaptureFixture, raw_kernel: Any, told: str
) -> None:
    cupy.RawKernel = raw_kernel
    engine = cuda.open_cuda_engine(bundle)
    assert engine.how == "recorded"
    assert isinstance(engine._device.moves, PlainMoves)
    assert told in caplog.text
    assert "and more" not in caplog.text
    assert isinstance(cuda.open_cuda_engine(bundle, way="queued", plainer=False)._device.moves, PlainMoves)
    with pytest.raises(EngineError, match="no kernels of ours"):
        cuda.open_cuda_engine(bundle, way="fused", plainer=False)


def test_kernels_that_do_not_repeat_the_golden_vectors_leave_all_to_plain_statements(
    bundle: Bundle, cupy: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """They passed their own check, and are wrong in a call."""
    needs_compiler()
    monkeypatch.setattr(cupy_device, "check_moves", lambda moves, manifest, xp: None)
    cupy.RawKernel = lambda source, name: HostKernel(source.replace("row != scratch", "row == scratch"), name)
    assert cuda.open_cuda_engine(bundle).how == "recorded"
    assert "does not make its calls fused" in caplog.text


@pytest.mark.parametrize(("way", "moves"), [("graphs", KernelMoves), ("queued", KernelMoves), ("waiting", PlainMoves)])
def test_ways_without_our_recording_move_rows_by_kernels_too_but_the_last(
    bundle: Bundle, cupy: Any, way: Any, moves: type
) -> None:
    needs_compiler()
    engine = cuda.open_cuda_engine(bundle, way=way, plainer=False)
    assert type(engine._device.moves) is moves


def attributes(cupy: Any, **given: int) -> None:
    numbers = {18: given["integrated"], 19: given["maps"], 41: given["addresses"]}
    cupy.cuda.runtime.deviceGetAttribute = lambda number, device: numbers[number]


@pytest.mark.parametrize("missing", ["integrated", "maps", "addresses", None])
def test_device_shares_its_memory_where_all_attributes_say_so(cupy: Any, missing: str | None) -> None:
    attributes(cupy, **{name: int(name != missing) for name in ("integrated", "maps", "addresses")})
    assert shares_memory(cupy) == (missing is None)


def device(cupy: Any, shared: bool) -> Device:
    attributes(cupy, integrated=int(shared), maps=1, addresses=1)
    return cuda_device(cupy, cupy.cuda.Stream(non_blocking=True))


@pytest.mark.parametrize("shared", [False, True])
def test_buffers_are_one_memory_where_it_is_shared(cupy: Any, shared: bool) -> None:
    made = device(cupy, shared)
    pair = made.room(300)
    assert np.shares_memory(pair.host, pair.device) == shared
    pair.host[:] = 3
    made.up(pair, 200, made.queue)
    made.queue.mark().wait()
    assert (pair.device[:200] == 3).all()


def test_engine_in_shared_memory_keeps_all_states_there(bundle: Bundle, cupy: Any) -> None:
    attributes(cupy, integrated=1, maps=1, addresses=1)
    engine = cuda.open_cuda_engine(bundle)
    assert type(engine.arena).__name__ == "SharedArena"
    engine.grow(3000)
    engine.reset(np.arange(3000))
    assert engine.run(np.arange(3000), [np.ones((2, 3000, 3), np.float32)])[1].all()
    assert (engine.arena.loaded, engine.arena.saved) == (0, 0)
