"""Asks the daemon's HTTP port from within its container: ``python3 -m deploy.device.http GET 9464 /readyz``.

Prints the status on a line, then the body. Exit status 0 where the daemon answers 200 to 299; it
is what the container's health check runs, so it imports little. With ``--once-closed PORT`` it asks for
PATH/prepare, which a daemon may refuse or not know, prints ``waiting``, and asks for PATH as soon as
nothing listens on that port any more: a daemon closes its port when all is committed and its clients are
closed. Where nothing listens to begin with, it prints ``closed`` and does not ask: a daemon that starts
has not opened its port yet.
"""

from __future__ import annotations

import http.client
import socket
import sys
import time

CLOSED_S = 45.0
"""How long a port may stay open: as long as a daemon may take to stop."""

LOOK_S = 0.005
ANSWER_S = 0.05
"""A connection that is neither taken nor refused by then is of a daemon that is busy. A longer wait would be one for
the next try of the kernel, a second later, by which the port may long be closed."""


def main(arguments: list[str]) -> int:
    """Send one request to the loopback interface and print what comes back."""
    words = arguments[:3]
    closing = arguments[4] if len(arguments) == 5 and arguments[3] == "--once-closed" else ""
    if len(words) != 3 or words[0] not in ("GET", "POST") or not all(map(str.isdigit, [words[1], *closing.split()])):
        return _usage()
    if len(arguments) != 3 and not closing:
        return _usage()
    if closing:
        if not is_open(int(closing)):
            sys.stdout.write("closed\n")
            return 0
        if ask("POST", int(words[1]), f"{words[2]}/prepare") is None:
            return 1
        sys.stdout.write("waiting\n")
        sys.stdout.flush()
        if not closed(int(closing), CLOSED_S):
            sys.stderr.write(f"port {closing} is still open after {CLOSED_S:g} s\n")
            return 1
    answer = ask(words[0], int(words[1]), words[2])
    if answer is None:
        return 1
    status, body = answer
    sys.stdout.write(f"{status}\n")
    sys.stdout.flush()
    sys.stdout.buffer.write(body)
    return 0 if 200 <= status < 300 else 1


def ask(method: str, port: int, path: str) -> tuple[int, bytes] | None:
    """The status and the body that are answered; ``None`` where nothing is, which is told."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60.0 if method == "POST" else 10.0)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException) as error:
        sys.stderr.write(f"no answer on port {port}: {error}\n")
        return None
    finally:
        connection.close()


def is_open(port: int) -> bool:
    """Whether something listens on a port of the loopback interface."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S).close()
    except ConnectionRefusedError:
        return False
    except OSError:  # a listener that is too busy to answer
        return True
    return True


def closed(port: int, within_s: float) -> bool:
    """Wait until a connection to a port of the loopback interface is refused; whether it was in time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not is_open(port):
            return True
        time.sleep(LOOK_S)
    return False


def _usage() -> int:
    sys.stderr.write("usage: python3 -m deploy.device.http GET|POST PORT PATH [--once-closed PORT]\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
