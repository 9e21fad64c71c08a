"""Pulls a bundle on a device: ``python3 -m deploy.registry.fetch REPOSITORY DIGEST TARGET [--insecure]``.

A registry's login file comes by standard input, if at all. Prints how many bytes went over the wire.
"""

from __future__ import annotations

import sys
from pathlib import Path

from deploy.registry.artifact import pull_bundle
from deploy.registry.client import Registry, login_for
from edge_rnn.contract.errors import EdgeRnnError


def main(arguments: list[str]) -> int:
    """Fetch one bundle; exit status 1 with one line where it cannot be had."""
    insecure = "--insecure" in arguments
    words = [word for word in arguments if word and word != "--insecure"]
    if len(words) != 3:
        sys.stderr.write("usage: python3 -m deploy.registry.fetch REPOSITORY DIGEST TARGET [--insecure]\n")
        return 2
    repository, digest, target = words
    try:
        login = login_for(sys.stdin.buffer.read(), repository.partition("/")[0])
        wire = pull_bundle(Registry(repository, login, insecure), digest, Path(target), seed=Path(target).parent)
    except (EdgeRnnError, OSError) as error:
        sys.stderr.write(f"edge-rnn: {error}\n")
        return 1
    sys.stdout.write(f"wire_bytes={wire}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
