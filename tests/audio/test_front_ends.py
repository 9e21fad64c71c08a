"""Front ends inside the step graph: what librosa hears of the same windows, within a stated tolerance."""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import onnx
import orjson
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from edge_rnn.cli.main import run
from edge_rnn.contract.bundle import open_bundle
from edge_rnn.contract.framing import parse_framing
from edge_rnn.contract.front_end import FrontEnd, parse_front_end
from edge_rnn.contract.stepgraph import first_states, open_step_graph
from edge_rnn.models.front_end import FrontEndModule
from exporters.foreign.model import Session
from exporters.frontends.nodes import with_front_end
from tests.audio.plain_vad import samples_of
from tests.audio.speech import make_speech
from tests.exporters.foreign.graphs import Tagger, tagger_file
from tests.exporters.foreign.plain import open_plain

RATE, HOP, CONTEXT = 16000, 160, 240
WINDOW = HOP + CONTEXT
FRAMING = f"hop={HOP},context={CONTEXT},rate={RATE}"
MFCC = "mfcc:bands=24,coefficients=5"

TOLERANCE = {"stft": 1e-6, "power": 1e-6, "log-mel": 2e-3, "mfcc": 2e-3}
"""Of the largest value for the first two, absolute for logarithms (natural); ten over ln 10 times that in decibels."""


def windows_of(samples: np.ndarray) -> np.ndarray:
    """float32[windows, WINDOW] as the framer cuts them."""
    padded = np.concatenate([np.zeros(CONTEXT, np.float32), samples])
    return np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]


def by_librosa(front: FrontEnd, windows: np.ndarray) -> np.ndarray:
    """The same in double precision: float64[windows, width]."""
    size = front.transformed
    frames = librosa.util.pad_center(windows.astype(np.float64), size=size, axis=1)
    found = librosa.stft(frames, n_fft=size, win_length=front.window, hop_length=size, center=False)[..., 0]
    if front.kind == "stft":
        return np.concatenate([found.real, found.imag], axis=1)
    power = np.abs(found.T) ** 2
    if front.kind == "power":
        return power.T
    bank = {"sr": front.rate, "n_fft": size, "n_mels": front.bands, "fmin": front.lowest, "fmax": front.highest or None}
    scale = {"htk": True, "norm": None} if front.mel == "htk" else {"htk": False, "norm": "slaney"}
    mel = librosa.feature.melspectrogram(S=power, dtype=np.float64, **bank, **scale)
    if front.log == "db":
        heard = librosa.power_to_db(mel, ref=1.0, amin=front.floor, top_db=None)
    else:
        heard = np.log(mel + front.floor)
    if front.kind == "mfcc":
        heard = librosa.feature.mfcc(S=heard, n_mfcc=front.coefficients, dct_type=2, norm="ortho")
    return heard.T


def identity(width: int) -> onnx.ModelProto:
    """A graph that gives what it takes."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width]) for name in ("x", "y"))
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "identity", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


FRONTS = [
    FrontEnd(kind="stft", window=WINDOW),
    FrontEnd(kind="stft", window=255),
    FrontEnd(kind="power", window=WINDOW, fft=512),
    FrontEnd(kind="log-mel", window=WINDOW, rate=RATE),
    FrontEnd(kind="log-mel", window=WINDOW, rate=RATE, fft=512, bands=64, lowest=20, highest=7600, mel="slaney"),
    FrontEnd(kind="log-mel", window=WINDOW, rate=RATE, mel="slaney", log="db", floor=1e-6),
    FrontEnd(kind="mfcc", window=WINDOW, rate=RATE),
    FrontEnd(kind="mfcc", window=WINDOW, rate=RATE, fft=512, mel="slaney", log="db", coefficients=20),
    FrontEnd(kind="mfcc", window=256, rate=8000, bands=24, lowest=60),
]


@pytest.mark.parametrize("front", FRONTS, ids=lambda f: f"{f.kind}-{f.window}-{f.transformed}-{f.mel}-{f.log}")
def test_front_end_in_a_graph_hears_what_librosa_hears(front: FrontEnd) -> None:
    padded = np.concatenate([np.zeros(CONTEXT, np.float32), samples_of(make_speech(6, seed=4).pcm)])
    windows = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(padded, front.window)[::HOP])
    expected = by_librosa(front, windows)
    session = Session(with_front_end(identity(front.width), front).SerializeToString(), "front end")
    found = session.run({"samples": windows})["y"]
    assert found.shape == expected.shape == (windows.shape[0], front.width)
    unit = np.abs(expected).max() if front.kind in ("stft", "power") else 1.0 if front.log == "ln" else 10 / np.log(10)
    error = np.abs(found - expected).max() / unit
    assert error <= TOLERANCE[front.kind], error
    with torch.no_grad():  # the module that models are trained behind is the same
        module = FrontEndModule(front)(torch.from_numpy(windows)).numpy()
    assert np.abs(module - expected).max() / unit <= TOLERANCE[front.kind]


def test_import_behind_a_front_end_then_replay_of_a_wav_is_the_file_fed_by_librosa(tmp_path: Path) -> None:
    file = tagger_file(Tagger(nn.GRU, batch_first=True), tmp_path / "tagger.onnx")
    assert run(["import", str(file), "-o", str(tmp_path / "b"), "--framing", FRAMING, "--front-end", MFCC]) == 0
    (spec,) = open_bundle(tmp_path / "b").manifest.inputs
    assert (spec.name, spec.width) == ("samples", WINDOW)
    assert run(["verify", str(tmp_path / "b")]) == 0
    speech = make_speech(4, seed=5)
    heard = by_librosa(front_of(MFCC), windows_of(samples_of(speech.pcm))).astype(np.float32)
    (expected,) = open_plain(file).run(None, {"x": heard[None]})
    np.testing.assert_allclose(replayed(tmp_path / "b", speech.write(tmp_path / "a.wav")), expected[0], atol=1e-3)


NET = """
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(5, 16, batch_first=True)
        self.head = nn.Linear(16, 3)
    def forward(self, x):
        return self.head(self.rnn(x)[0])
