"""Streams in step: a source has a beat only once the beats that it waits for have moved."""

from collections.abc import Mapping, Sequence
from typing import Any

from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiStreamSource

from golden.order import Answer, Gates, Order

__all__ = ["Steps"]


class Steps:
    """Counts the beats of all streams, feeds the sources of ``order``, drives ``answers``.

    An answer stands in the cycle after its beat was taken. Streams go by their prefixes.
    """

    def __init__(self, dut: Any, streams: Sequence[str], order: Order,
                 answers: Mapping[str, Answer]) -> None:  # fmt: skip
        self.dut = dut
        self.pins = {
            name: (getattr(dut, f"{name}_tvalid"), getattr(dut, f"{name}_tready"))
            for name in streams
        }
        self.moved = dict.fromkeys(streams, 0)
        self.still = 0  # cycles since a beat moved
        self.gates = Gates(order)
        self.answers = answers
        for name, answer in answers.items():
            getattr(dut, name).value = answer.idle

    async def run(self, waiting: Mapping[str, tuple[AxiStreamSource, Sequence[bytes]]]) -> None:
        """Send the beats of ``waiting`` as they come free; forever."""
        sent = dict.fromkeys(waiting, 0)
        edge = RisingEdge(self.dut.aclk)
        while True:
            limits = self.gates.limits(self.moved)
            for name, (source, beats) in waiting.items():
                limit = limits.get(name, len(beats))
                for beat in beats[sent[name] : limit]:
                    source.send_nowait(beat)
                sent[name] = max(sent[name], limit)
            await edge
            taken = {
                name for name, (valid, ready) in self.pins.items()
                if int(valid.value) and int(ready.value)
            }  # fmt: skip
            for name, answer in self.answers.items():
                follows, number = answer.stream in taken, self.moved[answer.stream]
                getattr(self.dut, name).value = answer.values[number] if follows else answer.idle
            for name in taken:
                self.moved[name] += 1
            self.still = 0 if taken else self.still + 1

    async def quiet(self, cycles: int, most: Mapping[str, int]) -> None:
        """Wait until no beat moves for ``cycles``, or a stream goes beyond ``most``."""
        while self.still < cycles and all(self.moved[n] <= most[n] for n in most):
            await RisingEdge(self.dut.aclk)
