"""Which beats wait for others: the order of streams that must come in step, free of cycles.

Plain data and counters alone, so that a simulator's process reads it without numpy.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Answer", "Gates", "Order", "Wait"]


@dataclass(frozen=True)
class Wait:
    """Beat ``beat`` of an input, and those after it, wait until others have moved.

    ``moved``: stream -> beats. ``cycles``: for so many more, from when the beat is next in line.
    """

    beat: int
    moved: Mapping[str, int]
    cycles: int = 0


Order = Mapping[str, Sequence[Wait]]
"""Input -> its waits; an input without one, and a beat in front of the first, is free."""


@dataclass(frozen=True)
class Answer:
    """A plain input that follows an output.

    It is ``values[beat]`` while a beat is offered (``taken``: in the cycle in which it is taken),
    ``idle`` otherwise.
    """

    stream: str
    values: Sequence[int]
    idle: int = 0
    taken: bool = False


class Gates:
    """How many beats of each input may be offered, by an order; asked once a cycle."""

    def __init__(self, order: Order) -> None:
        self._left = {
            stream: deque(sorted(waits, key=lambda wait: wait.beat))
            for stream, waits in order.items()
        }
        self._cycles = dict.fromkeys(order, 0)

    def limits(self, moved: Mapping[str, int]) -> dict[str, int]:
        """Return the limit of each input that has one; ``moved``: stream -> beats so far."""
        found = {}
        for stream, waits in self._left.items():
            while waits and moved[stream] >= waits[0].beat and self._over(stream, moved):
                waits.popleft()
                self._cycles[stream] = 0
            if waits:
                found[stream] = waits[0].beat
        return found

    def _over(self, stream: str, moved: Mapping[str, int]) -> bool:
        wait = self._left[stream][0]
        if any(moved[other] < count for other, count in wait.moved.items()):
            return False
        self._cycles[stream] += 1
        return self._cycles[stream] > wait.cycles
