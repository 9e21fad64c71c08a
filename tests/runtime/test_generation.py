"""Replies: those of a plain loop, alone or together, whole or taken up again, with stops and turns."""

from __future__ import annotations

import msgspec
import numpy as np
import onnxruntime as ort
import pytest
import torch

from edge_rnn.cli.main import run
from edge_rnn.contract.bundle import open_bundle
from edge_rnn.contract.errors import RecordError, UsageError
from edge_rnn.contract.signature import GenerationSpec
from edge_rnn.models import build
from exporters.export import export_bundle
from exporters.source import Source
from runtime.core.generation import Request
from runtime.core.philox import stream_number, uniforms
from runtime.core.sampling import Sampling
from runtime.daemon.generate import generate, open_generator
from tests.benchmarks.generation import WAYS, ratio, talker
from tests.models_for_tests import make_bundle

TOKENS = ("\n", *"abcdefgh ")
WORDS = ("<end>", "<other>", "red", "green", "blue")


def language(path, cell="lstm", seed=0, reluctance=3.0, **arguments):
    """An untrained model of characters: what it says is nonsense, but its own. ``reluctance`` to end a reply."""
    torch.manual_seed(seed)
    spec = GenerationSpec(unit="character", begin="\n", stop="\n")
    given = {"inputs": 1, "outputs": len(TOKENS), "vocabulary": TOKENS, "labels": TOKENS, "generation": spec}
    model = build(cell, **{**given, "hidden": 12, "layers": 2, "task": "classification", **arguments})
    with torch.no_grad():
        model.head.weight *= 8
        model.head.bias[0] -= reluctance
    return export_bundle(Source(model, "text", {}), path)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return language(tmp_path_factory.mktemp("generation") / "text")


@pytest.fixture(scope="module")
def translator(tmp_path_factory):
    """Characters in, words out, through a prompt graph."""
    spec = GenerationSpec(unit="character", begin="<end>", stop="<end>", turns="fresh")
    given = {"outputs": len(WORDS), "vocabulary": WORDS, "labels": WORDS, "prompt_vocabulary": TOKENS}
    return language(tmp_path_factory.mktemp("generation") / "translate", "gru", **{**given, "generation": spec})


class PlainLoop:
    """One stream, one token, one call of onnxruntime; the sampling written out."""

    def __init__(self, bundle) -> None:
        self.manifest = msgspec.json.decode((bundle.path / "manifest.json").read_bytes())
        self.session = ort.InferenceSession(str(bundle.path / "step.onnx"), providers=["CPUExecutionProvider"])
        self.states = {
            s["name"]: np.zeros([1 if d == "batch" else d for d in s["shape"]], np.float32)
            for s in self.manifest["states"]
        }

    def step(self, token: int) -> np.ndarray:
        names = [s["output"] for s in self.manifest["states"]]
        feed = {"token": np.array([[token]], np.int64), **self.states}
        y, *new = self.session.run(["y", *names], feed)
        self.states = dict(zip(self.states, new, strict=True))
        return y.reshape(-1).astype(np.float64)

    def reply(self, fed: list[int], stream: int, first: int, seed: int, most: int) -> list[int]:
        """The tokens drawn after ``fed``, numbers ``first`` and on, at temperature 1."""
        said: list[int] = []
        for number in range(first, first + most):
            for token in fed:
                logits = self.step(token)
            p = np.exp(logits - logits.max())
            (draw,) = uniforms(*(np.array([v], np.uint64) for v in (seed, stream, number)))
            total = np.cumsum(p / p.sum())
            fed = [int(np.searchsorted(total, draw * total[-1], side="right"))]
            said += fed
            if TOKENS[fed[0]] == "\n":
                break
        return said


def texts(bundle, requests) -> list[str]:
    said = [""] * len(requests)
    ended = [""] * len(requests)
    for piece in generate(bundle.path, requests):
        assert not ended[piece.slot]
        said[piece.slot] += piece.text
        ended[piece.slot] = piece.reason or ""
    assert all(ended)
    return said


