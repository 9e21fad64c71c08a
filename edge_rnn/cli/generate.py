"""``edge-rnn generate``: prompts in, tokens as they come."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer


def command(
    bundle: Annotated[Path, typer.Argument(help="The bundle's directory.", show_default=False)],
    prompts: Annotated[
        list[str] | None, typer.Option("--prompt", help="What to begin from; repeat for several, replied to together.")
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens of a reply, at most.")] = 200,
    temperature: Annotated[
        float, typer.Option(min=0, max=100, help="Below 1 likelier tokens, above 1 bolder ones; 0 the likeliest.")
    ] = 1.0,
    top_k: Annotated[int, typer.Option(min=0, help="Draw from the k likeliest tokens; 0: from all.")] = 0,
    top_p: Annotated[float, typer.Option(help="Draw from the likeliest tokens whose probabilities reach this.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="The same seed says the same.")] = 0,
    stop: Annotated[list[str] | None, typer.Option(help="Text that ends a reply; repeat.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON line a piece: prompt, text, final, reason.")] = False,
) -> None:
    """Continue a prompt, or translate it: whatever the bundle's model was trained to say next.

    Example: edge-rnn generate text.bundle --prompt "To be" --temperature 0.7 --seed 3

    Several prompts are replied to together and printed one after the other. A prompt's reply is the
    same alone and among others: it depends on the seed and on its place among the prompts.
    """
    import msgspec

    from edge_rnn.contract.errors import UsageError
    from runtime.core.generation import Request
    from runtime.core.sampling import Sampling
    from runtime.daemon.generate import generate

    given = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
    try:
        sampling = msgspec.convert(given, Sampling)
    except msgspec.ValidationError as error:
        raise UsageError(f"{error}; see edge-rnn generate --help") from error
    texts = prompts or [""]
    requests = [Request(prompt=text, sampling=sampling, tokens=tokens, stop=tuple(stop or ())) for text in texts]
    said = [""] * len(requests)
    shown, ended = 0, [False] * len(requests)
    for piece in generate(bundle, requests):
        if as_json:
            line = {"prompt": piece.slot, "text": piece.text, "final": piece.reason is not None}
            print(json.dumps({**line, "reason": piece.reason} if piece.reason else line), flush=True)
            continue
        said[piece.slot] += piece.text
        ended[piece.slot] = piece.reason is not None
        while shown < len(said):  # the first that is not done is shown as it comes
            sys.stdout.write(said[shown])
            said[shown] = ""
            if not ended[shown]:
                break
            sys.stdout.write("\n")
            shown += 1
        sys.stdout.flush()
