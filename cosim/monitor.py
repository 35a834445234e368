"""Reads the RTL just before the clock edge and hands what it saw to the checker."""

from collections.abc import Callable

from cosim.checker import Checker

__all__ = ["Monitor"]

Read = Callable[[], str]


class Monitor:
    """Observes one output stream (valid, payload), one input stream (ready) or one plain port."""

    def __init__(self, checker: Checker) -> None:
        self._checker = checker
        self._outputs: list[tuple[Callable[[int, str, str], None], Read, Read | None]] = []
        self._inputs: list[tuple[str, Read]] = []
        self._plain: list[tuple[str, Read]] = []
        self._running = False
        self.ready: dict[str, str] = {}

    def add_output(self, name: str, valid: Read, payload: Read | None) -> None:
        """Watch an output stream."""
        self._outputs.append((self._checker.stream(name), valid, payload))

    def add_input(self, name: str, ready: Read) -> None:
        """Watch ready of an input stream."""
        self._inputs.append((name, ready))

    def add_plain(self, name: str, read: Read) -> None:
        """Watch a plain output."""
        self._plain.append((name, read))

    def start(self) -> None:
        """Begin with cycle 0."""
        self._running = True

    def stop(self) -> None:
        """See nothing more."""
        self._running = False

    def clock(self, cycle: int) -> None:
        """Read everything once, as it stands before the edge that ends ``cycle``."""
        if not self._running:
            return
        checker = self._checker
        for name, read in self._inputs:
            bit = self.ready[name] = read()
            checker.ready(name, cycle, bit)
        for check, valid, payload in self._outputs:
            bit = valid()
            check(cycle, bit, payload() if bit == "1" and payload is not None else "")
        for name, read in self._plain:
            checker.plain(name, cycle, read())