def request(prompt="ab", tokens=40, seed=3, stop=(), **sampling) -> Request:
    return Request(prompt=prompt, tokens=tokens, stop=stop, sampling=Sampling(seed=seed, **sampling))


def test_generate_when_sampled_then_says_what_a_plain_loop_says(bundle):
    prompts = ["ab", "", "hag", "c" * 100]
    said = texts(bundle, [request(prompt) for prompt in prompts])
    for number, (prompt, text) in enumerate(zip(prompts, said, strict=True)):
        fed = [TOKENS.index(c) for c in "\n" + prompt]
        plain = PlainLoop(bundle).reply(fed, stream_number(0, str(number).encode()), 0, 3, 40)
        assert text == "".join(TOKENS[token] for token in plain).rstrip("\n")
    assert len(set(said)) == len(said)


def test_generate_when_64_go_together_then_each_says_what_it_says_alone(bundle):
    settings = [{}, {"temperature": 0.0}, {"top_k": 3}, {"top_p": 0.6, "temperature": 1.7}]
    requests = [request("abc"[: i % 4], seed=i, **settings[i % 4]) for i in range(64)]
    together = texts(bundle, requests)
    for i in (0, 1, 2, 3, 41):
        generator = open_generator(bundle, 1)
        generator.submit(0, stream_number(0, str(i).encode()), requests[i])
        alone = ""
        while generator.busy:
            alone += "".join(piece.text for piece in generator.advance())
        assert alone == together[i]


@pytest.mark.parametrize("way", WAYS)
def test_generate_when_64_go_together_then_goes_8_times_as_fast_as_one_by_one(way, tmp_path):
    together, alone = ratio(talker(tmp_path, 96), WAYS[way])
    assert together >= 8 * alone


def test_generate_when_the_seed_is_another_then_says_something_else(bundle):
    first, again, other = (texts(bundle, [request(seed=seed)]) for seed in (1, 1, 2))
    assert first == again != other


def test_generator_when_taken_up_again_anywhere_then_says_the_same(bundle):
    requests = [request("ab", 30), request("cd", 30, stop=("ea", "b "))]
    whole = open_generator(bundle, 2)
    expected = []
    for slot in (0, 1):
        for part in requests:
            whole.submit(slot, 77 + slot, part)
    while whole.busy:
        expected += whole.advance()

    found, one = [], open_generator(bundle, 2)
    for slot in (0, 1):
        for part in requests:
            one.submit(slot, 77 + slot, part)
    while one.busy:
        found += one.advance()
        other = open_generator(bundle, 2)
        slots = np.array([0, 1])
        other._engine.write(slots, one._engine.read(slots))
        for slot in (0, 1):
            other.load(slot, one.save(slot))
        one = other
    assert sorted(found, key=lambda piece: piece.slot) == sorted(expected, key=lambda piece: piece.slot)
    assert sum(piece.reason is not None for piece in found) == 4


def test_generator_when_a_second_prompt_comes_then_goes_on_from_the_state_of_the_first(bundle):
    generator = open_generator(bundle, 1)
    said = []
    for prompt in ("ab", "cd"):
        generator.submit(0, 5, request(prompt, 12, seed=9))
        text = ""
        while generator.busy:
            text += "".join(piece.text for piece in generator.advance())
        said.append(text)
    plain = PlainLoop(bundle)
    first = plain.reply([TOKENS.index(c) for c in "\nab"], 5, 0, 9, 12)
    second = plain.reply([first[-1], TOKENS.index("c"), TOKENS.index("d")], 5, len(first), 9, 12)
    assert said == ["".join(TOKENS[t] for t in part).rstrip("\n") for part in (first, second)]


def test_generate_when_a_stop_is_said_then_ends_before_it_and_gives_none_of_it(bundle):
    whole = texts(bundle, [request(tokens=60)])[0]
    assert len(whole) > 20
    for stop in (whole[10], whole[10:13], whole[5:12]):
        pieces = list(generate(bundle.path, [request(tokens=60, stop=("zzz", stop))]))
        assert "".join(piece.text for piece in pieces) == whole[: whole.index(stop)]
        assert [piece.reason for piece in pieces if piece.reason] == ["stop"]


