"""The cycles round a mismatch, as a timing diagram shows them: what was expected and what came.

Nothing is simulated again. Up to the first mismatch the RTL equals the golden trace, and from there
on every deviation was reported; so what the RTL showed is the golden trace with the reported
differences put in, as far as they were kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cosim.checker import CaseVerdict, Difference
from cosim.manifest import Port
from cosim.mismatch import Mismatch
from cosim.script import first_cycles, unpack_bits
from golden.cycles import Case

__all__ = ["Signal", "Timing", "timing_of"]

BEFORE = 4
AFTER = 7


@dataclass(frozen=True)
class Signal:
    """One net: a word a cycle, "" where it carries nothing. ``got``: None if the bench drives it.

    ``bit``: drawn as a level, not as a number.
    """

    name: str
    bit: bool
    expected: tuple[str, ...]
    got: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Timing:
    """Signals of one stream or plain port in the cycles from ``first``; ``cycle``: the mismatch."""

    stream: str
    first: int
    cycle: int
    signals: tuple[Signal, ...]

    def record(self) -> dict[str, Any]:
        """Return the diagram in plain lists, as a report keeps it."""
        return {
            "stream": self.stream,
            "first": self.first,
            "cycle": self.cycle,
            "signals": [
                {
                    "name": signal.name,
                    "bit": signal.bit,
                    "expected": list(signal.expected),
                    "got": None if signal.got is None else list(signal.got),
                }
                for signal in self.signals
            ],
        }


def timing_of(
    seen: CaseVerdict, first: Mismatch, ports: Mapping[str, Port], case: Case
) -> Timing | None:
    """Return the diagram of the case's first mismatch; None where its cycle is outside the trace.

    It ends early where so many differences followed that not all were kept.
    """
    at = first.cycle
    if not 0 <= at < case.trace.cycles:
        return None
    end = min(at + AFTER, case.trace.cycles - 1)
    if seen.mismatches > len(seen.differences):
        end = max(at, min(end, seen.differences[-1].cycle - 1))
    cycles = range(max(0, at - BEFORE), end + 1)
    own = {
        (difference.kind, difference.cycle): difference
        for difference in seen.differences
        if difference.stream == first.stream
    }
    port = ports[first.stream]
    if port.kind == "plain":
        signals = [_plain(own, port, case, cycles)]
    elif port.direction == "in":
        signals = _input(own, port, case, cycles)
    else:
        signals = _output(own, port, first, case, cycles)
    return Timing(first.stream, cycles.start, at, tuple(signals))


Own = Mapping[tuple[str, int], Difference]


def _got(own: Own, kind: str, cycle: int, expected: str) -> str:
    difference = own.get((kind, cycle))
    return expected if difference is None else difference.got


def _plain(own: Own, port: Port, case: Case, cycles: range) -> Signal:
    values = case.trace.plain_out[port.name]
    expected = [str(int(values[cycle])) for cycle in cycles]
    bits = [_got(own, "plain", cycle, "") for cycle in cycles]
    got = [_number(word) if word else value for word, value in zip(bits, expected, strict=True)]
    return Signal(port.name, port.width == 1, tuple(expected), tuple(got))


def _number(bits: str) -> str:
    return str(int(bits, 2)) if set(bits) <= {"0", "1"} else "x"


def _input(own: Own, port: Port, case: Case, cycles: range) -> list[Signal]:
    """Valid as the bench drives it: a beat waits until the RTL takes it."""
    stream = case.trace.inputs[port.name]
    starts = first_cycles(stream, port.name)
    beat = int(np.count_nonzero((stream.valid & stream.ready)[: cycles.start]))
    valid, ready, got, beats = [], [], [], []
    for cycle in cycles:
        offered = beat < len(starts) and starts[beat] <= cycle
        valid.append("01"[offered])
        beats.append(str(beat) if offered else "")
        ready.append("01"[int(stream.ready[cycle])])
        got.append(_got(own, "ready", cycle, ready[-1]))
        beat += offered and got[-1] == "1"
    return [
        Signal("valid", True, tuple(valid)),
        Signal("ready", True, tuple(ready), tuple(got)),
        Signal("beat", False, tuple(beats)),
    ]


def _output(own: Own, port: Port, first: Mismatch, case: Case, cycles: range) -> list[Signal]:
    stream = case.trace.outputs[port.name]
    wanted = [int(stream.beat[c]) if stream.valid[c] else -1 for c in cycles]
    valid = ["01"[beat >= 0] for beat in wanted]
    got_valid = [_got(own, "valid", c, bit) for c, bit in zip(cycles, valid, strict=True)]
    moved = int(np.count_nonzero((stream.valid & stream.ready)[: cycles.start]))
    beats = []
    for cycle, bit in zip(cycles, got_valid, strict=True):
        beats.append(moved if bit == "1" else -1)
        moved += bit == "1" and bool(stream.ready[cycle])
    ready = ["01"[int(stream.ready[cycle])] for cycle in cycles]
    signals = [
        Signal("valid", True, tuple(valid), tuple(got_valid)),
        Signal("ready", True, tuple(ready)),
        Signal("beat", False, _words(wanted), _words(beats)),
    ]
    part = next((f for f in port.fields if f.name == first.field), None)
    part = part or next((f for f in port.fields if f.width * f.count), None)
    if part is None:
        return signals
    lane = max(first.lane, 0)
    values = np.asarray(case.payloads[port.name][part.name])
    values = values.reshape(len(values), -1)[:, lane]

    def value(beat: int) -> str:
        return ("?" if beat >= len(values) else str(int(values[beat]))) if beat >= 0 else ""

    def seen(cycle: int, beat: int) -> str:
        difference = own.get(("payload", cycle))
        if difference is None:
            return value(beat)
        known = set(difference.got) <= {"0", "1"}
        return str(unpack_bits(port, difference.got)[part.name, lane]) if known else "x"

    name = part.name if part.scalar else f"{part.name}[{lane}]"
    expected = tuple(value(beat) for beat in wanted)
    got = tuple(seen(cycle, beat) for cycle, beat in zip(cycles, beats, strict=True))
    return [*signals, Signal(name, False, expected, got)]


def _words(beats: Sequence[int]) -> tuple[str, ...]:
    return tuple(str(beat) if beat >= 0 else "" for beat in beats)
