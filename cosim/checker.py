"""Compares what the RTL did with the golden trace, every cycle, and counts what it compared.

Ready of inputs, valid of outputs and plain outputs always; payload whenever valid, beat by beat in
the order of the RTL's own transfers, so that one late beat does not make every later one wrong.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from cosim.script import CaseScript

__all__ = ["CaseVerdict", "Checker", "Difference"]

KEPT = 32


@dataclass(frozen=True)
class Difference:
    """One deviation. ``kind``: ready, valid, payload, plain, missing or extra; bits as text."""

    kind: str
    stream: str
    cycle: int
    beat: int
    expected: str
    got: str


@dataclass
class CaseVerdict:
    """What was compared in a case; ``differences`` keeps the first of ``mismatches``.

    ``seconds``: of the simulation loop.
    """

    name: str
    cycles: int = 0
    beats: int = 0
    mismatches: int = 0
    differences: list[Difference] = field(default_factory=list)
    seconds: float = 0.0


class Checker:
    """Checker of one case; it is told what happened and knows what should have."""

    def __init__(self, script: CaseScript) -> None:
        self._script = script
        self._moved = dict.fromkeys(script.outputs, 0)
        self.verdict = CaseVerdict(script.name)

    def start(self) -> None:
        """Begin with cycle 0."""
        self._moved = dict.fromkeys(self._script.outputs, 0)
        self.verdict = CaseVerdict(self._script.name)

    def _differs(self, *difference: str | int) -> None:
        self.verdict.mismatches += 1
        if len(self.verdict.differences) < KEPT:
            self.verdict.differences.append(Difference(*difference))  # type: ignore[arg-type]

    def ready(self, stream: str) -> Callable[[int, str], None]:
        """Return ``check(cycle, ready)`` of an input stream."""
        script = self._script.inputs[stream]
        expected = script.ready

        def check(cycle: int, got: str) -> None:
            if got != expected[cycle]:
                beat = sum(start <= cycle for start in script.start) - 1
                self._differs("ready", stream, cycle, beat, expected[cycle], got)

        return check

    def plain(self, port: str) -> Callable[[int, str], None]:
        """Return ``check(cycle, bits)`` of a plain output."""
        expected = self._script.plain_out[port]

        def check(cycle: int, got: str) -> None:
            if got != expected[cycle]:
                self._differs("plain", port, cycle, -1, expected[cycle], got)

        return check

    def stream(self, name: str) -> Callable[[int, str, str], None]:
        """Return ``check(cycle, valid, payload)`` of an output stream."""
        script = self._script.outputs[name]
        beats, payloads, ready = script.beat, script.payload, script.ready

        def check(cycle: int, valid: str, payload: str) -> None:
            wanted = beats[cycle]
            if valid != "1":
                if wanted >= 0 or valid != "0":  # x, of a four-state simulator, is never right
                    self._differs("valid", name, cycle, wanted, "01"[wanted >= 0], valid)
                return
            beat = self._moved[name]
            if wanted < 0:
                self._differs("valid", name, cycle, beat, "0", "1")
            if beat < len(payloads) and payload != payloads[beat]:
                self._differs("payload", name, cycle, beat, payloads[beat], payload)
            if ready[cycle] == "1":
                self._moved[name] = beat + 1

        return check

    def stop(self, cycles: int) -> CaseVerdict:
        """End after ``cycles`` cycles: count beats, find those that are missing or too many."""
        self.verdict.cycles = cycles
        for name, script in self._script.outputs.items():
            moved, wanted = self._moved[name], script.transfers
            self.verdict.beats += min(moved, wanted)
            if moved != wanted:
                kind = "missing" if moved < wanted else "extra"
                beat = min(moved, wanted)
                self._differs(kind, name, cycles - 1, beat, str(wanted), str(moved))
        if not self._script.outputs and self._script.plain_out:
            self.verdict.beats = cycles  # a block without streams delivers in every cycle
        return self.verdict