def test_generate_when_text_may_be_the_beginning_of_a_stop_then_gives_it_once_it_is_not(bundle):
    whole = texts(bundle, [request(tokens=60)])[0]
    never = whole[10:13] + "\0"
    assert texts(bundle, [request(tokens=60, stop=(never,))]) == [whole]


def test_generate_when_there_is_a_prompt_graph_then_begins_from_the_state_that_it_makes(translator):
    assert {path.name for path in translator.path.iterdir()} == {
        "manifest.json",
        "step.onnx",
        "prompt.onnx",
        "golden.npz",
    }
    prompts = ["abc", "", "hhhhhhh"]
    said = texts(translator, [request(prompt, 10, temperature=0.0) for prompt in prompts])
    for prompt, text in zip(prompts, said, strict=True):
        plain = PlainLoop(translator)
        encoder = ort.InferenceSession(str(translator.path / "prompt.onnx"), providers=["CPUExecutionProvider"])
        if prompt:
            feed = {"prompt": np.array([[TOKENS.index(c)] for c in prompt], np.int64), **plain.states}
            new = encoder.run([f"{name}.next" for name in plain.states], feed)
            plain.states = dict(zip(plain.states, new, strict=True))
        token, words = WORDS.index("<end>"), []
        for _ in range(10):
            token = int(plain.step(token).argmax())
            if WORDS[token] == "<end>":
                break
            words.append(WORDS[token])
        assert text == "".join(words)


def test_generator_when_turns_are_fresh_then_the_second_prompt_is_as_if_the_first(translator):
    generator = open_generator(translator, 1)
    said = []
    for _ in range(2):
        generator.submit(0, 1, request("abc", 10, temperature=0.0))
        pieces = []
        while generator.busy:
            pieces += generator.advance()
        said.append(pieces)
    assert said[0] == said[1]


def test_prompt_graph_when_exported_then_its_parity_is_in_the_manifest(translator):
    manifest = open_bundle(translator.path).manifest
    assert manifest.prompt.parity.max_abs_error <= manifest.prompt.parity.bound
    assert manifest.prompt.input.vocabulary == TOKENS
    assert manifest.generation.turns == "fresh"


def test_generate_when_the_vocabulary_lacks_a_character_then_names_it(bundle):
    with pytest.raises(RecordError, match="'z'"):
        next(generate(bundle.path, [request("abz")]))


def test_generate_when_the_bundle_makes_no_text_then_says_so(tmp_path):
    with pytest.raises(UsageError, match="does not generate"):
        next(generate(make_bundle(tmp_path / "b").path, [request()]))


def test_generate_command_when_called_then_prints_replies_in_order_and_json_pieces(bundle, capsys):
    call = ["generate", str(bundle.path), "--prompt", "ab", "--prompt", "c", "--seed", "3", "--tokens", "20"]
    expected = texts(bundle, [request("ab", 20), request("c", 20)])
    assert run(call) == 0
    assert capsys.readouterr().out == "".join(f"{text}\n" for text in expected)
    assert run([*call, "--json"]) == 0
    lines = [msgspec.json.decode(line) for line in capsys.readouterr().out.splitlines()]
    assert ["".join(line["text"] for line in lines if line["prompt"] == i) for i in (0, 1)] == expected
    assert [line["final"] for line in lines].count(True) == 2


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--prompt", "xyz"], 1, "'x'"),
        (["--top-p", "0"], 2, "top_p"),
        (["--temperature", "-1"], 2, "temperature"),
        (["--stop", ""], 1, "stop is empty"),
    ],
)
def test_generate_command_when_the_call_is_wrong_then_says_so_in_one_line(bundle, capsys, arguments, status, said):
    assert run(["generate", str(bundle.path), *arguments]) == status
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
