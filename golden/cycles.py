"""Which cycle accepts a beat and which delivers it: the control half of the golden model.

A cycle model moves *beats* (integers that index payload arrays, -1 for a bubble) through the
registers of a block; payloads are computed apart, on whole arrays. Everything is compared as it
stands just before the clock edge. ``simulate`` drives a model with stall patterns and records
valid, ready and beat of every stream in every cycle.
"""

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from golden.numbers import Int64
from golden.order import Answer, Gates, Order

__all__ = [
    "BUBBLE",
    "STALL_PATTERNS",
    "Case",
    "CycleModel",
    "CycleTrace",
    "LockstepPipeline",
    "PipelineModel",
    "RigidPipeline",
    "SkidBuffer",
    "StreamTrace",
    "simulate",
    "stall_pattern",
    "truncate",
]

BUBBLE = -1
Bools = npt.NDArray[np.bool_]
Int32 = npt.NDArray[np.int32]

STALL_PATTERNS = ("never", "light", "heavy", "bursty", "alternating")
IDLE_MAX = 10_000  # far beyond any pause of a pattern and any latency: a deadlock
_PATTERN_CYCLES = 8191  # prime, so that a repeated pattern never locks to a tile's length


@dataclass(frozen=True)
class StreamTrace:
    """One stream over a run.

    ``valid``, ``ready``: (cycles,) bool. ``beat``: (cycles,) int32, the index of the beat that is
    offered, -1 where ``valid`` is 0.
    """

    valid: Bools
    ready: Bools
    beat: Int32

    @property
    def transfers(self) -> int:
        """Number of beats that were transferred."""
        return int(np.count_nonzero(self.valid & self.ready))


@dataclass(frozen=True)
class CycleTrace:
    """All streams and plain ports of a block over a run; plain ports are (cycles,) int64."""

    cycles: int
    inputs: Mapping[str, StreamTrace]
    outputs: Mapping[str, StreamTrace]
    plain_in: Mapping[str, Int64] = field(default_factory=dict)
    plain_out: Mapping[str, Int64] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One co-simulation run: what to drive into a block and what to see in every cycle.

    ``payloads``: stream -> field -> (beats,) or (beats, count) int64, inputs and outputs.
    ``groups``: timestep group of each beat of the first output stream, or None.
    ``labels``: for reports (layer, ...). ``places``: output stream -> label -> (beats,): where in
    the network each beat belongs (step, pixel, first channel). ``order``, ``answers``: what
    sources keep to whatever the stalls, as ``simulate`` did.
    """

    name: str
    block: str
    parameters: Mapping[str, int | str]
    payloads: Mapping[str, Mapping[str, Int64]]
    trace: CycleTrace
    seed: int
    groups: Int64 | None = None
    labels: Mapping[str, str | int] = field(default_factory=dict)
    places: Mapping[str, Mapping[str, Int64]] = field(default_factory=dict)
    order: Order = field(default_factory=dict)
    answers: Mapping[str, Answer] = field(default_factory=dict)


def stall_pattern(name: str, seed: int, cycles: int = _PATTERN_CYCLES) -> Bools:
    """Return (cycles,) bool, True where a stream may move; repeats when a run is longer.

    ``name``: one of ``STALL_PATTERNS``: never stalls, stalls 10 % or 60 % of the cycles, runs and
    pauses of 1 to 20 cycles, or every other cycle. ``ValueError`` for another name.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    if name == "never":
        return np.ones(cycles, dtype=np.bool_)
    if name == "light":
        return generator.random(cycles) >= 0.1
    if name == "heavy":
        return generator.random(cycles) >= 0.6
    if name == "alternating":
        return (np.arange(cycles) + seed) % 2 == 0
    if name == "bursty":
        lengths = generator.integers(1, 21, size=cycles)
        return np.repeat(np.arange(cycles) % 2 == 0, lengths)[:cycles]
    raise ValueError(f"stall pattern must be one of {', '.join(STALL_PATTERNS)}, got {name!r}")


