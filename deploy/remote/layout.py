"""Where things lie on a device. Two slots hold two releases; one link says which of them serves.

::

    ROOT/APP/                 owned by root
        active                -> slots/a or slots/b: the slot that serves, also after a power cut
        slots/a, slots/b      release.json, its signature, config.toml, image (the reference), bundle -> ../../bundles/HEX
        bundles/HEX           bundles pulled alone, by the digest of their manifest
        state/                the one place that the container may write to
        lock                  who is deploying
        audit.jsonl           who did what, when, which release
        verify                refuses a slot whose release is not signed
    /etc/edge-rnn/APP.pub     the key of releases; once it is there, nothing else runs
    /run/edge-rnn/            gone after a reboot: APP-a.env makes slot a a shadow
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Slot = Literal["a", "b"]
SLOTS: tuple[Slot, Slot] = ("a", "b")

UNITS = "/etc/systemd/system"
QUADLETS = "/etc/containers/systemd"
RUN = "/run/edge-rnn"
ETC = "/etc/edge-rnn"

CONTAINER_USER = 65532
"""User and group of the daemon in its container."""


def loaded_name(app: str) -> str:
    """What images that came over ssh are called on a device, beside their digest: so that they are found again."""
    return f"localhost/edge-rnn/{app}"


def other(slot: Slot) -> Slot:
    """The other one of the two slots."""
    return "b" if slot == "a" else "a"


@dataclass(frozen=True)
class Layout:
    """Paths of one application on a device."""

    app: str
    root: str = "/var/lib/edge-rnn"

    @property
    def base(self) -> str:
        """Everything of this application."""
        return f"{self.root}/{self.app}"

    @property
    def active(self) -> str:
        """The link that names the slot that serves."""
        return f"{self.base}/active"

    @property
    def state(self) -> str:
        """What the daemon may write to."""
        return f"{self.base}/state"

    @property
    def lock(self) -> str:
        """Who deploys: a file that is linked into place."""
        return f"{self.base}/lock"

    @property
    def audit(self) -> str:
        """One JSON object a line."""
        return f"{self.base}/audit.jsonl"

    @property
    def verifier(self) -> str:
        """The script that refuses what is not signed."""
        return f"{self.base}/verify"

    @property
    def key(self) -> str:
        """The public key of releases."""
        return f"{ETC}/{self.app}.pub"

    def bundle(self, digest: str) -> str:
        """A bundle pulled alone, by its manifest's digest."""
        return f"{self.base}/bundles/{digest.removeprefix('sha256:')}"

    def slot(self, slot: Slot) -> str:
        """A slot's directory."""
        return f"{self.base}/slots/{slot}"

    def unit(self, slot: Slot) -> str:
        """Name of a slot's service, without ``.service``."""
        return f"edge-rnn-{self.app}-{slot}"

    def marker(self, slot: Slot) -> str:
        """Environment of a slot that shadows; not there: it serves."""
        return f"{RUN}/{self.app}-{slot}.env"
