"""CUDA C++ of the kernels that move rows of states: written for the types and row shapes of a model, compiled on the device.

What changes from call to call (addresses, streams, steps, strides) are arguments. Values are moved in words of up to 16
bytes, and never computed with: whether a number is finite is told from its bits, which no compiler's option changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MOVE, SETTLE = "move_rows", "settle_rows"
"""The kernels' names."""

MOST_THREADS = 256
"""Threads of a block."""

WARP = 32

LANES = {1: "unsigned char", 2: "unsigned short", 4: "unsigned int", 8: "unsigned long long"}
"""An element of so many bytes."""

EXPONENTS = {2: "0x7c00u", 4: "0x7f800000u", 8: "0x7ff0000000000000ull"}
"""All bits set in the exponent of a float of so many bytes: it is infinite or NaN (IEEE 754)."""


@dataclass(frozen=True)
class Copy:
    """How a stream's part of one array is copied, as far as it stands in the source.

    ``sizes``: words along each axis of a row, outer first. A word is ``lanes`` elements of ``lane`` bytes. ``together``:
    words of the last axis lie behind each other on both sides; otherwise its strides are arguments, as all others.
    ``steps``: there is a time axis outside of the row, of a length that is an argument. ``tested``: it is of floats, which
    have to be finite.
    """

    lane: int
    lanes: int
    sizes: tuple[int, ...]
    together: bool
    steps: bool = False
    tested: bool = False

    @property
    def words(self) -> int:
        """Words of a row."""
        words = 1
        for size in self.sizes:
            words *= size
        return words

    @property
    def word(self) -> str:
        """The type of a word that is looked at."""
        return f"Word<{LANES[self.lane]}, {self.lanes}>"

    @property
    def whole(self) -> str:
        """The type of a word that is only moved, of as few parts as there can be."""
        size = self.lane * self.lanes
        return f"Word<{LANES[min(size, 8)]}, {size // min(size, 8)}>"

    @property
    def move(self) -> str:
        """Moves a word."""
        return f"*({self.whole}*)to = *(const {self.whole}*)from;"


