"""What each field of an inventory may hold. Narrow on purpose: these values end up in paths, units and commands.

Quoting in `deploy.remote.command` does not rely on these patterns; a value that passes neither
reaches a shell as anything but one word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from edge_rnn.contract.errors import UsageError

NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
"""An application or a device: a DNS label, as unit and container names, hosts and Kubernetes take it."""

HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?|[0-9a-fA-F:]{2,45})")
USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
TOPIC = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")
PATH = re.compile(r"/(?!.*(?:^|/)\.\.(?:/|$))[A-Za-z0-9._/@+-]{1,200}")
REPOSITORY = re.compile(r"[a-z0-9.-]+(?::[0-9]{1,5})?(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)+")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?")
HOST_KEY = re.compile(r"(?:ssh-ed25519|ecdsa-sha2-nistp(?:256|384|521)|ssh-rsa) [A-Za-z0-9+/]+={0,2}")
HOST_PORT = re.compile(r"(?:\[[0-9a-fA-F:]{2,45}\]|[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?):[0-9]{1,5}")
DOTTED = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
MEMORY = re.compile(r"[1-9][0-9]{0,6}[mg]")

EXPECTED: Mapping[re.Pattern[str], str] = {
    NAME: "lower-case letters, digits and hyphens, 63 at most",
    HOST: "a host name or an address",
    USER: "a user name",
    TOPIC: "a topic: letters, digits, dot, underscore and hyphen, 249 at most",
    PATH: "an absolute path of letters, digits and . _ / @ + - without ..",
    REPOSITORY: "a repository such as registry.example:5000/edge-rnn",
    DIGEST: "sha256: and 64 hexadecimal digits",
    LABEL: "letters, digits and . _ / -, 63 at most",
    HOST_KEY: "a public host key such as 'ssh-ed25519 AAAA...' (ssh-keyscan prints it)",
    HOST_PORT: "HOST:PORT",
    DOTTED: "names joined by dots",
    VARIABLE: "the name of an environment variable",
    MEMORY: "a size such as 512m or 2g",
}


def check_field(value: str, pattern: re.Pattern[str], where: str) -> str:
    """The value itself. Raises `UsageError` naming ``where``, what was found and what was expected."""
    if not pattern.fullmatch(value):
        raise UsageError(f"{where} is {value!r}, expected {EXPECTED[pattern]}")
    return value
