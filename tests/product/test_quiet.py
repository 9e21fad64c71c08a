"""Nothing phones home: a running daemon looks up, connects to and writes only what it was told to."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.core.batch import Outgoing
from tests.daemon.processes import DaemonProcess, wait_for

SHIM = r"""
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
static void note(const char *what, const char *who, int port) {
    FILE *file = fopen(getenv("QUIET_LOG"), "a");
    if (file) { fprintf(file, "%s %s %d\n", what, who, port); fclose(file); }
}
int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **out) {
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) = dlsym(RTLD_NEXT, "getaddrinfo");
    note("lookup", host ? host : "-", service ? atoi(service) : 0);
    return real(host, service, hints, out);
}
struct hostent *gethostbyname(const char *host) {
    struct hostent *(*real)(const char *) = dlsym(RTLD_NEXT, "gethostbyname");
    note("lookup", host, 0);
    return real(host);
}
int connect(int fd, const struct sockaddr *address, socklen_t size) {
    int (*real)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
    char text[64] = "?";
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)address;
        inet_ntop(AF_INET, &in->sin_addr, text, sizeof text);
        note("connect", text, ntohs(in->sin_port));
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)address;
        inet_ntop(AF_INET6, &in->sin6_addr, text, sizeof text);
        note("connect", text, ntohs(in->sin6_port));
    }
    return real(fd, address, size);
}
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that notes every look-up and connection of the process it is loaded into."""
    if shutil.which("gcc") is None:
        if os.environ.get("CI"):
            pytest.fail("gcc is needed to watch a process's connections")
        pytest.skip("no gcc to build the library that watches a process's connections")
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", "shim.so", "shim.c", "-ldl"], cwd=folder, check=True)
    return folder / "shim.so"


def watched(shim: Path, folder: Path) -> dict[str, str]:
    """The environment of a watched process whose home and caches are empty folders."""
    home = folder / "home"
    home.mkdir()
    unset = {name: "" for name in ("ORT_DISABLE_TELEMETRY",)}
    return {
        **unset,
        "LD_PRELOAD": str(shim),
        "QUIET_LOG": str(folder / "calls"),
        "HOME": str(home),
        "TMPDIR": str(home),
    } | {
        name: str(home / name.lower())
        for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")
    }


def calls(folder: Path) -> set[str]:
    file = folder / "calls"
    return set(file.read_text().splitlines()) if file.exists() else set()


def test_shim_notices_a_lookup_and_a_connection(shim, tmp_path):
    code = "import socket; s = socket.socket(); s.connect_ex(('127.0.0.1', 9)); socket.getaddrinfo('localhost', 80)"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, **watched(shim, tmp_path)}, check=True)
    assert calls(tmp_path) == {"connect 127.0.0.1 9", "lookup localhost 80"}


def test_daemon_on_the_embedded_transport_connects_to_nothing_and_leaves_no_file(shim, embedded, bundle, tmp_path):
    watch = tmp_path / "watch"
    watch.mkdir()
    embedded.feed([(0, b"a", b"\0" * 12)] * 5)
    daemon = DaemonProcess(embedded.arguments(bundle), tmp_path / "log", watched(shim, watch))
    try:
        wait_for(lambda: len(embedded.read()) == 5, f"outputs; {daemon.text()}")
        assert daemon.stop() == 0
    finally:
        daemon.close()
    assert calls(watch) == set()
    assert [path for path in (watch / "home").rglob("*") if path.is_file()] == []


@pytest.mark.kafka
@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_daemon_on_kafka_connects_to_its_broker_alone(client, shim, kafka_broker, bundle, tmp_path):
    from runtime.transports.connect import open_broker

    watch = tmp_path / "watch"
    watch.mkdir()
    port = kafka_broker.rpartition(":")[2]
    broker = open_broker(kafka_broker)
    topics = {role: f"quiet-{client}-{role}" for role in ("in", "out")}
    broker.create_topic(topics["in"], 1)
    import numpy as np

    broker.write(topics["in"], Outgoing(np.zeros(3, np.int32), np.full(3, -1), [b"a"] * 3, [b"\0" * 12] * 3))
    daemon = DaemonProcess(
        [
            *(str(bundle.path), "--input", topics["in"], "--output", topics["out"], "--create-topics"),
            *("--broker", kafka_broker, "--client", client, "--group", f"quiet-{client}", "--codec", "f32"),
            *("--state-dir", str(tmp_path / "state")),
        ],
        tmp_path / "log",
        watched(shim, watch),
    )
    try:
        wait_for(lambda: broker.partitions(topics["out"]) is not None, f"the output topic; {daemon.text()}")
        wait_for(lambda: len(broker.read(topics["out"])) == 3, f"outputs; {daemon.text()}")
        assert daemon.stop() == 0
    finally:
        daemon.close()
        broker.close()
    assert {line.rpartition(" ")[2] for line in calls(watch)} - {"0"} == {port}
    assert {line.split()[1] for line in calls(watch)} <= {"127.0.0.1", "::1", "-"}
    assert [path for path in (watch / "home").rglob("*") if path.is_file()] == []
