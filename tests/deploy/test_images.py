"""Images for amd64 and arm64, built and run; a signed release brought to a device that boots, loses power, serves again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_rnn.contract.golden import load_golden
from runtime.core.batch import Outgoing
from runtime.transports.connect import open_broker
from tests.daemon.processes import wait_for
from tests.deploy.containers import Registry
from tests.deploy.imaging import MB, ServiceContainer, run_arm64, run_image
from tests.deploy.machines import Machine
from tests.deploy.town import Town
from tests.kafka.broker import free_port

pytestmark = pytest.mark.slow

CLOSE = 1e-5
"""Between the outputs of two machines."""

STORE = "sqlite:/var/lib/edge-rnn/store.sqlite"


def test_image_for_this_machine_verifies_its_bundle_read_only_and_not_as_root(built):
    image = built[0].images[0]
    done = run_image(image.id, "verify", "/bundle", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] == "passed"
    who = run_image(image.id, "-c", "import os; print(os.getuid())", entry=("--entrypoint", "python3"))
    assert who.stdout.strip() == "65532"
    denied = run_image(image.id, "-c", "open('/opt/x', 'w')", entry=("--entrypoint", "python3"))
    assert "Read-only file system" in denied.stderr


def test_daemon_in_a_container_gives_the_recorded_outputs_for_the_recorded_inputs(built, bundle, tmp_path):
    """Record by record through the embedded broker, whose file lies in the one place that it may write to."""
    golden = load_golden(bundle)
    (inputs,), outputs = golden.inputs, golden.record.outputs[0]
    steps, streams = inputs.shape[:2]
    settings = {"broker": STORE, "input": "in", "output": "out", "create-topics": True, "group": "g", "codec": "f32"}
    daemon = ServiceContainer(built[0].images[0].id, tmp_path, settings, free_port())
    try:
        daemon.start()
        daemon.wait_ready()
        broker = open_broker(f"sqlite:{daemon.state}/store.sqlite")
        broker.write(
            "in",
            Outgoing(
                np.zeros(steps * streams, np.int32),
                np.repeat(np.arange(steps), streams),
                [b"s%d" % stream for _ in range(steps) for stream in range(streams)],
                [inputs[step, stream].tobytes() for step in range(steps) for stream in range(streams)],
            ),
        )
        wait_for(lambda: len(broker.read("out")) >= steps * streams, lambda: daemon.log.read_text()[-2000:])
        assert daemon.stop() == 0
        found = broker.read("out")
        broker.close()
    finally:
        daemon.close()
    assert len(found) == steps * streams
    for stream in range(streams):
        values = [value or b"" for key, value in zip(found.keys, found.values, strict=True) if key == b"s%d" % stream]
        rows = np.stack([np.frombuffer(value, "<f4") for value in values])
        assert np.abs(rows - outputs[:, stream]).max() <= CLOSE


def test_image_for_arm64_verifies_its_bundle_under_emulation(built):
    done = run_arm64(built[0].images[1].id, "verify", "/bundle", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["verdict"] == "passed"
    assert "aarch64" in json.dumps(report["gates"])


def test_image_sets_no_telemetry_and_names_base_bundle_lock_and_revision(engine, built, bundle):
    for image in built[0].images:
        config = json.loads(engine.call("image", "inspect", image.id).stdout)[0]
        assert "ORT_DISABLE_TELEMETRY=1" in config["Config"]["Env"]
        assert config["Config"]["User"] == "65532:65532"
        labels = config["Labels"]
        assert labels["edge-rnn.bundle"] == f"{bundle.manifest.name}@sha256:{bundle.digest}"
        assert labels["org.opencontainers.image.base.digest"] == image.base_digest
        assert labels["org.opencontainers.image.revision"]
        assert labels["edge-rnn.lock"].startswith("sha256:")
        assert config["Architecture"] == image.arch


def test_list_of_parts_names_the_packages_the_base_and_the_bundle(built, bundle):
    for arch in ("amd64", "arm64"):
        parts = json.loads((built[1] / f"cpu-{arch}" / "sbom.cdx.json").read_text())
        assert (parts["bomFormat"], parts["specVersion"]) == ("CycloneDX", "1.6")
        urls = {part.get("purl", "").partition("@")[0] for part in parts["components"]}
        assert {"pkg:pypi/onnxruntime", "pkg:pypi/numpy", "pkg:pypi/kafka-python"} <= urls
        assert any(part["type"] == "machine-learning-model" for part in parts["components"])
        assert f"bundle:{bundle.digest}" in {part["bom-ref"] for part in parts["components"]}


def test_everything_that_a_daemon_imports_is_compiled_in_the_image(built):
    """A root file system that is read-only keeps no bytecode: what has none would be compiled at each start."""
    program = (
        "import sys, os, runtime.daemon.lifecycle, edge_rnn.cli.run, runtime.transports.kafka_python, onnxruntime\n"
        "files = [getattr(module, '__cached__', None) for module in list(sys.modules.values())]\n"
        "files = [file for file in files if file and 'sitecustomize' not in file]  # a link into /etc\n"
        "print('\\n'.join(file for file in files if not os.path.exists(file)))"
    )
    done = run_image(built[0].images[0].id, "-c", program, entry=("--entrypoint", "python3"))
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr


def test_image_is_at_most_160_mb_compressed(pushed):
    for image in pushed.images:
        print(f"\n{image.target}/{image.arch}: {image.bytes / MB:.1f} MB compressed")
        assert image.bytes <= 160 * MB


@pytest.fixture(scope="module")
def town(containers: None, registry: Registry, disk: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    machine = Machine("b0", disk)
    try:
        yield Town(tmp_path_factory.mktemp("town"), [machine], registry, STORE)
    finally:
        machine.close()


SAY = """
import json, time
import numpy as np
from runtime.core.batch import Outgoing
from runtime.transports.connect import open_broker
broker = open_broker({store!r})
before = len(broker.read("out-b0"))
broker.write("in-b0", Outgoing(np.zeros(5, np.int32), np.arange(5), [b"s"] * 5, [json.dumps([1, 2, 3]).encode()] * 5))
end = time.monotonic() + 60
while len(broker.read("out-b0")) < before + 5 and time.monotonic() < end:
    time.sleep(0.05)
print(before, len(broker.read("out-b0")))
"""
"""Five records in, and how many outputs there were before and are then; runs in the container that serves."""


@pytest.mark.timeout(580)
def test_signed_release_is_brought_to_a_device_whose_systemd_starts_it_again_after_a_power_cut(town):
    """An embedded broker; with Kafka, canaries and eight devices in make fleet."""
    (machine,) = town.machines
    town.deploy("up", town.release("first"))
    rows = town.rows()
    assert rows["b0"]["state"] == "ok"
    assert "b0: 0 5" in town.deploy("exec", "--", "python3", "-c", SAY.format(store=STORE))
    machine.cut_power()
    machine.power_on()
    wait_for(lambda: town.rows()["b0"]["state"] == "ok", "the daemon serves again", every_s=0.5)
    assert town.rows()["b0"]["release"] == rows["b0"]["release"]
    assert "b0: 5 10" in town.deploy("exec", "--", "python3", "-c", SAY.format(store=STORE))
    units = machine.inside("systemctl", "is-active", "edge-rnn-activity-a.service")
    assert units.strip() == "active"
