"""Several daemons on one machine, each a member of the group and a process of its own: one a core or so."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence

from edge_rnn.contract.errors import UsageError
from runtime.daemon.settings import RunSettings
from runtime.engines.cores import available_cores

log = logging.getLogger("edge_rnn.daemon")

LOOK_EVERY_S = 0.1


PARENT = "EDGE_RNN_WORKER_OF"
"""In a worker's environment: the process that started it."""


def end_with_parent(environment: Mapping[str, str] = os.environ) -> None:
    """In a worker: drain and end, as told by SIGTERM, when the process that started it is gone (SIGKILL tells nobody)."""
    parent = environment.get(PARENT)
    if parent is None:
        return

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(LOOK_EVERY_S)
        log.warning("the process that started this worker is gone")
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="edge-rnn-parent", daemon=True).start()


def check_workers(settings: RunSettings) -> None:
    """Raise `UsageError` where several workers cannot be."""
    if settings.workers < 1:
        raise UsageError(f"--workers is {settings.workers}, expected at least 1")
    if settings.workers > 1 and settings.broker.startswith("sqlite:"):
        raise UsageError("--workers is more than 1, but an embedded store has one daemon a group; use Kafka, or one")
    if settings.workers > 1 and settings.shadow is not None:
        raise UsageError("--workers is more than 1, but a shadow is one process; leave one of the two out")


def worker_arguments(settings: RunSettings, number: int, cores: int) -> list[str]:
    """What one worker's call has behind the call of all: its own name, port and share of the cores."""
    own = ["--workers", "1"]
    if settings.instance is not None:
        own += ["--instance", f"{settings.instance}-{number}"]
    if settings.threads is None:
        own += ["--threads", str(max(1, cores // settings.workers))]
    if settings.http is not None:
        host, _, port = settings.http.rpartition(":")
        if port.isdigit() and int(port):
            own += ["--http", f"{host}:{int(port) + number}"]
    return own


def run_workers(command: Sequence[str], settings: RunSettings, cores: int | None = None) -> int:
    """Run ``command`` as often as there are workers, until SIGTERM or SIGINT, or until one ends by itself.

    Then all are told to drain. Returns the exit status: 0 if all ended with it, else the first other one.
    """
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    workers: list[subprocess.Popen[bytes]] = []
    try:
        for number in range(settings.workers):
            own = worker_arguments(settings, number, cores or available_cores())
            # A group of its own: Ctrl-C on a terminal comes to all, and the workers are told once.
            environment = {**os.environ, PARENT: str(os.getpid())}
            workers.append(subprocess.Popen([*command, *own], start_new_session=True, env=environment))
        log.info("workers started", extra={"pids": [worker.pid for worker in workers]})
        while not stop.wait(LOOK_EVERY_S):
            ended = [number for number, worker in enumerate(workers) if worker.poll() is not None]
            if ended:
                log.warning("a worker ended by itself; the others are stopped", extra={"workers": ended})
                break
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.terminate()
        statuses = [worker.wait() for worker in workers]
        for number, handler in before.items():
            signal.signal(number, handler)
    return next((1 if status < 0 else status for status in statuses if status), 0)
