"""``/metrics``, ``/healthz`` and ``/readyz`` over HTTP, for Prometheus and for an orchestrator's probes.

Anyone who reaches the port may read. A ``POST`` changes what runs, so it is this machine's alone: from a
loopback address, to one by name or number, and neither sent by a web page nor passed on by a proxy.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
import threading
from collections.abc import Callable, Mapping
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType

from edge_rnn.contract.errors import UsageError
from runtime.observe.metrics import Metrics

Check = Callable[[], str | None]
"""Says what is wrong, or ``None`` when all is well."""

PASSED_ON = ("Origin", "Forwarded", "X-Forwarded-For", "Via")
"""Headers of a request that a page in a browser made, or that came through a proxy."""

ANSWER_S = 2.0
"""How long an end waits for an answer that is being written."""


class ObserveServer:
    """Serves in a thread of its own until closed. ``port`` is the one really bound."""

    def __init__(
        self,
        address: str,
        metrics: Metrics,
        healthy: Check,
        ready: Check,
        report: Callable[[], Mapping[str, object]] | None = None,
        posts: Mapping[str, Callable[[], tuple[int, Mapping[str, object]]]] = MappingProxyType({}),
    ) -> None:
        """``address`` is ``HOST:PORT`` or ``:PORT`` (all interfaces); port 0 takes a free one. Raises `UsageError`.

        ``report`` is what ``/shadow`` gives, as JSON, where there is a shadow; ``posts``, by path, does what a ``POST``
        asks for, one at a time, and says the status and what to answer.
        """
        host, _, port = address.rpartition(":")
        routes: dict[str, Callable[[], tuple[int, str, bytes]]] = {
            "/metrics": lambda: (200, "text/plain; version=0.0.4; charset=utf-8", metrics.render()),
            "/healthz": lambda: _verdict(healthy()),
            "/readyz": lambda: _verdict(ready()),
        }
        if report is not None:
            routes["/shadow"] = lambda: (200, "application/json", json.dumps(report()).encode() + b"\n")
        known = ", ".join(routes).encode()
        posting = self._posting = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                route = routes.get(self.path.partition("?")[0])
                self._answer(*(route() if route else (404, "text/plain", b"known are " + known + b"\n")))

            def do_POST(self) -> None:
                with posting:
                    if self.path not in posts:
                        told = f"known are {', '.join(posts)}" if posts else "there is nothing to ask for"
                        self._answer(404, "text/plain", told.encode() + b"\n")
                    elif problem := _foreign(self.client_address[0], self.headers):
                        self._answer(403, "text/plain", problem.encode() + b"\n")
                    else:
                        status, said = posts[self.path]()
                        self._answer(status, "application/json", json.dumps(said).encode() + b"\n")

            def _answer(self, status: int, kind: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Probes come every few seconds: they are not logged."""

        try:
            self._server = ThreadingHTTPServer((host, int(port)), Handler)
        except (ValueError, OverflowError):
            raise UsageError(f"--http is {address!r}, expected HOST:PORT with a port from 0 to 65535") from None
        except OSError as error:
            raise UsageError(f"--http {address!r} cannot be served: {error}; give HOST:PORT that is free") from error
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="observe", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving and free the port, both at once; an answer to a ``POST`` is written first."""
        if self._posting.acquire(timeout=ANSWER_S):
            self._posting.release()
        with contextlib.suppress(OSError):
            self._server.socket.shutdown(socket.SHUT_RDWR)  # wakes the server, which looks for an end twice a second
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _foreign(client: str, headers: Message) -> str | None:
    """Why a request is not this machine's own; ``None``: it is."""
    if not _loopback(client):
        return f"asked from {client}, expected a loopback address"
    host = headers.get("Host", "")
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    if name != "localhost" and not _loopback(name.strip("[]")):
        return f"asked of host {host!r}, expected localhost or a loopback address"
    passed_on = [header for header in PASSED_ON if header in headers]
    return f"the request has a header {passed_on[0]}: it is not this machine's own" if passed_on else None


def _loopback(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback


def _verdict(problem: str | None) -> tuple[int, str, bytes]:
    return (200, "text/plain", b"ok\n") if problem is None else (503, "text/plain", problem.encode() + b"\n")
