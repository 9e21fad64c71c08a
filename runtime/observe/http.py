"""``/metrics``, ``/healthz`` and ``/readyz`` over HTTP, for Prometheus and for an orchestrator's probes."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from edge_rnn.contract.errors import UsageError
from runtime.observe.metrics import Metrics

Check = Callable[[], str | None]
"""Says what is wrong, or ``None`` when all is well."""


class ObserveServer:
    """Serves in a thread of its own until closed. ``port`` is the one really bound."""

    def __init__(
        self,
        address: str,
        metrics: Metrics,
        healthy: Check,
        ready: Check,
        report: Callable[[], Mapping[str, object]] | None = None,
    ) -> None:
        """``address`` is ``HOST:PORT`` or ``:PORT`` (all interfaces); port 0 takes a free one. Raises `UsageError`.

        ``report`` is what ``/shadow`` gives, as JSON, where there is a shadow.
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

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                route = routes.get(self.path.partition("?")[0])
                status, kind, body = route() if route else (404, "text/plain", b"known are " + known + b"\n")
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
        """Stop serving and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _verdict(problem: str | None) -> tuple[int, str, bytes]:
    return (200, "text/plain", b"ok\n") if problem is None else (503, "text/plain", problem.encode() + b"\n")
