"""The search for a reading of a graph: each proposal of states is wired up, laid out and run."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from edge_rnn.contract.errors import EngineError, ExportRefused, UsageError
from exporters.foreign.asked import Asked
from exporters.foreign.flow import Flow
from exporters.foreign.layout import Layout, Wiring
from exporters.foreign.model import ForeignModel, Session
from exporters.foreign.pairs import Pair, fits_by_shape, propose_pairs
from exporters.foreign.probe import swapped_pair
from exporters.foreign.roles import find_layout
from exporters.foreign.surgery import Cut
from exporters.foreign.trying import Trying

Constants = Mapping[str, tuple[np.ndarray, int | None]]


@dataclass(frozen=True)
class Found:
    """A wiring that runs as streams do in a layout."""

    wiring: Wiring
    layout: Layout


@dataclass(frozen=True)
class Search:
    """What a graph is searched with: ``cut`` has its hidden states exposed."""

    model: ForeignModel
    cut: Cut
    flow: Flow
    asked: Asked
    constants: Constants

    def run(self) -> tuple[Found | None, dict[str, str]]:
        """The one proposal that runs and that nothing contradicts; ``None`` and, by layout, why none does.

        Raises `UsageError` where several do and nothing tells them apart, `ExportRefused` where the
        given states are swapped.
        """
        session = self.cut.model.session()
        found: list[Found] = []
        reasons: dict[str, str] = {}
        swaps: list[tuple[tuple[Pair, ...], tuple[str, str]]] = []
        taken: list[Pair] = []
        for pairs in propose_pairs(self.model, self.flow, self.asked.states, tuple(self.constants)):
            if clash := [pair for pair in pairs if pair.output == self.asked.output]:
                taken += clash
                continue
            wiring = self.wire(pairs)
            layout, why = find_layout(self.cut.model, session, wiring, self.asked.axes, self.width)
            reasons = reasons or why
            if layout is None:
                continue
            wiring = replace(wiring, outputs=tuple(name for name in wiring.outputs if name in layout.outputs))
            swap = self._swapped(session, wiring, layout)
            if swap is None:
                found.append(Found(wiring, layout))
            else:
                swaps.append((pairs, swap))
        if not found and taken:
            raise UsageError(
                f"--output {taken[0].output}: it is the next value of the state {taken[0].input!r}; name another output of"
                f" {self.model.name}, or say by --state what the next value is"
            )
        if not found and swaps:
            raise self._told_swapped(*swaps[0])
        if not found and len(self.asked.states) > 1:
            self._check_other_orders(session)
        if found and self.width is None:
            self._check_leftovers(found[0].wiring)
        if len(found) > 1:
            raise self._ambiguous(found[0].wiring.pairs, found[1].wiring.pairs)
        return (found[0] if found else None), reasons

    @property
    def width(self) -> int | None:
        """Samples of a window."""
        return self.asked.framing.width if self.asked.framing else None

    def wire(self, pairs: tuple[Pair, ...]) -> Wiring:
        """What streams and what comes out when these are the states. Raises `UsageError` for an input without value."""
        model, asked = self.model, self.asked
        states, used = {pair.input for pair in pairs}, {pair.output for pair in pairs}
        streamed = [spec for name, spec in model.inputs.items() if name not in states and name not in self.constants]
        for spec in streamed:
            if not spec.dims:
                rate = asked.framing.rate if asked.framing and spec.name in ("sr", "rate", "sample_rate") else "VALUE"
                raise UsageError(
                    f"{model.name}: the input {spec} has no value; give it one by --constant {spec.name}={rate}"
                )
        if not streamed:
            raise UsageError(f"{model.name}: no input is left to stream; take a --state or a --constant back")
        if asked.framing and len(streamed) != 1:
            raise UsageError(
                f"--framing goes with one streamed input, {model.name} has {', '.join(s.name for s in streamed)}; bind the"
                " others by --constant or --state"
            )
        outputs = [name for name in model.outputs if name not in used]
        if asked.output is not None:
            outputs = [asked.output, *(name for name in outputs if name != asked.output)]
        if not outputs:
            raise UsageError(f"{model.name}: no output is left beside the states; take a --state back")
        everything = (*pairs, *self.cut.pairs)
        dtypes = tuple(self.cut.model.inputs[pair.input].dtype for pair in everything)
        vocabulary = self.flow.vocabulary()
        return Wiring(tuple(streamed), everything, tuple(outputs), self.constants, vocabulary, dtypes)

    def _swapped(self, session: Session, wiring: Wiring, layout: Layout) -> tuple[str, str] | None:
        return swapped_pair(Trying(session, wiring, layout), [pair.input for pair in wiring.pairs])

    def _told_swapped(self, pairs: tuple[Pair, ...], swap: tuple[str, str]) -> ExportRefused | UsageError:
        outputs = {pair.input: pair.output for pair in pairs}
        name, other = swap
        grows = f"{outputs[other]!r} grows with {name!r} as a cell's c does, {outputs[name]!r} does not"
        if self.asked.states:
            return ExportRefused(
                f"{self.model.name}: --state {name}={outputs[name]} is swapped: {grows}; give --state"
                f" {name}={outputs[other]} --state {other}={outputs[name]}"
            )
        return UsageError(
            f"{self.model.name}: the names say {name} -> {outputs[name]}, but {grows}; give --state"
            f" {name}={outputs[other]} --state {other}={outputs[name]}"
        )

    def _check_other_orders(self, session: Session) -> None:
        """Raises `ExportRefused` where the given states run in another order."""
        names, outputs = list(self.asked.states), list(self.asked.states.values())
        for order in itertools.islice(itertools.permutations(outputs), 1, 24):
            pairs = tuple(Pair(name, output, "") for name, output in zip(names, order, strict=True))
            try:
                layout, _ = find_layout(self.cut.model, session, self.wire(pairs), self.asked.axes, self.width)
            except (EngineError, ExportRefused):
                continue
            if layout is not None:
                right = " ".join(f"--state {pair.input}={pair.output}" for pair in pairs)
                raise ExportRefused(
                    f"{self.model.name}: with the states as given, steps in one call are not those one by one; they are"
                    f" swapped: {right} runs"
                )

    def _check_leftovers(self, wiring: Wiring) -> None:
        """Raises `UsageError` for a streamed input that might as well be a state: nothing is left to hope."""
        if len(wiring.streamed) < 2:
            return
        for spec in wiring.streamed:
            fits = fits_by_shape(self.model, self.flow, spec, wiring.outputs)
            if fits and spec.name not in self.asked.axes:
                axes = ",".join("batch" if size is None else str(size) for size in spec.dims)
                raise UsageError(
                    f"{self.model.name}: the input {spec} may be a state, its next value {' or '.join(fits)}; give --state"
                    f" {spec.name}={fits[0]}, or, if it is streamed, its axes: --axes {spec.name}={axes}"
                )

    def _ambiguous(self, pairs: tuple[Pair, ...], others: tuple[Pair, ...]) -> UsageError:
        for pair in pairs:
            for other in others:
                if pair.input == other.input and pair.output != other.output:
                    return UsageError(
                        f"{self.model.name}: the next value of {pair.input!r} may be {pair.output!r} or {other.output!r},"
                        f" and nothing tells them apart; give --state {pair.input}={pair.output} (or ={other.output})"
                    )
        return UsageError(f"{self.model.name}: several readings of its states run; give them by --state IN=OUT")
