"""The page: headline figures, pictures, gates and commands in one HTML file that loads nothing."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from edge_rnn.contract.signature import GateFigure
from edge_rnn.demo.pictures.flow import draw_recovery, draw_throughput
from edge_rnn.demo.pictures.labels import draw_labels
from edge_rnn.demo.pictures.scores import draw_accuracy, draw_scores
from edge_rnn.demo.result import Result
from edge_rnn.demo.style import STYLE

WIDE = 880
NARROW = 350


def draw_page(result: Result) -> str:
    """The whole page."""
    body = "".join((_head(result), _tiles(result), _predictions(result), _flow(result), _gates(result), _next(result)))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>edge-rnn demo</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )


def _head(result: Result) -> str:
    streams = len(result.predictions.keys)
    verdict = result.verdict
    shows = "nothing shows" if verdict.is_exact else "it shows"
    told = (
        "Every record has exactly one output, with the same bits as in a run that was never killed."
        if verdict.is_exact
        else "The outputs are not what they must be: see the figures in red."
    )
    return (
        f"<h1>A daemon was killed in the middle of its work, and {shows}</h1>\n"
        f"<p>A recurrent network was trained in PyTorch, exported as a step graph, and run as a daemon on"
        f" {escape(result.place.kind)}. {streams} watches sent {verdict.records_in:,} records, one a step; the daemon"
        f" keeps one hidden state for each watch. Half-way it got SIGKILL and was started again. {told}</p>\n"
    )


def _tiles(result: Result) -> str:
    verdict, made = result.verdict, result.made
    recovery = "none" if result.recovery_s is None else f"{result.recovery_s:.1f} s"
    other = verdict.different + verdict.out_of_order + verdict.unknown
    restored = result.served.moments.streams_restored
    baseline = f"of {len(result.predictions.keys)} watches; nearest neighbour {made.baseline:.0%}"
    tiles = [
        ("accuracy", f"{result.predictions.accuracy:.1%}", baseline, ""),
        ("records in", f"{verdict.records_in:,}", f"{verdict.outputs:,} outputs", ""),
        ("lost", f"{verdict.lost:,}", "inputs without an output", _good(verdict.lost)),
        ("doubled", f"{verdict.doubled:,}", "outputs beyond one an input", _good(verdict.doubled)),
        ("wrong", f"{other:,}", "other bits, other order, or unknown", _good(other)),
        ("recovery", recovery, f"kill to first new output; {restored} states back", _good(result.recovery_s is None)),
        (
            "latency",
            f"{result.latency_ms:.0f} ms",
            f"median; the reader looks every {1000 * result.served.look_s:.0f} ms",
            "",
        ),
        ("parity error", f"{made.exported.parity.max_abs_error:.1e}", "step graph against PyTorch", ""),
    ]
    cells = "".join(
        f'<div class="tile"><span class="what">{name}</span><b class="{look}">{figure}</b><span>{note}</span></div>\n'
        for name, figure, note, look in tiles
    )
    return f'<section class="tiles">\n{cells}</section>\n'


def _predictions(result: Result) -> str:
    found = result.predictions
    killed = killed_step(result)
    legend = "".join(
        f'<span><i style="background:var(--c{number})"></i>{escape(label)}</span>'
        for number, label in enumerate(found.labels)
    )
    legend = f'<div class="legend">{legend}</div>'
    wrong = int((~found.right[:, -1]).sum())
    ends = "All are right at the end." if not wrong else f"{wrong} of {len(found.keys)} are wrong at the end (cross)."
    return (
        "<h2>What the daemon said, step by step</h2>\n"
        "<p>Each record gets an answer at once: what is the wearer doing? The first answers are guesses; the state"
        " gathers evidence and settles. A state lost in the kill would show: its stream would start over.</p>\n"
        + _figure(
            lambda width: draw_labels(found, killed, width),
            f"Each row is a watch, each colour what the daemon said after that step; the bar at the left is the truth."
            f" {ends}",
            legend,
        )
        + _figure(
            lambda width: draw_accuracy(found, killed, width),
            "The share of watches named rightly after so many steps: it rises as the states gather evidence,"
            " and would fall at the kill if they were lost.",
        )
        + _figure(
            lambda width: draw_scores(found, killed, width),
            "Class probabilities of the watch of each activity that changed most; the true class is the thick line,"
            " the dashed line is the kill.",
            legend,
        )
    )


def _flow(result: Result) -> str:
    caught = "" if result.caught_up_s is None else f" {result.caught_up_s:.1f} s after the kill it is gone."
    first = "" if result.recovery_s is None else f" First new output: {result.recovery_s:.1f} s after the kill."
    flow_legend = (
        '<div class="legend"><span><i class="stroke" style="border-color:var(--in)"></i>records in</span>'
        '<span><i style="background:var(--out)"></i>outputs</span>'
        '<span><i style="background:var(--down);outline:1px solid var(--mark)"></i>no daemon, or not ready</span></div>'
    )
    return (
        "<h2>Throughput, and the kill</h2>\n"
        + _figure(
            lambda width: draw_throughput(result, width),
            "Records come in evenly all the time; outputs stop at the kill, then the new process works off what waited.",
            flow_legend,
        )
        + "<h2>The recovery</h2>\n"
        + _figure(
            lambda width: draw_recovery(result, width),
            f"Records that went in and have not come out: up to {result.recovery.most_backlog:,} wait."
            f"{first} {result.served.moments.streams_restored} streams came back with their state.{caught}",
        )
    )


def _gates(result: Result) -> str:
    made = result.made
    rows = [
        ("parity", "the step graph gives what the PyTorch module gives", made.exported.parity),
        ("isolation", "a stream gives the same alone and among others", made.exported.isolation),
        ("chunking", "time may be cut anywhere", made.exported.chunking),
        ("parity, verified", "the recorded run again, from the bundle alone", made.verified.parity),
    ]
    bits = made.verified.bit_stability
    held = "every bit kept" if bits.holds else f"bits differ by up to {bits.max_abs_error:.1e}"
    swept = f"batches {bits.batches[0]} to {bits.batches[-1]}, chunks {bits.chunks[0]} to {bits.chunks[-1]}"
    return (
        "<h2>The gates</h2>\n<p>A bundle is written only if its graph passes, and is measured again wherever it runs.</p>\n"
        '<figure><div class="scroll"><table>\n<tr><th>gate</th><th class="more">what it shows</th><th class="number">largest error</th>'
        '<th class="number">allowed</th><th>over</th></tr>\n'
        + "".join(_gate_row(*row) for row in rows)
        + f'<tr><td>bit stability</td><td class="more">{escape(bits.engine)}</td>'
        f'<td class="number">{_error(bits.max_abs_error)}</td>'
        f"<td></td><td>{held}; {swept}</td></tr>\n</table></div>\n"
        f"<figcaption>The graph has {made.graph_bytes:,} bytes; the state of one stream {made.state_bytes:,} bytes."
        f" Training took {made.epochs} epochs, {made.train_s:.1f} s.</figcaption></figure>\n"
    )


def _gate_row(name: str, what: str, figure: GateFigure) -> str:
    return (
        f'<tr><td>{name}</td><td class="more">{what}</td><td class="number">{_error(figure.max_abs_error)}</td>'
        f'<td class="number">{figure.bound:.1e}</td><td>{figure.steps} steps of {figure.batch} streams</td></tr>\n'
    )


def _next(result: Result) -> str:
    items = "".join(
        f"<li><span>{escape(what)}</span><code>{escape(line)}</code></li>\n" for what, line in result.commands
    )
    onward = (
        "The same on Apache Kafka: <code>make demo-kafka</code>, or"
        " <code>edge-rnn demo --broker localhost:9092</code> with a broker of yours."
        if result.place.is_embedded
        else "The topics of this run stay on the broker until you delete them."
    )
    return (
        f'<h2>Do it yourself</h2>\n<figure><ol class="commands">\n{items}</ol></figure>\n<p>{onward}</p>\n'
        f"<footer>edge-rnn demo on {escape(result.place.kind)}; {result.total_s:.0f} s in all."
        " Figures: result.json; the daemon's log: daemon.log.</footer>\n"
    )


def killed_step(result: Result) -> float:
    """Steps that a stream had seen at the kill, on average."""
    before = sum(at_s < result.served.moments.restarted_s for at_s in result.served.seen.at_s)
    return before / max(1, len(result.predictions.keys))


def _figure(draw: Callable[[float], str], caption: str, legend: str = "") -> str:
    """A picture in a wide and a narrow drawing; the style sheet shows the one that fits."""
    return (
        f'<figure>{legend}<div class="wide">{draw(WIDE)}</div><div class="narrow">{draw(NARROW)}</div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>\n"
    )


def _error(size: float) -> str:
    return f"{size:.1e}" if size else "0"


def _good(count: float) -> str:
    return "bad" if count else "good"