"""


def test_export_behind_a_front_end_then_the_module_is_fed_by_librosa(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    space: dict[str, type[nn.Module]] = {}
    exec(NET, space)
    torch.manual_seed(0)
    net = space["Net"]().eval()
    torch.save(net.state_dict(), tmp_path / "net.pt")
    call = ["export", f"{tmp_path / 'net.py'}:Net", "-o", str(tmp_path / "b"), "--weights", str(tmp_path / "net.pt")]
    assert run([*call, "--framing", FRAMING, "--front-end", MFCC]) == 0
    speech = make_speech(4, seed=6)
    heard = torch.from_numpy(by_librosa(front_of(MFCC), windows_of(samples_of(speech.pcm)))).float()
    with torch.no_grad():
        expected = net(heard[None])[0].numpy()
    np.testing.assert_allclose(replayed(tmp_path / "b", speech.write(tmp_path / "a.wav")), expected, atol=1e-3)
    bundle = open_bundle(tmp_path / "b")
    states = first_states(bundle, 2)
    outputs, _ = open_step_graph(bundle)([np.zeros((1, 2, WINDOW), np.float32)], states)
    assert outputs[0].shape == (1, 2, 3)


@pytest.mark.parametrize(
    ("framing", "front", "told"),
    [
        (None, MFCC, "--framing hop=N,context=N,rate=N goes with it"),
        (FRAMING, "fbank", "is none of stft, power, log-mel, mfcc"),
        (FRAMING, "mfcc:coefficients=41", "coefficients is 41, expected 1 to 40"),
        (FRAMING, "mfcc:coefficients=few", "coefficients"),
        (FRAMING, "mfcc:window=400", "window is said by the framing"),
        (FRAMING, "mfcc:lowest=9000", "bands from 9000"),
        (FRAMING, "log-mel:bands=150", "holds no bin of 400 samples"),
        (FRAMING, "log-mel:fft=100", "fft is 100, expected 400"),
        (FRAMING, "log-mel:floor=0", "floor is 0"),
        ("hop=160,context=240", MFCC, "mel bands need a rate"),
        (FRAMING, "log-mel:bands=24", "gives 24 numbers"),
    ],
)
def test_front_end_that_does_not_go_with_the_rest_is_refused(
    framing: str | None, front: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tagger_file(Tagger(nn.GRU, batch_first=True), tmp_path / "tagger.onnx")
    flags = [] if framing is None else ["--framing", framing]
    assert run(["import", str(file), "-o", str(tmp_path / "b"), *flags, "--front-end", front]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_export_with_a_framing_of_another_width_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.py").write_text(NET)
    call = ["export", f"{tmp_path / 'net.py'}:Net", "-o", str(tmp_path / "b"), "--framing", FRAMING]
    assert run(call) == 2
    assert "makes windows of 400 samples, the module takes x float32" in capsys.readouterr().err
    assert run([*call, "--front-end", "mfcc"]) == 2
    assert "gives 13 numbers, the module Net takes x float32" in capsys.readouterr().err


def front_of(text: str) -> FrontEnd:

    return parse_front_end(text, parse_framing(FRAMING))


def replayed(bundle: Path, wav: Path) -> np.ndarray:
    """The rows of ``edge-rnn replay``: float64[windows, numbers]."""
    out = wav.with_suffix(".jsonl")
    assert run(["replay", str(bundle), str(wav), "-o", str(out)]) == 0
    return np.array([row for line in out.read_bytes().splitlines() for row in orjson.loads(line)["output"]])
