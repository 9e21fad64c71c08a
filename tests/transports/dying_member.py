"""A member that ends by SIGKILL with an epoch open: ``python -m tests.transports.dying_member SETTINGS_JSON``."""

from __future__ import annotations

import json
import os
import signal
import sys

from runtime.transports.protocol import MemberSettings
from tests.transports.places import new_member, numbered, records


def main(settings: MemberSettings, starts: dict[int, int]) -> None:
    member = new_member(settings).open().join().serve(starts)
    member.take(40)
    member.transport.send(records(numbered(40, "seen")), "output")
    member.transport.commit(member.positions("before the end"))
    member.take(40)
    member.transport.send(records(numbered(40, "never seen")), "output")
    member.transport.send(records([b"lost"], keys=[b"lost"], partitions=[0]), "state")
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    main(MemberSettings(**given["settings"]), {int(key): value for key, value in given["starts"].items()})
