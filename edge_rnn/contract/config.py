"""Settings from four places, the first that has one wins: flag, ``EDGE_RNN_*`` environment, TOML file, default."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec

from edge_rnn.contract.errors import UsageError

T = TypeVar("T", bound=msgspec.Struct)


def resolve(
    kind: type[T], flags: Mapping[str, object], file: Path | None, environment: Mapping[str, str] = os.environ
) -> T:
    """Build the settings ``kind`` (a msgspec Struct).

    ``flags`` maps field names to what the command line gave, ``None`` where it gave nothing. In the
    environment a field ``commit_interval`` is ``EDGE_RNN_COMMIT_INTERVAL``; in the file it is
    ``commit-interval`` (or with underscores). Raises `UsageError` naming the place and the field.
    """
    fields = {field.encode_name for field in msgspec.structs.fields(kind)}
    found: dict[str, Any] = {}
    if file is not None:
        for name, value in _read(file).items():
            field = name.replace("-", "_")
            if field not in fields:
                known = ", ".join(sorted(f.replace("_", "-") for f in fields))
                raise UsageError(f"{file} sets {name!r}, which is unknown; known are {known}")
            found[field] = value
    for field in fields:
        variable = f"EDGE_RNN_{field.upper()}"
        if variable in environment:
            found[field] = environment[variable]
    found.update({name: value for name, value in flags.items() if value is not None})
    missing = [f.encode_name for f in msgspec.structs.fields(kind) if f.required and f.encode_name not in found]
    if missing:
        flag = missing[0].replace("_", "-")
        raise UsageError(
            f"--{flag} is missing; give it, or set EDGE_RNN_{missing[0].upper()}, or {flag} in the --config file"
        )
    try:
        return msgspec.convert(found, kind, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"the configuration is wrong: {_plain(str(error), kind)}") from error


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}; give an existing TOML file to --config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is not TOML: {error}") from error


def _plain(message: str, kind: type[msgspec.Struct]) -> str:
    """msgspec's message with the field's name as a flag, and the choices where there are some."""
    what, _, where = message.partition(" - at `$.")
    name = where.rstrip("`")
    for field in msgspec.structs.fields(kind):
        if field.encode_name == name:
            choices = _choices(field.type)
            expected = f", expected {' or '.join(choices)}" if choices else ""
            return f"--{name.replace('_', '-')}: {what}{expected}"
    return message


def _choices(annotation: Any) -> list[str]:
    """The values of a ``Literal``, also inside a union with ``None``."""
    if get_origin(annotation) is Literal:
        return [str(value) for value in get_args(annotation)]
    return [choice for part in get_args(annotation) for choice in _choices(part)]