class LockstepPipeline:
    """``latency`` registers that move with their consumer: ``i.ready = o.ready``."""

    def __init__(self, latency: int) -> None:
        self.latency = latency
        self.reset()

    def reset(self) -> None:
        """Empty every stage."""
        self._stages: deque[int] = deque([BUBBLE] * self.latency, maxlen=self.latency)

    @property
    def offered(self) -> int:
        """Beat at the output, -1 for a bubble."""
        return self._stages[-1]

    @property
    def empty(self) -> bool:
        """True while no stage holds a beat."""
        return all(beat < 0 for beat in self._stages)

    def ready(self, o_ready: bool) -> bool:
        """Ready of the input, and the enable of every stage."""
        return o_ready

    def clock(self, accepted: int, o_ready: bool) -> None:
        """Advance by one cycle; ``accepted`` is the beat that was transferred in, or -1."""
        if self.ready(o_ready):
            self._stages.appendleft(accepted)


class RigidPipeline(LockstepPipeline):
    """``latency`` registers that advance together: ``i.ready = o.ready | ~o.valid``."""

    def ready(self, o_ready: bool) -> bool:
        """Ready of the input, and the enable of every stage."""
        return o_ready or self._stages[-1] < 0


class SkidBuffer:
    """Two entries, ready from a register: breaks the combinational path of ``ready``."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Empty both entries."""
        self._entries: deque[int] = deque()

    @property
    def offered(self) -> int:
        """Oldest beat, -1 if there is none."""
        return self._entries[0] if self._entries else BUBBLE

    @property
    def ready(self) -> bool:
        """True while at most one entry is taken."""
        return len(self._entries) < 2

    def clock(self, accepted: int, o_ready: bool) -> None:
        """Advance by one cycle; ``accepted`` is the beat that was transferred in, or -1."""
        if self._entries and o_ready:
            self._entries.popleft()
        if accepted >= 0:
            self._entries.append(accepted)


class CycleModel(Protocol):
    """What ``simulate`` needs of a block."""

    inputs: Sequence[str]
    outputs: Sequence[str]
    plain_outputs: Sequence[str]

    def reset(self) -> None:
        """Return to the state after reset."""

    def offered(self) -> dict[str, int]:
        """Beat at each output stream, -1 for none; a function of the state alone."""

    def evaluate(
        self, valid: Mapping[str, int], ready: Mapping[str, bool], plain: Mapping[str, int]
    ) -> tuple[dict[str, bool], dict[str, int]]:
        """Return ready of each input and the value of each plain output in this cycle.

        ``valid``: beat offered at each input (-1: none); ``ready``: of each output.
        """

    def clock(
        self, accepted: Mapping[str, int], ready: Mapping[str, bool], plain: Mapping[str, int]
    ) -> None:
        """Advance; ``accepted``: beat transferred at each input in this cycle, -1 for none."""


class PipelineModel:
    """A block with one input ``i`` and one output ``o`` that is one rigid pipeline."""

    inputs: Sequence[str] = ("i",)
    outputs: Sequence[str] = ("o",)
    plain_outputs: Sequence[str] = ()

    def __init__(self, latency: int) -> None:
        self.pipeline = RigidPipeline(latency)

    def reset(self) -> None:
        """Empty the pipeline."""
        self.pipeline.reset()

    def offered(self) -> dict[str, int]:
        """Beat in the last stage."""
        return {"o": self.pipeline.offered}

    def evaluate(
        self, valid: Mapping[str, int], ready: Mapping[str, bool], plain: Mapping[str, int]
    ) -> tuple[dict[str, bool], dict[str, int]]:
        """See ``CycleModel``."""
        return {"i": self.pipeline.ready(ready["o"])}, {}

    def clock(
        self, accepted: Mapping[str, int], ready: Mapping[str, bool], plain: Mapping[str, int]
    ) -> None:
        """See ``CycleModel``."""
        self.pipeline.clock(accepted["i"], ready["o"])


