"""A member that ends by SIGKILL: ``python -m tests.transports.dying_member SETTINGS_JSON``.

With ``starts`` it serves from there and dies with an epoch open; without, it dies as soon as it has to give partitions up.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from runtime.transports.protocol import MemberSettings
from tests.transports.places import new_member, numbered, records


def die(_: object = None) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def give_up(settings: MemberSettings) -> None:
    member = new_member(settings).open().join()
    print("joined", flush=True)
    member.on_revoked = die
    member.until(lambda: False, "the end")


def main(settings: MemberSettings, starts: dict[int, int]) -> None:
    member = new_member(settings).open().join().serve(starts)
    member.take(40)
    member.transport.send(records(numbered(40, "seen")), "output")
    member.transport.commit(member.positions("before the end"))
    member.take(40)
    member.transport.send(records(numbered(40, "never seen")), "output")
    member.transport.send(records([b"lost"], keys=[b"lost"], partitions=[0]), "state")
    die()


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    if "starts" in given:
        main(MemberSettings(**given["settings"]), {int(key): value for key, value in given["starts"].items()})
    else:
        give_up(MemberSettings(**given["settings"]))
