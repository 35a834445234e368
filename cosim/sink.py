"""Drives ready of an output stream, and plain inputs: a fixed value in each cycle."""

from collections.abc import Callable, Mapping

__all__ = ["Sink", "changes_of"]


def changes_of(pattern: str) -> dict[int, str]:
    """Return cycle -> value for the cycles in which a pattern of one bit a cycle changes."""
    return {
        cycle: bit for cycle, bit in enumerate(pattern) if not cycle or bit != pattern[cycle - 1]
    }


class Sink:
    """Writes ``changes[cycle]`` to one net; what does not change is not written."""

    def __init__(self, changes: Mapping[int, str], write: Callable[[str], None], idle: str) -> None:
        self._changes = changes
        self._write = write
        self._idle = idle

    def start(self) -> None:
        """Drive cycle 0."""
        self.clock(-1)

    def clock(self, cycle: int) -> None:
        """Drive the cycle after ``cycle``."""
        if cycle + 1 in self._changes:
            self._write(self._changes[cycle + 1])

    def stop(self) -> None:
        """Take nothing."""
        self._write(self._idle)
