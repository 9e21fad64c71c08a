"""SOURCE of an export: a RUN directory, ``FILE.py:NAME`` or ``module:NAME``.

NAME is a module, a subclass of `torch.nn.Module`, or a function that returns a module. User paths
are appended to ``sys.path``, never prepended: a user's ``runtime.py`` must not shadow ours.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from edge_rnn.contract.errors import ExportRefused, UsageError
from edge_rnn.models import ModelFile, load_run, read_model_file

FORMS = "give a RUN directory that `edge-rnn train` wrote, FILE.py:NAME or module:NAME"


@dataclass(frozen=True)
class Source:
    """A module ready to export, a name for its bundle, and where it came from, for the manifest."""

    module: nn.Module
    name: str
    origin: dict[str, str]


def resolve_source(source: str, *, arguments: str | None = None, weights: Path | None = None) -> Source:
    """Load what ``source`` names.

    ``arguments`` is JSON for the class or function: an object (by name) or an array. ``weights`` is
    a state dict, ``.safetensors`` or what `torch.save` wrote. Raises `UsageError` when something
    is missing, `ExportRefused` when the user's code fails.
    """
    if Path(source).is_dir():
        if arguments is not None or weights is not None:
            raise UsageError(
                f"{source} is a run, which has arguments and weights of its own; leave --args and --weights out"
            )
        described = read_model_file(source)
        return Source(load_run(source), Path(source).resolve().name, _run_origin(Path(source), described))
    place, colon, name = source.rpartition(":")
    if not colon or not place or not name:
        raise UsageError(f"there is no run {source!r}; {FORMS}")
    is_file = place.endswith(".py")
    code = _load_file(Path(place)) if is_file else _load_module(place)
    origin = {"module": f"{Path(place).name if is_file else place}:{name}"}  # no folder: the same bytes anywhere
    module = _make_module(_find(code, name, source), source, arguments)
    if weights is not None:
        _load_weights(module, weights)
        origin["weights"] = weights.name
    return Source(module, name.lower().replace("_", "-"), origin)


def _run_origin(run: Path, described: ModelFile) -> dict[str, str]:
    recipe = {"recipe": described.recipe} if described.recipe else {}
    return {"run": run.resolve().name, "model": described.name, **recipe}


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"{path} does not exist; {FORMS}")
    _append_path(path.resolve().parent)
    name = f"_edge_rnn_source_{path.stem}"  # a name of its own: the file may be called like one of our packages
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except SystemExit as ended:
        raise _ends(str(path), ended) from ended
    except Exception as error:
        raise ExportRefused(f"{path} cannot be loaded: {_one_line(error)}; run it with Python to see where") from error
    return module


def _load_module(name: str) -> ModuleType:
    _append_path(Path.cwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise UsageError(f"there is no module {error.name!r} here or installed; {FORMS}") from error
        raise ExportRefused(
            f"the module {name!r} cannot be loaded: {_one_line(error)}; install what it needs"
        ) from error
    except SystemExit as ended:
        raise _ends(f"the module {name!r}", ended) from ended
    except Exception as error:
        raise ExportRefused(
            f"the module {name!r} cannot be loaded: {_one_line(error)}; import it to see where"
        ) from error


def _ends(what: str, ended: SystemExit) -> ExportRefused:
    """A script that does its work where it is loaded, e.g. reads its command line."""
    return ExportRefused(
        f"{what} ends the program when it is loaded (exit {ended.code}); put what it does there under"
        " `if __name__ == '__main__':`, so that its classes can be imported"
    )


def _append_path(path: Path) -> None:
    if str(path) not in sys.path:
        sys.path.append(str(path))


def _find(code: ModuleType, name: str, source: str) -> Any:
    try:
        return getattr(code, name)
    except AttributeError:
        modules = [key for key, value in vars(code).items() if _is_own_module(value, code)]
        found = f"it has {', '.join(modules)}" if modules else "it has no torch module of its own"
        raise UsageError(f"{source}: there is no {name!r}; {found}") from None


def _is_own_module(value: object, code: ModuleType) -> bool:
    if isinstance(value, type):
        return issubclass(value, nn.Module) and value.__module__ == code.__name__
    return isinstance(value, nn.Module)


def _make_module(found: Any, source: str, arguments: str | None) -> nn.Module:
    if isinstance(found, nn.Module):
        if arguments is not None:
            raise UsageError(f"{source} is a module already made; leave --args out or name its class")
        return found
    if not callable(found):
        raise UsageError(
            f"{source} is a {type(found).__name__}, expected a module, its class or a function that makes one"
        )
    positional, named = _decode_arguments(arguments)
    try:
        made = found(*positional, **named)
    except SystemExit as ended:
        raise ExportRefused(f"{source} ends the program (exit {ended.code}) instead of making a module") from ended
    except Exception as error:
        raise ExportRefused(
            f"{source} cannot be made with --args {arguments or '{}'}: {_one_line(error)}; give its arguments as JSON,"
            " e.g. --args '{\"hidden\": 64}'"
        ) from error
    if not isinstance(made, nn.Module):
        raise UsageError(f"{source} returned a {type(made).__name__}, expected a torch.nn.Module")
    return made


def _decode_arguments(arguments: str | None) -> tuple[list[Any], dict[str, Any]]:
    if arguments is None:
        return [], {}
    try:
        value = msgspec.json.decode(arguments)
    except msgspec.DecodeError as error:
        raise UsageError(f"--args {arguments!r} is not JSON: {error}; give an object or an array") from error
    if isinstance(value, dict):
        return [], value
    if isinstance(value, list):
        return value, {}
    raise UsageError(f"--args {arguments!r} is a {type(value).__name__}, expected a JSON object or array")


def _load_weights(module: nn.Module, path: Path) -> None:
    if not path.is_file():
        raise UsageError(f"the weights {path} do not exist; give a .safetensors file or what torch.save wrote")
    state: object
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise _no_weights(path, _one_line(error)) from error
    except Exception as error:  # of a file that is none of its own torch.load raises anything
        raise _no_weights(path, "it holds more than tensors, or is no file of torch.save's") from error
    if not isinstance(state, dict):
        raise UsageError(
            f"the weights {path} hold a {type(state).__name__}, expected a state dict; save module.state_dict()"
        )
    try:
        module.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        nested = [str(key) for key, value in state.items() if isinstance(value, dict)]
        remedy = (
            f"it holds {', '.join(nested)}: save the state dict in there alone, e.g. torch.load(...)[{nested[0]!r}]"
            if nested
            else "save module.state_dict() of this class, and make it with the same --args"
        )
        raise UsageError(f"the weights {path} do not fit the module: {_one_line(error)}; {remedy}") from error


def _no_weights(path: Path, why: str) -> UsageError:
    return UsageError(f"the weights {path} cannot be read: {why}; save module.state_dict() and nothing else")


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
