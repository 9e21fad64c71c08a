"""What asks the daemon within its container."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.kafka.broker import free_port

asked: list[str] = []


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.send_response(200 if self.path == "/promote" else 409)
            self.end_headers()
            self.wfile.write(b'{"seconds": 0.1}')

        def log_message(self, format: str, *args: object) -> None: ...

    asked.clear()
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def ask(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "deploy.device.http", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_question_waits_until_the_port_of_the_daemon_that_stops_is_closed(server):
    with socket.create_server(("127.0.0.1", 0)) as old:
        asking = ask("POST", str(server.server_port), "/promote", "--once-closed", str(old.getsockname()[1]))
        assert asking.stdout is not None
        assert asking.stdout.readline() == "waiting\n"
        old.accept()[0].close()  # it has looked, and the port was open
        assert asked == ["/promote/prepare"]  # which was refused, and is no reason not to go on
        assert asking.poll() is None
    said, error = asking.communicate(timeout=30)
    assert (asking.returncode, said, error) == (0, '200\n{"seconds": 0.1}', "")
    assert asked == ["/promote/prepare", "/promote"]


def test_nothing_is_waited_for_where_the_one_that_is_asked_does_not_answer():
    with socket.create_server(("127.0.0.1", 0)) as old:
        asking = ask("POST", str(free_port()), "/promote", "--once-closed", str(old.getsockname()[1]))
        said, error = asking.communicate(timeout=30)
    assert (asking.returncode, said) == (1, "")  # so the old daemon is not told to stop
    assert "no answer on port" in error


def test_answer_that_is_no_success_and_no_answer_fail(server):
    refused = ask("POST", str(server.server_port), "/other")
    assert refused.communicate(timeout=30)[0].startswith("409\n")
    assert refused.returncode == 1
    nobody = ask("GET", str(free_port()), "/readyz")
    assert "no answer on port" in nobody.communicate(timeout=30)[1]
    assert nobody.returncode == 1


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("GET", "x", "/"),
        ("PUT", "1", "/"),
        ("GET", "1", "/", "--once-closed"),
        ("GET", "1", "/", "--once-closed", "x"),
        ("GET", "1", "/", "--other", "1"),
    ],
)
def test_call_that_is_wrong_says_how(words):
    asking = ask(*words)
    assert "usage: " in asking.communicate(timeout=30)[1]
    assert asking.returncode == 2


def test_question_beside_a_port_that_was_never_open_is_not_asked(server):
    asking = ask("POST", str(server.server_port), "/promote", "--once-closed", str(free_port()))
    assert asking.communicate(timeout=30)[0] == "closed\n"
    assert asking.returncode == 0
    assert asked == []
