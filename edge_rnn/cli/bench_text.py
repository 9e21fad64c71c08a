"""A measured bundle as a table for a person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.daemon.measure.bench import BenchReport

BAR = 30


def lines(report: BenchReport) -> Iterator[str]:
    """The whole table: model alone, codecs, stages, end to end, what limits, what to set."""
    machine = report.machine
    yield f"{report.bundle}   {machine.cores} cores of {machine.model}, onnxruntime {machine.onnxruntime}"
    yield from _model(report)
    yield from _threads(report)
    yield "\ncodec   decode us  encode us  bytes in  bytes out   (a record of one row)"
    for codec in report.codecs:
        yield (
            f"{codec.codec:6}{codec.decode_us:11.2f}{codec.encode_us:11.2f}{codec.value_bytes:10.0f}"
            f"{codec.output_bytes:11.0f}"
        )
    yield from _stages(report)
    yield from _verdict(report)


def _model(report: BenchReport) -> Iterator[str]:
    chunks = sorted({cell.chunk for cell in report.model})
    best = max((cell for cell in report.model if cell.chunk == 1), key=lambda cell: cell.steps_per_s)
    yield "\nthe model alone, one thread: steps/s, and of the best batch"
    yield f"{'batch':>7}" + "".join(f"{f'chunk {chunk}':>18}" for chunk in chunks)
    for batch in sorted({cell.batch for cell in report.model}):
        row = f"{batch:>7}"
        for chunk in chunks:
            found = [cell for cell in report.model if (cell.batch, cell.chunk) == (batch, chunk)]
            row += f"{found[0].steps_per_s:11,.0f} {found[0].steps_per_s / best.steps_per_s:5.2f}x" if found else ""
        yield row


def _threads(report: BenchReport) -> Iterator[str]:
    if not report.threaded:
        return
    yield "\ncalls at once, one step each: steps/s, and of one call at a time"
    for cell in report.threaded:
        one = next(found for found in report.model if (found.batch, found.chunk) == (cell.batch, cell.chunk))
        yield (
            f"{cell.threads:>3} calls, batch {cell.batch:>5}{cell.steps_per_s:12,.0f}"
            f"{cell.steps_per_s / one.steps_per_s:7.2f}x"
        )


def _stages(report: BenchReport) -> Iterator[str]:
    transport = report.transport
    yield (
        f"\na record's way, {report.codec}, {report.stages.streams:,} streams,"
        f" {transport.client} at {transport.broker}: us a record"
    )
    most = max(report.costs.values())
    for stage, cost in report.costs.items():
        yield f"  {stage:17}{cost:7.2f}  {'#' * round(BAR * cost / most)}"
    yield f"  {'all':17}{sum(report.costs.values()):7.2f}"
    yield f"\nconsume and produce without the model, one after the other: {transport.events_per_s:,.0f} events/s"
    whole = report.end_to_end
    yield (
        f"the daemon end to end: {whole.events_per_s:,.0f} events/s, {whole.cpu_us:.1f} us of processor time an event,"
        f" {whole.resident_bytes / 2**20:.0f} MiB resident, {whole.start_s:.2f} s from its start to its partitions"
    )


def _verdict(report: BenchReport) -> Iterator[str]:
    limit = report.limit
    yield (
        f"\nwhat limits: {limit.stage}, {limit.stage_us:.2f} us, in {limit.thread}, {limit.thread_us:.2f} of"
        f" {limit.total_us:.2f} us; that allows {limit.alone_per_s:,.0f} events/s, all stages overlapped on"
        f" {limit.cores} cores {limit.overlapped_per_s:,.0f}"
    )
    tuning = report.tuning
    yield (
        f"a daemon's own trial at its start: {tuning.streams} streams a call, {tuning.threads} at once"
        " (--threads says otherwise)"
    )
    yield "\nset on this machine"
    for advice in report.advice:
        yield f"  {advice.setting:12}{advice.value:>5}   {advice.why}"
