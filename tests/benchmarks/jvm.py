"""The peers on the JVM: built by Maven into ``.cache/jvm-peers`` (``EDGE_RNN_JVM_PEERS`` names another folder)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
POM = Path(__file__).with_name("jvm") / "pom.xml"
BUILD = Path(os.environ.get("EDGE_RNN_JVM_PEERS", ROOT / ".cache" / "jvm-peers"))
JVM_PEERS = {"flink-eos": "FlinkPeer", "streams-eos": "StreamsPeer"}

OPTIONS = (
    "-Xmx2g",
    "--add-opens=java.base/java.util=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
)


def build() -> None:
    """Fetch and compile them. Raises ``RuntimeError`` with Maven's words."""
    maven = shutil.which("mvn")
    if maven is None:
        raise RuntimeError("Maven is not installed; the peers on the JVM need it")
    done = subprocess.run(
        [maven, "-q", "-B", "-f", str(POM), "package", f"-Dpeers.build={BUILD}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"Maven could not build the peers: {(done.stdout + done.stderr).strip()[-1000:]}")


def jvm_command(peer: str, arguments: Sequence[str]) -> list[str]:
    """The command line of a peer that was built."""
    jars = [str(BUILD / "classes"), *sorted(str(jar) for jar in (BUILD / "lib").glob("*.jar"))]
    return ["java", *OPTIONS, "-cp", os.pathsep.join(jars), JVM_PEERS[peer], *arguments]


if __name__ == "__main__":
    sys.exit(build())
