"""Asks the daemon's HTTP port from within its container: ``python3 -m deploy.device.http GET 9464 /readyz``.

Prints the status on a line, then the body. Exit status 0 where the daemon answers 200 to 299; it
is what the container's health check runs, so it imports nothing but `http.client`.
"""

from __future__ import annotations

import http.client
import sys


def main(arguments: list[str]) -> int:
    """Send one request to the loopback interface and print what comes back."""
    if len(arguments) != 3 or arguments[0] not in ("GET", "POST") or not arguments[1].isdigit():
        sys.stderr.write("usage: python3 -m deploy.device.http GET|POST PORT PATH\n")
        return 2
    method, port, path = arguments
    timeout_s = 60.0 if method == "POST" else 10.0
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=timeout_s)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        sys.stderr.write(f"no answer on port {port}: {error}\n")
        return 1
    finally:
        connection.close()
    sys.stdout.write(f"{answer.status}\n")
    sys.stdout.flush()
    sys.stdout.buffer.write(body)
    return 0 if 200 <= answer.status < 300 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
