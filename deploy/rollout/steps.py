"""The steps of one device, from its lock to a daemon that serves; each may be repeated after any failure."""

from __future__ import annotations

import json

import msgspec

from deploy.fleet.inventory import Device
from deploy.fleet.settings import run_settings, secret_values, shadow_settings, to_toml
from deploy.release.release import ImageRef, image_name
from deploy.remote import change as changes
from deploy.remote import delivery, looking, traffic
from deploy.remote.command import Command, Result
from deploy.remote.executor import checked
from deploy.remote.layout import CONTAINER_USER, QUADLETS, UNITS, Slot, other
from deploy.remote.units import SERVES, SHADOWS, Service, quadlet_text, service_text
from deploy.rollout.gates import Measured, enough, judge_daemon, judge_shadow, read_metrics, read_shadow
from deploy.rollout.observed import Observed, read_observed
from deploy.rollout.preflight import Facts, brokers_of, read_facts
from deploy.rollout.site import Shipment, Site
from edge_rnn.contract.errors import DeployError, DeviceFailed, DeviceLocked, GateFailed, UsageError


class Steps:
    """What is done on one device. Methods raise `DeviceUnreachable`, `DeviceFailed`, `DeviceLocked`, `GateFailed`."""

    def __init__(self, site: Site, device: Device, facts: Facts | None = None) -> None:
        self.site = site
        self.device = device
        self._facts = facts
        self.before: Measured | None = None

    # -- asking -------------------------------------------------------------------------------------------------------

    def probe(self, shipment: Shipment | None = None) -> Facts:
        """Ask for all that a preflight judges; with a release, whether its image is there."""
        run = run_settings(self.site.app, self.device, 0)
        image = ""
        if shipment is not None:
            image = self.image_name(shipment.release.image_for(self.device.accelerator, self.device.arch))
        command = looking.probe(self.site.layout(self.device), self.device.engine, brokers_of(run), image)
        self._facts = read_facts(self._do(command).text)
        return self._facts

    @property
    def facts(self) -> Facts:
        """What the device said of itself, asked once."""
        return self._facts if self._facts is not None else self.probe()

    @property
    def engine(self) -> str:
        """``podman`` or ``docker``, as found there."""
        return self.facts.engine or "podman"

    def look(self) -> Observed:
        """What runs there now: one command."""
        layout, engine = self.site.layout(self.device), self.device.engine if self._facts is None else self.engine
        return read_observed(self._do(looking.look(layout, engine, self.site.port(self.device, "a"))).text)

    # -- changing -----------------------------------------------------------------------------------------------------

    def lock(self) -> None:
        """Take the device for this operator. Raises `DeviceLocked` naming who has it."""
        holder = json.dumps({"who": self.site.who, "since": self.site.stamp(), "rollout": self.site.rollout})
        layout, site = self.site.layout(self.device), self.site
        command = changes.acquire_lock(layout, site.journal.token, holder, site.rollout)
        result = self.site.executor.run(self.device, command)
        if result.status == changes.LOCKED:
            raise DeviceLocked(
                f"{self.device.name} is locked by {result.text.strip()}; wait, or if that died: edge-rnn deploy unlock"
            )
        if result.status:
            raise DeviceFailed(f"{self.device.name}: lock failed: {result.reason}")

    def unlock(self) -> None:
        """Give the lock back."""
        self._do(changes.release_lock(self.site.layout(self.device), self.site.rollout))

    def settle(self) -> None:
        """Bring what was left half done to where ``active`` says."""
        self._do(traffic.settle(self._change()))

    def deliver(self, shipment: Shipment, slot: Slot) -> None:
        """Bring image, bundle, configuration and unit into a slot; nothing of what serves is touched."""
        image = shipment.release.image_for(self.device.accelerator, self.device.arch)
        name, change = self.image_name(image), self._change(shipment.id)
        if shipment.key_pem is not None:
            self._do(delivery.put_key(change, shipment.key_pem))
        self._do(delivery.prepare(change))
        self._do(delivery.empty_slot(change, slot))
        self._bring_image(shipment, image, name)
        bundle = None if image.holds_bundle else self._bring_bundle(shipment, name)
        layout = self.site.layout(self.device)
        folder = layout.slot(slot)
        files: list[tuple[str, bytes]] = [("release.json", shipment.data)]
        if shipment.signature is not None:
            files += [("release.dsse", shipment.signature.dsse), ("release.sig.der", shipment.signature.der)]
        for file, content in files:
            self._do(delivery.put(change, file, f"{folder}/{file}", content))
        for file, content in self._configurations(slot):
            self._do(delivery.put(change, file, f"{folder}/{file}", content, "640", CONTAINER_USER))
        if shipment.key_pem is not None:
            self._do(delivery.put(change, "verifier", layout.verifier, delivery.VERIFIER.encode(), "755"))
        self._do(delivery.fill_slot(change, slot, name, shipment.id, bundle))
        if shipment.key_pem is not None:
            self._do(delivery.verify_slot(layout, slot, name))
        self._install_unit(shipment, slot, name, bundle)

    def image_name(self, image: ImageRef) -> str:
        """The reference, by digest, by which this device knows an image."""
        repository = self.site.app.repository if self.device.pull == "registry" else None
        return image_name(repository, image) if repository else image.config

    def _bring_image(self, shipment: Shipment, image: ImageRef, name: str) -> None:
        change, app = self._change(shipment.id), self.site.app
        if self.device.pull == "registry":
            command = delivery.pull_image(
                change, self.engine, name, insecure=app.insecure_registry, auth=shipment.login
            )
        elif shipment.archive is None:
            raise UsageError(f"{self.device.name} is served over ssh, but there is no archive of its image")
        elif not self.site.executor.run(self.device, looking.has_image(self.engine, name)).status:
            return  # all of it would go over the wire, only to be thrown away there
        else:
            command = delivery.load_image(change, self.engine, name, shipment.archive(image))
        self._do(command)

    def _bring_bundle(self, shipment: Shipment, image: str) -> str:
        change, release, app = self._change(shipment.id), shipment.release, self.site.app
        if self.device.pull == "registry" and app.repository is not None:
            ref = release.bundle
            self._do(
                delivery.pull_bundle(
                    *(change, self.engine, image, app.repository, ref.artifact, ref.digest),
                    insecure=app.insecure_registry,
                    auth=shipment.login,
                )
            )
        elif shipment.bundle_tar is None:
            raise UsageError(f"{self.device.name} is served over ssh, but there is no archive of the bundle")
        else:
            self._do(delivery.put_bundle(change, release.bundle.digest, shipment.bundle_tar()))
        return self.site.layout(self.device).bundle(release.bundle.digest)

    def _configurations(self, slot: Slot) -> list[tuple[str, bytes]]:
        app, device = self.site.app, self.device
        settings = run_settings(
            app, device, self.site.port(self.device, slot), secret_values(app, device, self.site.resolve)
        )
        shadow = shadow_settings(settings, self.site.fleet.gates.tolerance)
        return [(SERVES, to_toml(settings).encode()), (SHADOWS, to_toml(shadow).encode())]

    def _install_unit(self, shipment: Shipment, slot: Slot, image: str, bundle: str | None) -> None:
        layout = self.site.layout(self.device)
        service = Service(
            layout=layout,
            slot=slot,
            image=image,
            engine="docker" if self.engine == "docker" else "podman",
            port=self.site.port(self.device, slot),
            memory=self.site.app.memory,
            bundle=bundle,
            signed=shipment.key_pem is not None,
            accelerator=self.device.accelerator,
            engine_path=self.facts.engine_path,
        )
        unit, quadlet = f"{UNITS}/{service.name}.service", f"{QUADLETS}/{service.name}.container"
        path, stale = (quadlet, unit) if self.facts.quadlet else (unit, quadlet)
        text = quadlet_text(service) if self.facts.quadlet else service_text(service)
        enable = not self.facts.quadlet
        self._do(delivery.install_unit(self._change(shipment.id), slot, text, path, stale, enable=enable))

    # -- gates --------------------------------------------------------------------------------------------------------

    def golden(self, shipment: Shipment) -> None:
        """The recorded run of the bundle, on this device, in the image that will serve. Raises `GateFailed`."""
        image = shipment.release.image_for(self.device.accelerator, self.device.arch)
        bundle = None if image.holds_bundle else self.site.layout(self.device).bundle(shipment.release.bundle.digest)
        result = self.site.executor.run(self.device, delivery.golden(self.engine, self.image_name(image), bundle))
        try:
            verdict = msgspec.json.decode(result.stdout).get("verdict")
        except (msgspec.DecodeError, AttributeError):
            verdict = None
        if result.status or verdict != "passed":
            raise GateFailed(f"{self.device.name}: golden vectors did not pass there: {result.reason}")

    def shadow(self, slot: Slot, release: str) -> None:
        """Run a slot beside the daemon in place until it has been compared enough. Raises `GateFailed`."""
        gates, clock = self.site.fleet.gates, self.site.clock
        self._do(traffic.start_shadow(self._change(release), slot))
        deadline = clock.now() + gates.within_s
        body = self._wait_answer(slot, "/shadow", gates.ready_s)
        while not enough(gates, read_shadow(body)) and clock.now() < deadline:
            clock.sleep(self.site.poll_s)
            body = self._wait_answer(slot, "/shadow", gates.ready_s)
        self.before = self._measure(other(slot))
        problems = judge_shadow(gates, read_shadow(body), self.before)
        if problems:
            raise GateFailed(f"{self.device.name}: the shadow is not promoted: {'; '.join(problems)}")

    def promote(self, slot: Slot, release: str) -> None:
        """The shadow becomes the daemon."""
        ports = self.site.port(self.device, slot), self.site.port(self.device, other(slot))
        self._do(traffic.promote(self._change(release), self.engine, slot, *ports))

    def swap(self, slot: Slot, release: str, *, first: bool) -> None:
        """Stop the daemon in place, if any, and start the other slot."""
        self.before = None if first else self._measure(other(slot))
        self._do(traffic.swap(self._change(release), slot, first=first))

    def wait_ready(self, slot: Slot) -> None:
        """Wait until a slot's daemon serves its partitions. Raises `GateFailed`."""
        self._wait_answer(slot, "/readyz", self.site.fleet.gates.ready_s)

    def serves(self, slot: Slot) -> bool:
        """Whether a slot's daemon serves, or comes to within the time that one may take to start."""
        try:
            self.wait_ready(slot)
        except GateFailed:
            return False
        return True

    def check_health(self, slot: Slot, *, last: bool = False) -> None:
        """One look at a daemon that took over; ``last``: also at its lag and its times. Raises `GateFailed`."""
        result = self._ask(slot, "/readyz")
        if result.status:
            raise GateFailed(
                f"{self.device.name}: the daemon that took over is not ready any more: {self._why(result)}"
            )
        measured = self._measure(slot)
        if last and measured is not None:
            problems = judge_daemon(self.site.fleet.gates, measured, self.before)
            if problems:
                raise GateFailed(f"{self.device.name}: {'; '.join(problems)}")

    def go_back(self, slot: Slot, release: str) -> None:
        """The slot that served before serves again."""
        self._do(traffic.go_back(self._change(release), slot))
        self.wait_ready(slot)

    def withdraw(self) -> None:
        """Nothing serves any more: what was there before was nothing."""
        self._do(traffic.withdraw(self._change()))

    def stop_shadow(self, slot: Slot, release: str) -> None:
        """End a shadow that is not promoted."""
        self._do(traffic.stop_shadow(self._change(release), slot))

    # -- small ones ---------------------------------------------------------------------------------------------------

    def _ask(self, slot: Slot, path: str) -> Result:
        container = self.site.layout(self.device).unit(slot)
        return self.site.executor.run(
            self.device, looking.ask(self.engine, container, self.site.port(self.device, slot), path)
        )

    def _wait_answer(self, slot: Slot, path: str, within_s: float) -> str:
        """The body of the first answer with status 200. Raises `GateFailed`."""
        clock = self.site.clock
        deadline = clock.now() + within_s
        while True:
            result = self._ask(slot, path)
            if not result.status:
                return result.text.partition("\n")[2]
            if clock.now() >= deadline:
                raise GateFailed(
                    f"{self.device.name}: no {path} of slot {slot} within {within_s:g} s: {self._why(result)}"
                )
            clock.sleep(self.site.poll_s)

    def _why(self, result: Result) -> str:
        """What the daemon said last of a failure, else how the question ended."""
        logs = self.site.executor.run(self.device, looking.read_logs(self.site.layout(self.device), 60, "-5min")).text
        said = [line for line in logs.splitlines() if line.startswith("edge-rnn: ")]
        return f"{result.reason}; the daemon said: {said[-1].removeprefix('edge-rnn: ')}" if said else result.reason

    def _measure(self, slot: Slot) -> Measured | None:
        result = self._ask(slot, "/metrics")
        if result.status:
            return None
        try:
            return read_metrics(result.text.partition("\n")[2])
        except DeployError as error:
            raise DeviceFailed(f"{self.device.name}: {error}") from error

    def _change(self, release: str = "") -> changes.Change:
        return self.site.change(self.device, release)

    def _do(self, command: Command) -> Result:
        return checked(self.site.executor, self.device, command)
