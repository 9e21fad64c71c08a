"""A group's states as text for a person, or as values for a script."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime.checkpoint.inventory import PartitionInventory, StoredStream
    from runtime.daemon.state_tools import GroupInventory

COLUMNS = ("partition", "committed", "fingerprint", "replay from", "streams", "closed", "bytes", "tombstones")
AGES = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (0.0, "s"))


def as_dict(found: GroupInventory, *, streams: bool) -> dict[str, Any]:
    """For ``--json``."""
    return {
        "group": found.group,
        "input": found.input or None,
        "state_topic": found.state_topic,
        "members": found.members,
        "partitions": [_partition_dict(here, streams=streams) for here in found.partitions],
    }


def _partition_dict(here: PartitionInventory, *, streams: bool) -> dict[str, Any]:
    value: dict[str, Any] = {
        "partition": here.partition,
        "committed": None if here.position is None else here.position.offset,
        "fingerprints": [_model(here, fingerprint) for fingerprint in here.fingerprints],
        "tombstones": here.tombstones,
    }
    if streams:
        value["streams"] = [_identity(stream) for stream in here.streams]
    return value


def _model(here: PartitionInventory, fingerprint: str) -> dict[str, Any]:
    stored = here.of(fingerprint)
    return {
        "fingerprint": fingerprint,
        "in_use": fingerprint == here.current,
        "replay_from": here.metadata.replay_from.get(fingerprint) if here.metadata is not None else None,
        "streams": sum(not stream.closed for stream in stored),
        "closed": sum(stream.closed for stream in stored),
        "bytes": sum(stream.stored_bytes for stream in stored),
    }


def _identity(stream: StoredStream) -> dict[str, Any]:
    return {
        "key": text_of(stream.key),
        "key_hex": stream.key.hex(),
        "fingerprint": stream.fingerprint,
        "offset": stream.offset,
        "timestamp": None if stream.timestamp < 0 else stream.timestamp,
        "closed": stream.closed,
    }


def lines(found: GroupInventory, *, streams: bool) -> Iterator[str]:
    """The lines that a person reads."""
    yield f"group {found.group}, input {found.input or 'unknown: nothing is committed'}, states in {found.state_topic}"
    yield f"members: {', '.join(found.members) or 'none'}"
    rows: list[tuple[str, ...]] = [COLUMNS]
    for here in found.partitions:
        committed = "nothing" if here.position is None else str(here.position.offset)
        if here.position is not None and here.metadata is None:
            committed += " (by another program)"
        models: list[dict[str, Any]] = [_model(here, name) for name in here.fingerprints] or [{}]
        for model in models:
            name = model.get("fingerprint", "-") + ("" if model.get("in_use", True) else " (not in use)")
            replay_from = model.get("replay_from")
            counts = (str(model.get(each, 0)) for each in ("streams", "closed", "bytes"))
            rows.append(
                (
                    str(here.partition),
                    committed,
                    name,
                    "-" if replay_from is None else str(replay_from),
                    *counts,
                    str(here.tombstones),
                )
            )
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    yield ""
    yield from ("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    if streams:
        yield ""
        for here in found.partitions:
            for stream in here.streams:
                state = "closed" if stream.closed else f"newest record {_time(stream.timestamp)}"
                yield (
                    f"{stream.partition}  {text_of(stream.key)}  offset {stream.offset}  {state}  {stream.fingerprint}"
                )


def stream_dict(stream: StoredStream, now_ms: int, values: Mapping[str, Any]) -> dict[str, Any]:
    """For ``--json``; ``values`` are the states by name, if the bundle is known."""
    return {
        **_identity(stream),
        "partition": stream.partition,
        "age_s": None if stream.timestamp < 0 else (now_ms - stream.timestamp) / 1000,
        "bytes": stream.stored_bytes,
        "states": {
            name: {"dtype": str(value.dtype), "shape": list(value.shape), "values": value.tolist()}
            for name, value in values.items()
        },
    }


def stream_lines(stream: StoredStream, now_ms: int, values: Mapping[str, Any]) -> Iterator[str]:
    """One stream for a person."""
    yield f"stream {text_of(stream.key)}, partition {stream.partition}, fingerprint {stream.fingerprint}"
    if stream.closed:
        yield f"  closed: its records up to offset {stream.offset} are over, it begins anew with the next"
        return
    yield f"  offset         {stream.offset}"
    age = "" if stream.timestamp < 0 else f", {_age((now_ms - stream.timestamp) / 1000)} ago"
    yield f"  newest record  {_time(stream.timestamp)}{age}"
    yield f"  bytes          {stream.stored_bytes}"
    for name, value in values.items():
        span = f"  {value.min():.4g} to {value.max():.4g}, mean {value.mean():.4g}" if value.size else ""
        yield f"  {name}  {value.dtype}{list(value.shape)}{span}"


def text_of(key: bytes) -> str:
    """A key as text; bytes that are none are written as escapes."""
    return key.decode("utf-8", "backslashreplace")


def _time(timestamp: int) -> str:
    if timestamp < 0:
        return "of unknown time"
    return datetime.fromtimestamp(timestamp / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _age(seconds: float) -> str:
    unit_s, unit = next((size, name) for size, name in AGES if abs(seconds) >= size)
    return f"{seconds / (unit_s or 1.0):.1f} {unit}"