def simulate(
    model: CycleModel,
    *,
    sent: Mapping[str, int],
    delivered: Mapping[str, int],
    stalls: Mapping[str, Bools],
    plain_in: Mapping[str, Int64] | None = None,
    order: Order | None = None,
    answers: Mapping[str, Answer] | None = None,
    cycles_max: int = 10_000_000,
    cycles_after: int = 8,
) -> CycleTrace:
    """Run ``model`` from reset until every beat has moved, plus ``cycles_after`` cycles.

    ``sent``, ``delivered``: number of beats of each input and output. ``stalls``: stream ->
    pattern, True where the source may offer a new beat or the sink is ready (repeated as
    needed; a source keeps a beat until it is accepted). ``plain_in``: port -> (any length,)
    values, the last one held. ``order``: for sources that wait for others. ``answers``: plain
    inputs that follow the outputs in the same cycle. ``RuntimeError`` after ``cycles_max`` cycles,
    or ``IDLE_MAX`` without a beat that moves, with what is missing.
    """
    model.reset()
    plain_in = plain_in or {}
    names = [*model.inputs, *model.outputs]
    gates = {name: stalls[name].tolist() for name in names}
    waits = Gates(order or {})
    next_beat = dict.fromkeys(model.inputs, 0)
    pending = dict.fromkeys(model.inputs, False)
    got = dict.fromkeys(model.outputs, 0)
    beats: dict[str, list[int]] = {name: [] for name in names}
    readies: dict[str, list[bool]] = {name: [] for name in names}
    plain_seen: dict[str, list[int]] = {name: [] for name in model.plain_outputs}
    plain_driven: dict[str, list[int]] = defaultdict(list)
    plain_values = {name: np.asarray(values).tolist() for name, values in plain_in.items()}
    cycle = moved = 0
    end = -1
    while end < 0 or cycle < end:
        if cycle >= cycles_max or (end < 0 and cycle - moved > IDLE_MAX):
            missing = {n: sent[n] - next_beat[n] for n in model.inputs} | {
                n: delivered[n] - got[n] for n in model.outputs
            }
            raise RuntimeError(f"golden model stopped after {cycle} cycles, beats left: {missing}")
        valid = {}
        limits = waits.limits({**next_beat, **got})
        for name in model.inputs:
            gate = gates[name]
            limit = min(sent[name], limits.get(name, sent[name]))
            if next_beat[name] < limit and (pending[name] or gate[cycle % len(gate)]):
                pending[name] = True
                valid[name] = next_beat[name]
            else:
                valid[name] = BUBBLE
        ready = {name: gates[name][cycle % len(gates[name])] for name in model.outputs}
        plain = {n: values[min(cycle, len(values) - 1)] for n, values in plain_values.items()}
        offered = model.offered()
        for name, answer in (answers or {}).items():
            beat = offered[answer.stream]
            follows = beat >= 0 and (ready[answer.stream] or not answer.taken)
            plain[name] = answer.values[beat] if follows else answer.idle
        i_ready, plain_out = model.evaluate(valid, ready, plain)
        accepted = {}
        for name in model.inputs:
            beats[name].append(valid[name])
            readies[name].append(i_ready[name])
            if valid[name] >= 0 and i_ready[name]:
                accepted[name] = valid[name]
                next_beat[name] += 1
                pending[name] = False
                moved = cycle
            else:
                accepted[name] = BUBBLE
        for name in model.outputs:
            beats[name].append(offered[name])
            readies[name].append(ready[name])
            if offered[name] >= 0 and ready[name]:
                got[name] += 1
                moved = cycle
        for name, value in plain_out.items():
            plain_seen[name].append(value)
        for name, value in plain.items():
            plain_driven[name].append(value)
        model.clock(accepted, ready, plain)
        cycle += 1
        if (
            end < 0
            and all(next_beat[n] >= sent[n] for n in model.inputs)
            and all(got[n] >= delivered[n] for n in model.outputs)
        ):
            end = cycle + cycles_after

    def trace(name: str) -> StreamTrace:
        beat = np.array(beats[name], dtype=np.int32)
        return StreamTrace(beat >= 0, np.array(readies[name], dtype=np.bool_), beat)

    return CycleTrace(
        cycle,
        {name: trace(name) for name in model.inputs},
        {name: trace(name) for name in model.outputs},
        {name: np.array(values, dtype=np.int64) for name, values in plain_driven.items()},
        {name: np.array(values, dtype=np.int64) for name, values in plain_seen.items()},
    )


def truncate(trace: CycleTrace, cycles: int) -> CycleTrace:
    """Return the first ``cycles`` cycles of ``trace``: a run that a reset cuts off."""

    def cut(stream: StreamTrace) -> StreamTrace:
        return StreamTrace(stream.valid[:cycles], stream.ready[:cycles], stream.beat[:cycles])

    return CycleTrace(
        min(cycles, trace.cycles),
        {name: cut(stream) for name, stream in trace.inputs.items()},
        {name: cut(stream) for name, stream in trace.outputs.items()},
        {name: values[:cycles] for name, values in trace.plain_in.items()},
        {name: values[:cycles] for name, values in trace.plain_out.items()},
    )
