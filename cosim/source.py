"""Drives an input stream: offers beat n from its cycle on, and holds it until the RTL takes it."""

from collections.abc import Callable

from cosim.script import InputScript

__all__ = ["Source"]


class Source:
    """Source of one stream.

    The next beat depends on the RTL's own ready, never on the golden one, so a block that stalls
    wrongly sees what a real neighbour would do.
    """

    def __init__(
        self,
        script: InputScript,
        write_valid: Callable[[str], None],
        write_payload: Callable[[str], None] | None,
    ) -> None:
        self._script = script
        self._write_valid = write_valid
        self._write_payload = write_payload
        self._beat = 0
        self._offering = False

    def start(self) -> None:
        """Drive cycle 0."""
        self._beat = 0
        self._offering = False
        self._write_valid("0")
        self._offer(0)

    def clock(self, cycle: int, ready: str) -> None:
        """Drive the cycle after ``cycle``, in which the RTL showed ``ready``."""
        if self._offering:
            if ready != "1":
                return
            self._beat += 1
            self._offering = False
            self._offer(cycle + 1)
            if not self._offering:
                self._write_valid("0")
        else:
            self._offer(cycle + 1)

    def stop(self) -> None:
        """Offer nothing."""
        self._offering = False
        self._write_valid("0")

    def _offer(self, cycle: int) -> None:
        script = self._script
        if self._beat < len(script.start) and script.start[self._beat] <= cycle:
            if self._write_payload is not None:
                self._write_payload(script.payload[self._beat])
            self._write_valid("1")
            self._offering = True
