"""Ports of the scratchpads' banks: which cycles the units with priority take."""

from collections import deque

from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.timing.clock import Clock

__all__ = ["Ports"]

KEPT = 64  # cycles that somebody may still ask for


class Ports:
    """Cycles in which banks are taken, by port.

    ``residual`` and ``operand`` are reads of the array, ``stream`` and ``codes`` its writes,
    ``vector`` and ``sampled`` what the vector unit reads and writes of the stream scratchpad.
    """

    def __init__(self, clock: Clock, config: AcceleratorConfig) -> None:
        self.clock = clock
        stream = config.stream_words // config.stream_banks
        names = ("residual", "stream", "vector", "sampled")
        self._words = dict.fromkeys(names, stream)
        self._words |= dict.fromkeys(("operand", "codes"), config.code_bank_words)
        self._taken: dict[tuple[str, int], deque[tuple[int, int]]] = {}

    def take(self, port: str, address: int, words: int, cycle: int) -> None:
        """``words`` from ``address`` on, one a cycle from ``cycle`` on."""
        each = self._words[port]
        while words > 0:
            here = min(words, each - address % each)
            self.hold(port, address, cycle, here)
            address, words, cycle = address + here, words - here, cycle + here

    def hold(self, port: str, address: int, cycle: int, cycles: int) -> None:
        """The bank of ``address`` for ``cycles`` from ``cycle`` on, after all that was held."""
        taken = self._taken.setdefault((port, address // self._words[port]), deque())
        if taken and taken[-1][1] == cycle:
            cycles += cycle - taken[-1][0]
            cycle = taken.pop()[0]
        taken.append((cycle, cycle + cycles))

    def after(self, port: str, address: int, cycle: int) -> int:
        """First cycle from ``cycle`` on in which the bank of ``address`` is not taken."""
        taken = self._taken.get((port, address // self._words[port]))
        if not taken:
            return cycle
        while taken and taken[0][1] < self.clock.now - KEPT:
            taken.popleft()
        for first, end in taken:
            if first <= cycle < end:
                cycle = end
        return cycle
