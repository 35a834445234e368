"""What every stream through a block must keep: no beat lost, made, changed or reordered.

``Flow`` watches one input and one output stream whose beats answer one to one. It counts, and
follows one beat that the solver picks. With ``Stages`` it also says where each beat stands in a
rigid pipeline, which is what induction needs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Mux, Signal, Value
from amaranth.lib import stream

from cosim.formal.harness import Harness, every, implies, ones

__all__ = ["Flow", "Stages", "stable"]


def stable(h: Harness, name: str, output: stream.Interface, guard: Any = 1) -> None:
    """A beat that is offered stays, payload and all, until it is taken."""
    waits = h.register(output.valid & ~output.ready, f"{name}_waits")
    payload = Value.cast(output.payload)
    before = h.register(payload, f"{name}_before")
    h.check(f"{name}_valid_stays", implies(waits, output.valid))
    h.check(f"{name}_payload_stays", implies(waits & guard, payload == before))


@dataclass(frozen=True)
class Stages:
    """Places of beats: ``valid[s]`` is the register of stage s, the last one drives the output.

    ``matches(s, saved)``: what stage s holds of the beat whose input payload was ``saved``.
    ``step(markers, marked)``: where the followed beat is in the next cycle, one bit a stage;
    without it the stages are a rigid pipeline, which moves while ``o.ready | ~o.valid``.
    """

    valid: Sequence[Any]
    matches: Callable[[int, Any], Any]
    step: Callable[[Any, Any], Sequence[Any]] | None = None


class Flow:
    """Scoreboard between ``i`` and ``o``.

    Parameters
    ----------
    capacity : int
        Most beats inside at a time.
    wait : int, optional
        Most cycles in a row in which beats are inside and none is offered.
    expect : callable
        ``expect(saved)``: one bit, the output payload is right for the input payload ``saved``.
    stalls : bool
        The output may stall.
    deep : bool
        Cover the full block and the followed beat at its output, not only inside.

    Attributes
    ----------
    saved
        Input payload of the followed beat, from the cycle after its acceptance on.
    marked : the followed beat is accepted in this cycle
    tracking : the followed beat is inside
    """

    def __init__(
        self,
        h: Harness,
        name: str,
        i: stream.Interface,
        o: stream.Interface,
        *,
        capacity: int,
        wait: int | None,
        expect: Callable[[Any], Any],
        stalls: bool = True,
        deep: bool = True,
    ) -> None:
        self.h, self.name, self.i, self.o = h, name, i, o
        m = h.m
        mark = h.free(1, f"{name}_mark")
        enters = h.named(i.valid & i.ready, f"{name}_enters")
        leaves = h.named(o.valid & o.ready, f"{name}_leaves")
        self.inside = inside = Signal(range(2 * capacity + 3), name=f"{name}_inside")
        self.tracking = tracking = Signal(name=f"{name}_tracking")
        self.ahead = ahead = Signal(range(2 * capacity + 3), name=f"{name}_ahead")
        self.waited = waited = Signal(range(2 * (wait or 0) + 4), name=f"{name}_waited")
        self.saved = saved = Signal(i.payload.shape(), name=f"{name}_saved")
        self.marked = marked = h.named(mark & enters & ~tracking, f"{name}_marked")
        width = len(inside)
        m.d.sync += inside.eq((inside + enters - leaves)[:width])
        starved = h.named((inside != 0) & ~o.valid, f"{name}_starved")
        m.d.sync += waited.eq(Mux(starved, (waited + 1)[: len(waited)], 0))
        arrives = h.named(tracking & (ahead == 0), f"{name}_arrives")
        with m.If(marked):
            m.d.sync += [
                tracking.eq(1),
                ahead.eq((inside - leaves)[:width]),
                saved.eq(i.payload),
            ]
        with m.Elif(tracking & leaves):
            m.d.sync += [tracking.eq(ahead != 0), ahead.eq((ahead - 1)[:width])]

        stable(h, name, o)
        h.check(f"{name}_no_beat_made", implies(o.valid, inside != 0))
        h.check(f"{name}_no_room_for_more", inside <= capacity)
        if wait is not None:
            h.check(f"{name}_not_stuck", waited + starved <= wait)
        h.check(f"{name}_beat_is_right", implies(arrives & o.valid, expect(saved)))
        h.check(f"{name}_followed_beat_inside", implies(tracking, ahead < inside))
        h.cover(f"{name}_inside", tracking)
        if not deep:
            return
        h.cover(f"{name}_full", inside == capacity)
        h.cover(f"{name}_followed_beat_leaves", arrives & leaves & (inside == capacity))
        if not stalls:
            h.assume(f"{name}_no_stall", o.ready)
            return
        stalled = h.register(o.valid & ~o.ready, f"{name}_stalled")
        h.cover(f"{name}_stall", stalled & arrives & leaves)

    def follow(self, stages: Stages) -> None:
        """Add where the beats stand."""
        h, valid = self.h, [Value.cast(bit) for bit in stages.valid]
        depth = len(valid)
        moves = h.named(self.o.ready | ~self.o.valid, f"{self.name}_moves")
        self.markers = markers = Signal(depth, name=f"{self.name}_markers")
        if stages.step is not None:
            h.m.d.sync += markers.eq(Cat(*stages.step(markers, self.marked)))
        else:
            with h.m.If(moves):
                h.m.d.sync += markers.eq(Cat(self.marked, markers[:-1]))
            self._oldest(valid)
        name = self.name
        h.check(f"{name}_stages_inside", ones(valid) == self.inside)
        h.check(f"{name}_one_marker", ones(markers) == self.tracking)
        h.check(f"{name}_marker_valid", every(implies(markers[s], valid[s]) for s in range(depth)))
        h.check(
            f"{name}_marker_ahead",
            every(implies(markers[s], self.ahead == ones(valid[s + 1 :])) for s in range(depth)),
        )
        for s in range(depth):
            h.check(f"{name}_stage_{s + 1}", implies(markers[s], stages.matches(s, self.saved)))

    def _oldest(self, valid: Sequence[Any]) -> None:
        """After w cycles without a beat at the output the oldest stands in stage w or later."""
        h, depth = self.h, len(valid)
        stands = [implies(self.waited == w, Cat(*valid[w:]).any()) for w in range(1, depth)]
        h.check(f"{self.name}_oldest", every(stands))
        h.check(f"{self.name}_waited", self.waited < depth)
