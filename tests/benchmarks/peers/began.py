"""Says when the first record came."""

from __future__ import annotations

import json
import time


class Began:
    """Call it with each poll's records: it prints once, when there are any."""

    def __init__(self) -> None:
        self._told = False

    def __call__(self, records: object) -> None:
        if records and not self._told:
            self._told = True
            print(json.dumps({"began": time.time()}), flush=True)
