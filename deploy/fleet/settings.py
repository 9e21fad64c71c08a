"""What a device's daemon is told: its configuration file, secrets put where the inventory refers to them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deploy.fleet.inventory import App, Device, SecretRef, merge
from edge_rnn.contract.errors import UsageError

Resolve = Callable[[SecretRef, str], str]
"""Turns a reference into its value; the second argument says where it stands, for the message."""

STATE = "/var/lib/edge-rnn"
"""Where a container sees the directory that it may write to."""


def resolver(folder: Path, environment: Mapping[str, str] = os.environ) -> Resolve:
    """Reads secrets from the environment, or from files relative to ``folder``, when they are needed."""

    def resolve(ref: SecretRef, where: str) -> str:
        if ref.env is not None:
            if ref.env not in environment:
                raise UsageError(f"the secret {where} is to come from ${ref.env}, which is not set")
            return environment[ref.env]
        try:
            return (folder / str(ref.file)).expanduser().read_text().rstrip("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the secret {where} cannot be read from {ref.file}: {error}") from error

    return resolve


def run_settings(app: App, device: Device, port: int, secrets: Mapping[str, str] = {}) -> dict[str, Any]:
    """The daemon's settings on this device; ``secrets`` are values by dotted place.

    Devices with an input topic of their own are groups of their own; else all are members of one.
    A dot within a key of ``[kafka]`` is part of the key, as Kafka's own names have dots.
    """
    run = merge(app.run, device.run)
    run = {name.replace("_", "-"): value for name, value in run.items()}
    for field, topic in (("input", device.input), ("output", device.output)):
        if topic is not None:
            run[field] = topic
    run.setdefault("group", app.name if device.input is None else f"{app.name}-{device.name}")
    run.setdefault("log-format", "json")
    run.setdefault("on-new-model", "warmup=10m")
    run |= {"instance": device.name, "state-dir": STATE, "http": f"{app.metrics_host}:{port}"}
    for place, value in secrets.items():
        head, dot, rest = place.partition(".")
        if dot and head == "kafka":
            run["kafka"] = {**run.get("kafka", {}), rest: value}
        else:
            run[place] = value
    return run


def shadow_settings(settings: Mapping[str, Any], tolerance: float) -> dict[str, Any]:
    """The same daemon as a shadow of its own group: one process, which makes no topic."""
    shadow = {name: value for name, value in settings.items() if name not in ("group", "create-topics", "workers")}
    return {**shadow, "shadow": settings["group"], "shadow-tolerance": tolerance}


def secret_values(app: App, device: Device, resolve: Resolve) -> dict[str, str]:
    """The values of all secrets that this device's daemon needs, by place. Raises `UsageError`."""
    refs = {**app.secrets, **device.secrets}
    return {place: resolve(ref, f"{place} of {device.name}") for place, ref in sorted(refs.items())}


def to_toml(settings: Mapping[str, Any]) -> str:
    """Settings as a TOML document: scalars and lists first, then one table for each mapping."""
    plain = [f"{_key(name)} = {_value(value)}" for name, value in settings.items() if not isinstance(value, Mapping)]
    tables: list[str] = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            tables += ["", f"[{_key(name)}]", *(f"{_key(key)} = {_value(each)}" for key, each in value.items())]
    return "\n".join([*plain, *tables]) + "\n"


def _key(name: str) -> str:
    return name if name.replace("-", "").replace("_", "").isalnum() and name.isascii() else _text(name)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(each) for each in value)}]"
    return _text(str(value))


def _text(value: str) -> str:
    """A basic string of TOML 1.0: backslash, quote and control characters escaped."""
    escaped = "".join(
        f"\\u{ord(char):04x}" if ord(char) < 0x20 or ord(char) == 0x7F else {"\\": "\\\\", '"': '\\"'}.get(char, char)
        for char in value
    )
    return f'"{escaped}"'
