"""What really goes over a wire: a relay on the loopback interface that counts bytes, headers and all."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType

PIECE = 1 << 16


class Wire:
    """Relays connections to a port of this machine; ``there`` and ``back`` are the bytes so far, each way."""

    def __init__(self, to: int) -> None:
        self._to = to
        self.there = self.back = 0
        self._mutex = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    @property
    def both(self) -> int:
        with self._mutex:
            return self.there + self.back

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=(near,), daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._to)) as far:
            back = threading.Thread(target=self._relay, args=(far, near, False), daemon=True)
            back.start()
            self._relay(near, far, True)
            back.join()

    def _relay(self, source: socket.socket, sink: socket.socket, there: bool) -> None:
        with contextlib.suppress(OSError):  # one side is gone; the other is told below
            while piece := source.recv(PIECE):
                with self._mutex:
                    if there:
                        self.there += len(piece)
                    else:
                        self.back += len(piece)
                sink.sendall(piece)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits there
        self._acceptor.join()
        self._listener.close()