def threads(copies: Sequence[Copy]) -> int:
    """Threads of a block: a word each, as far as there are."""
    most = max((copy.words for copy in copies), default=1)
    return min(MOST_THREADS, -(-most // WARP) * WARP)


_HEAD = f"""\
template <typename Lane, int LANES> struct alignas(sizeof(Lane) * LANES) Word {{ Lane lane[LANES]; }};

template <typename Lane, int LANES>
static __device__ __forceinline__ bool finite(const Word<Lane, LANES>& word, Lane exponent) {{
    bool all = true;
    for (int i = 0; i < LANES; ++i) all &= (word.lane[i] & exponent) != exponent;
    return all;
}}

extern "C" __global__ void __launch_bounds__({MOST_THREADS})
"""


def move_source(copies: Sequence[Copy], *, into_rows: bool) -> str:
    """A kernel that copies rows to streams, or the other way: a block for each stream and each array.

    Its arguments: ``index``, then those of each copy.
    """
    lines = ["const long long stream = blockIdx.x, row = index[stream];", "switch (blockIdx.y) {"]
    source, target = ("stream", "row") if into_rows else ("row", "stream")
    for number, copy in enumerate(copies):
        body = _loop(number, copy, source, target, [copy.move])
        lines += [f"case {number}: {{", *_in(body), "} break;"]
    return _kernel(MOVE, ["const long long* __restrict__ index"], copies, [*lines, "}"])


def settle_source(outputs: Sequence[Copy], states: Sequence[Copy]) -> str:
    """A kernel that settles a call, a block for each stream; see `runtime.core.moves.Moves`.

    Its arguments: ``index``, ``halted``, ``good``, ``scratch``, then those of each copy, outputs first.
    """
    head = [
        "const long long* __restrict__ index",
        "unsigned char* __restrict__ halted",
        "unsigned char* __restrict__ good",
        "long long scratch",
    ]
    lines = ["const long long stream = blockIdx.x, row = index[stream];", "int bad = halted[row];"]
    for number, copy in enumerate(outputs):
        inside = [f"const {copy.word} word = *(const {copy.word}*)from;", f"*({copy.word}*)to = word;"]
        lines += _loop(number, copy, "stream", "stream", inside + _tested(copy, "word"))
    for number, copy in enumerate(states, len(outputs)):
        if copy.tested:
            lines += _loop(number, copy, "stream", None, _tested(copy, f"*(const {copy.word}*)from"))
    lines += ["bad = __syncthreads_or(bad);", "if (!bad && row != scratch) {"]
    for number, copy in enumerate(states, len(outputs)):
        lines += _in(_loop(number, copy, "stream", "row", [copy.move]))
    lines += [
        "}",
        "if (threadIdx.x == 0) {",
        "    good[stream] = !bad;",
        "    if (bad && row != scratch) halted[row] = 1;",
    ]
    return _kernel(SETTLE, head, [*outputs, *states], [*lines, "}"])


def _kernel(name: str, head: Sequence[str], copies: Sequence[Copy], body: Sequence[str]) -> str:
    parameters = [*head, *(each for number, copy in enumerate(copies) for each in _parameters(number, copy))]
    return f"{_HEAD}{name}({', '.join(parameters)}) {{\n" + "\n".join(_in(body)) + "\n}\n"


def _parameters(number: int, copy: Copy) -> list[str]:
    """Source and target, the steps, and the strides of each in bytes: of streams or rows, of steps, of the row's axes."""
    found = [f"const unsigned char* __restrict__ s{number}", f"unsigned char* __restrict__ t{number}"]
    found += [f"long long steps{number}"] if copy.steps else []
    return found + [f"long long {side}{number}_{axis}" for side in "st" for axis in _axes(copy)]


def _axes(copy: Copy) -> list[str]:
    """The axes whose strides are arguments."""
    row = [str(axis) for axis in range(len(copy.sizes) - copy.together)]
    return ["stream", *(["step"] if copy.steps else []), *row]


def _tested(copy: Copy, word: str) -> list[str]:
    return [f"bad |= !finite({word}, ({LANES[copy.lane]}){EXPONENTS[copy.lane]});"] if copy.tested else []


def _loop(number: int, copy: Copy, source: str, target: str | None, inside: Sequence[str]) -> list[str]:
    """``inside`` for each word of a stream, with where it lies: ``from`` in what is read, ``to`` in what is written.

    ``source`` and ``target`` are the index of the stream or of its row on each side; without ``target`` nothing is written.
    """
    end = f"{copy.words}u * (unsigned int)steps{number}" if copy.steps else f"{copy.words}u"
    lines, rest = [], "k"
    for axis in reversed(range(len(copy.sizes))):
        last = axis == 0 and not copy.steps
        lines.append(f"const unsigned int i{axis} = {rest if last else f'{rest} % {copy.sizes[axis]}u'};")
        rest = f"{rest} / {copy.sizes[axis]}u" if rest == "k" else f"({rest}) / {copy.sizes[axis]}u"
    if copy.steps:
        lines.append(f"const unsigned int step = {rest};")

    def place(side: str, first: str) -> str:
        terms = [f"{first} * {side}{number}_stream"] + ([f"step * {side}{number}_step"] if copy.steps else [])
        for axis in range(len(copy.sizes)):
            apart = f"{side}{number}_{axis}"
            together = copy.together and axis == len(copy.sizes) - 1
            terms.append(f"i{axis} * {copy.lane * copy.lanes}ll" if together else f"i{axis} * {apart}")
        return f"{side}{number} + " + " + ".join(terms)

    lines.append(f"const unsigned char* from = {place('s', source)};")
    if target is not None:
        lines.append(f"unsigned char* to = {place('t', target)};")
    return [f"for (unsigned int k = threadIdx.x; k < {end}; k += blockDim.x) {{", *_in([*lines, *inside]), "}"]


def _in(lines: Sequence[str]) -> list[str]:
    return [f"    {line}" for line in lines]
