"""Processes in cycles: generators that wait for a time or for a condition, in a fixed order.

A process yields an int, the cycle in which it goes on, or a callable, which is asked in every cycle
in which something happened. Processes that go on in the same cycle do so in the order in which
they were added: the fixed priority of the hardware.
"""

import heapq
from collections.abc import Callable, Generator

__all__ = ["Clock", "Condition", "Process"]

Condition = Callable[[], bool]
Process = Generator[int | Condition, None, None]


class Clock:
    """Runs processes until none can go on."""

    def __init__(self) -> None:
        self.now = 0
        self._timed: list[tuple[int, int]] = []
        self._waiting: dict[int, Condition] = {}
        self._processes: list[Process | None] = []
        self._names: list[str] = []
        self._forever: set[int] = set()
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._serial = 0

    def add(self, name: str, process: Process, *, forever: bool = False) -> None:
        """Start a process in this cycle; ones added earlier have priority.

        ``forever``: it may wait when the others have ended.
        """
        number = len(self._processes)
        if forever:
            self._forever.add(number)
        self._processes.append(process)
        self._names.append(name)
        heapq.heappush(self._timed, (self.now, number))

    def at(self, cycle: int, action: Callable[[], None]) -> None:
        """Call ``action`` in a later cycle, before the processes of that cycle."""
        self._serial += 1
        heapq.heappush(self._events, (max(cycle, self.now), self._serial, action))

    def run(self) -> None:
        """Run to the end; ``RuntimeError`` if processes wait for what never comes."""
        while self._timed or self._events:
            heads = [queue[0][0] for queue in (self._timed, self._events) if queue]
            self.now = min(heads)
            while self._events and self._events[0][0] == self.now:
                heapq.heappop(self._events)[2]()
            while self._timed and self._timed[0][0] == self.now:
                self._resume(heapq.heappop(self._timed)[1])
            self._wake()
        if left := sorted(set(self._waiting) - self._forever):
            stuck = ", ".join(self._names[number] for number in left)
            raise RuntimeError(f"cycle {self.now}: {stuck} wait for ever")

    def _wake(self) -> None:
        """Go on with processes whose condition holds, first ones first, until none does."""
        moved = True
        while moved:
            moved = False
            for number in sorted(self._waiting):
                if self._waiting[number]():
                    del self._waiting[number]
                    self._resume(number)
                    moved = True

    def _resume(self, number: int) -> None:
        process = self._processes[number]
        assert process is not None
        for reply in process:
            if isinstance(reply, int):
                if reply > self.now:
                    heapq.heappush(self._timed, (reply, number))
                    return
            elif not reply():
                self._waiting[number] = reply
                return
        self._processes[number] = None
