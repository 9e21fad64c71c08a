"""Structured logs on standard error: one JSON object a line, or text for a person."""

from __future__ import annotations

import json
import logging
import sys
import time

SPARSE_S = 10.0
"""How often the same message of a client may come."""

_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure_logs(style: str, level: str) -> None:
    """Log in ``style`` (``json`` or ``text``) from ``level`` on; fields come from each call's ``extra``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    handler.addFilter(Sparse("kafka"))
    handler.addFilter(Sparse("edge_rnn.transport"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("edge_rnn").setLevel(level.upper())


class Sparse(logging.Filter):
    """Lets each of a logger's messages through once in `SPARSE_S`: a broker that is away is said, not shouted."""

    def __init__(self, logger: str) -> None:
        super().__init__()
        self._logger = logger
        self._next: dict[object, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log this one. Messages that differ in their fields only count as the same."""
        if not f"{record.name}.".startswith(f"{self._logger}."):
            return True
        place = (record.name, record.levelno, record.pathname, record.lineno)
        if record.created < self._next.get(place, 0.0):
            return False
        self._next[place] = record.created + SPARSE_S
        return True


class JsonFormatter(logging.Formatter):
    """``{"time": ..., "level": ..., "logger": ..., "event": ..., field: value ...}``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON; time is UTC in ISO 8601 with milliseconds."""
        value = {
            "time": _utc(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            value["exception"] = self.formatException(record.exc_info)
        return json.dumps(value, default=str)


class TextFormatter(logging.Formatter):
    """``time level event field=value ...``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, but for an exception's traceback."""
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        text = f"{_utc(record.created)} {record.levelname.lower():7} {record.getMessage()}{fields}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _utc(created: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(created)) + f".{int(created % 1 * 1000):03d}Z"
