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
        self._inputs: list[tuple[str, Callable[[int, str], None], Read]] = []
        self._plain: list[tuple[Callable[[int, str], None], Read]] = []
        self._running = False
        self.ready: dict[str, str] = {}

    def add_output(self, name: str, valid: Read, payload: Read | None) -> None:
        """Watch an output stream."""
        self._outputs.append((self._checker.stream(name), valid, payload))

    def add_input(self, name: str, ready: Read) -> None:
        """Watch ready of an input stream."""
        self._inputs.append((name, self._checker.ready(name), ready))

    def add_plain(self, name: str, read: Read) -> None:
        """Watch a plain output."""
        self._plain.append((self._checker.plain(name), read))

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
        for name, check_ready, read in self._inputs:
            bit = self.ready[name] = read()
            check_ready(cycle, bit)
        for check, valid, payload in self._outputs:
            bit = valid()
            check(cycle, bit, payload() if bit == "1" and payload is not None else "")
        for check_plain, read in self._plain:
            check_plain(cycle, read())
