"""What a golden case really did: the beats that moved, and each stream cycle by cycle."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from golden.cycles import Bools, Case, StreamTrace
from golden.numbers import Int64

__all__ = ["Hits", "Observed", "longest_run", "stream_bins"]

Hits = dict[str, bool]
LONG = 8
LOADS = {"i_write", "i_weights", "i_row"}


@dataclass(frozen=True)
class Observed:
    """A case, cut where its reset cut it."""

    case: Case

    def stream(self, name: str) -> StreamTrace:
        """The stream's valid and ready, cycle by cycle."""
        trace = self.case.trace
        return trace.inputs[name] if name in trace.inputs else trace.outputs[name]

    def fields(self, *names: str) -> list[Mapping[str, Int64]]:
        """Fields of the beats that moved on all of the streams, (beats,) or (beats, lanes)."""
        moved = min(self.stream(name).transfers for name in names)
        return [
            {k: np.asarray(v)[:moved] for k, v in self.case.payloads[name].items()}
            for name in names
        ]

    def moved_before(self, name: str) -> Int64:
        """(cycles,) beats of a stream that moved before each cycle."""
        stream = self.stream(name)
        return np.r_[0, np.cumsum(stream.valid & stream.ready)[:-1]].astype(np.int64)

    def moves(self, name: str) -> npt.NDArray[np.intp]:
        """(beats,) cycle in which each beat moved."""
        stream = self.stream(name)
        return np.flatnonzero(stream.valid & stream.ready)


def longest_run(flags: Bools) -> int:
    """Length of the longest run of true."""
    edges = np.flatnonzero(np.diff(np.r_[False, flags, False].astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def stream_bins(seen: Observed) -> Hits:
    """How every stream of the block moved and waited."""
    hits: Hits = {}
    trace = seen.case.trace
    for name in (*trace.inputs, *trace.outputs):
        stream = seen.stream(name)
        moved, valid, ready = stream.valid & stream.ready, stream.valid, stream.ready
        hits |= {
            f"{name}: beats in {LONG} cycles running": longest_run(moved) >= LONG,
            f"{name}: a beat waits for ready": bool((valid & ~ready).any()),
            f"{name}: a beat waits {LONG} cycles": longest_run(valid & ~ready) >= LONG,
            f"{name}: ready waits for a beat": bool((~valid & ready).any()),
            f"{name}: no beat for {LONG} cycles": longest_run(~valid) >= LONG,
            f"{name}: beats and waits in turn": _in_turn(valid, moved),
        }
    sent = sum(seen.stream(name).transfers for name in trace.inputs)
    left = sum(seen.stream(name).transfers for name in trace.outputs)
    cut = "reset" in seen.case.name
    hits["reset with beats inside"] = cut and sent > left
    data = [seen.stream(name) for name in (*trace.inputs, *trace.outputs) if name not in LOADS]
    hits["every stream of data moves in one cycle"] = bool(
        np.logical_and.reduce([stream.valid & stream.ready for stream in data]).any()
    )
    return hits


def _in_turn(valid: Bools, moved: Bools) -> bool:
    """Whether a beat moved, waited (or was missing) and moved again, four times running."""
    turns = moved[1:] != moved[:-1]
    return longest_run(turns) >= 2 * 4 and bool(valid.any())
