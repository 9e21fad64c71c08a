"""The run of a module under the eyes of a tracer: what torch dispatches, which submodule is at work, who holds what."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from exporters.trace.registry import FUNCTIONS, tensors_in
from exporters.trace.tracer import Tracer
from exporters.trace.values import Value

READS = ("numpy", "tolist", "__array__")
_TORCH = str(Path(torch.__file__).parent)


def run_traced(tracer: Tracer, call: Callable[..., Any], arguments: Sequence[Tensor]) -> Any:
    """Run ``call``, which calls the tracer's module, and return what it returns. Raises `ExportRefused`."""
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
        torch.backends.mha.set_fastpath_enabled(False)  # what it fuses could not be followed
        for path, submodule in tracer.module.named_modules():
            for hook in _follow(tracer, path, submodule):
                stack.callback(hook.remove)
        if sys.getprofile() is None:  # names are worth less than a profile that someone takes
            stack.callback(sys.setprofile, None)
            sys.setprofile(_namer(tracer))
        stack.enter_context(_Dispatch(tracer))
        stack.enter_context(_Functions(tracer))
        return call(*arguments)


def _follow(tracer: Tracer, path: str, submodule: nn.Module) -> Iterator[Any]:
    """Tell the tracer when the submodule is at work."""

    def enter(*_: Any) -> None:
        tracer.enter(path)

    def leave(*_: Any) -> None:
        tracer.leave()

    yield submodule.register_forward_pre_hook(enter, prepend=True)
    yield submodule.register_forward_hook(leave, always_call=True)


def _namer(tracer: Tracer) -> Callable[[FrameType, str, Any], None]:
    """When a method of a submodule returns, its local variables name the tensors they hold."""

    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event != "return" or not isinstance(frame.f_locals.get("self"), nn.Module):
            return
        if frame.f_code.co_filename.startswith(_TORCH):
            return
        path = tracer.path or type(tracer.module).__name__.lower()
        for name, held in list(frame.f_locals.items()):
            for suffix, tensor in _held(held):
                known = tracer.noted(tensor)
                if isinstance(known, Value) and known.node.when >= 0:
                    tracer.names.setdefault(known.node, f"{path}.{name}{suffix}")

    return profile


def _held(value: Any) -> Iterator[tuple[str, Tensor]]:
    """The tensors that a variable holds, alone or in a short tuple or list."""
    if isinstance(value, Tensor):
        yield "", value
    elif isinstance(value, (tuple, list)) and len(value) <= 4:
        for number, item in enumerate(value):
            for suffix, tensor in _held(item):
                yield f".{number}{suffix}", tensor


class _Dispatch(TorchDispatchMode):
    """Every operation, after torch has taken composite ones apart."""

    def __init__(self, tracer: Tracer) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._tracer = tracer

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._tracer.dispatch(func, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """Calls that are taken whole, before torch takes them apart, and reads out of tensors."""

    def __init__(self, tracer: Tracer) -> None:
        super().__init__()
        self._tracer = tracer

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in FUNCTIONS:
            self._tracer.calls += 1
        if name in FUNCTIONS and any(self._tracer.known(tensor) is not None for tensor in tensors_in(args)):
            return FUNCTIONS[name](self._tracer, func, args)
        if name in READS and args and self._tracer.changes(args[0]):
            raise self._tracer.refuse(f"reads values out of a tensor (.{name}()), which a graph cannot; stay in torch")
        return func(*args, **(kwargs or {}))
