"""The gates as a table for a person: gate, figure, bound, verdict."""

from __future__ import annotations

from edge_rnn.contract.signature import BitStability, GateFigure, GateReport

HEADER = f"{'gate':<18}{'figure':>10}{'bound':>10}  verdict"


def gate_row(gate: str, figure: GateFigure) -> str:
    """One gate that passed."""
    size = f"{figure.steps} steps of {figure.batch} streams"
    return f"{gate:<18}{figure.max_abs_error:>10.2g}{figure.bound:>10.2g}  passed ({size})"


def failed_row(gate: str) -> str:
    """One gate that failed; its message says more."""
    return f"{gate:<18}{'':>10}{'':>10}  FAILED"


def bits_row(bits: BitStability) -> str:
    """Bit stability: a finding, not a gate."""
    verdict = "every bit kept" if bits.holds else "bits differ between batch sizes or chunks; within the tolerance"
    swept = f"batches {bits.batches[0]} to {bits.batches[-1]}, chunks {bits.chunks[0]} to {bits.chunks[-1]}"
    return f"{'bit stability':<18}{bits.max_abs_error:>10.2g}{'':>10}  {verdict} ({swept}; {bits.engine})"


def gate_lines(gates: GateReport) -> list[str]:
    """The whole table of a manifest's report."""
    rows = [("parity", gates.parity), ("isolation", gates.isolation), ("chunking", gates.chunking)]
    return [HEADER, *(gate_row(name, figure) for name, figure in rows), bits_row(gates.bit_stability)]
