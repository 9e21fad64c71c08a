"""One Apache Kafka broker on this machine, for tests, benchmarks and the demo.

``with RunningKafka() as kafka: kafka.bootstrap`` or, in the foreground until SIGTERM::

    python -m tests.kafka.broker --port 9092

Needs Java (17 or later) and, the first time, Maven: it fetches Kafka (54 MB) as `pom.xml` names it,
from wherever Maven is set up to fetch, into ``.cache/kafka`` (``EDGE_RNN_KAFKA_CACHE`` names another folder).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path
from types import TracebackType

POM = Path(__file__).with_name("pom.xml")
CACHE = Path(__file__).parents[2] / ".cache" / "kafka"

PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
num.partitions=1
auto.create.topics.enable=false
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
log.retention.ms=-1
"""
"""All else is the broker's default, ``group.initial.rebalance.delay.ms`` above all.

No retention: it goes by the records' own time, so recordings of last year would go within 30 s of the start.
"""

LOG4J = """
Configuration:
  status: ERROR
  Appenders:
    Console:
      name: stdout
      PatternLayout:
        pattern: "[%d] %p %m (%c)%n"
  Loggers:
    Root:
      level: WARN
      AppenderRef:
        - ref: stdout
"""


class KafkaUnavailable(Exception):
    """Why no broker can be started on this machine."""


def free_port() -> int:
    """A TCP port of the loopback interface that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def fetch_jars() -> Path:
    """The folder of Kafka's jars; fetched by Maven if not there. Raises `KafkaUnavailable`."""
    if shutil.which("java") is None:
        raise KafkaUnavailable("Java is not installed; install a JRE of version 17 or later")
    cache = Path(os.environ.get("EDGE_RNN_KAFKA_CACHE", CACHE))
    jars = cache.resolve() / "jars-4.1.1"  # to Maven a relative folder is one beside its pom
    if (jars / ".complete").exists():
        return jars
    maven = shutil.which("mvn")
    if maven is None:
        raise KafkaUnavailable(f"no Kafka in {jars} and Maven is not installed; install Maven, which fetches it")
    jars.mkdir(parents=True, exist_ok=True)
    fetch = subprocess.run(
        [
            *(maven, "-q", "-B", "-f", POM, "dependency:copy-dependencies"),
            *("-DincludeScope=runtime", f"-DoutputDirectory={jars}"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if fetch.returncode:
        raise KafkaUnavailable(f"Maven could not fetch Kafka: {(fetch.stdout + fetch.stderr).strip()[:500]}")
    (jars / ".complete").touch()
    return jars


class RunningKafka:
    """A broker and controller in one process, with a data folder that goes when it is closed.

    `kill` and `start` model a broker that goes away and comes back with its data, at the same port.
    """

    def __init__(self, port: int | None = None, folder: Path | None = None) -> None:
        self.port = port or free_port()
        self._jars = fetch_jars()
        self._own_folder = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="edge-rnn-kafka-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._format()
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def bootstrap(self) -> str:
        """``HOST:PORT``."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """Process id, or ``None``: not running."""
        return self._process.pid if self._process else None

    def _format(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "server.properties"
        config.write_text(
            PROPERTIES.format(port=self.port, controller_port=free_port(), data=(self.folder / "data").resolve())
        )
        (self.folder / "log4j2.yaml").write_text(LOG4J)
        if (self.folder / "data" / "meta.properties").exists():
            return
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")
        done = subprocess.run(
            [
                *self._java("kafka.tools.StorageTool", "-Xmx128m", "-XX:TieredStopAtLevel=1"),
                *("format", "--standalone", "-t", cluster, "-c", str(config)),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise KafkaUnavailable(f"Kafka could not format {self.folder}: {(done.stdout + done.stderr)[-500:]}")

    def _java(self, main: str, *options: str) -> list[str]:
        log4j = f"-Dlog4j2.configurationFile={self.folder / 'log4j2.yaml'}"
        return ["java", *options, log4j, "-cp", f"{self._jars}/*", main]

    def start(self, timeout_s: float = 60.0) -> None:
        """Start and wait until it answers. Raises `KafkaUnavailable`."""
        options = ("-Xmx1g", "-XX:+UseG1GC", "-Djava.awt.headless=true")
        with (self.folder / "kafka.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._java("kafka.Kafka", *options), str(self.folder / "server.properties")],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
        deadline = time.monotonic() + timeout_s
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = (self.folder / "kafka.log").read_text(errors="replace")[-800:]
                raise KafkaUnavailable(f"Kafka did not start on {self.bootstrap}: {tail}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        """Whether an ApiVersions request gets an answer."""
        header = struct.pack(">hhih4s", 18, 0, 1, 4, b"test")
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2.0) as connection:
                connection.sendall(struct.pack(">i", len(header)) + header)
                return len(connection.recv(4)) == 4
        except OSError:
            return False

    def kill(self) -> None:
        """End the process at once, as a power cut would; the data stay."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Shut down in good order; the data stay."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def close(self) -> None:
        """End the process and remove the data folder, unless it was given."""
        self.kill()
        if self._own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> RunningKafka:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def main() -> int:
    """Run a broker in the foreground until SIGTERM or Ctrl-C, or for the time of one command."""
    parser = argparse.ArgumentParser(prog="python -m tests.kafka.broker", description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, help="the port to listen on (default: a free one)")
    parser.add_argument("--folder", type=Path, help="keep the data here (default: a folder that goes at the end)")
    parser.add_argument("--fetch", action="store_true", help="only fetch Kafka into the cache")
    parser.add_argument("command", nargs="*", help="run this beside the broker; {broker} in it becomes HOST:PORT")
    options = parser.parse_args()
    try:
        if options.fetch:
            print(fetch_jars())
            return 0
        with RunningKafka(options.port, options.folder) as kafka, contextlib.suppress(BrokenPipeError):
            if options.command:
                words = [word.replace("{broker}", kafka.bootstrap) for word in options.command]
                return subprocess.run(words, check=False).returncode
            ended = threading.Event()
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: ended.set())
            print(kafka.bootstrap, flush=True)
            ended.wait()
            kafka.stop()
    except KafkaUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
