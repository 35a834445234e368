"""Words of a scratchpad as a stream: a beat's address becomes its word, its side bits stay."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hdl.accelerator_layouts import read_signature
from hdl.checks import check_size

__all__ = ["WordReader"]

ENTRIES = 4


class WordReader(wiring.Component):
    """Reads ahead as far as its buffer of four words goes, and keeps order.

    A beat whose ``read`` is 0 passes without a request; its word is of no meaning.

    Parameters
    ----------
    address_bits : int
        Of the memory, 1..24.
    word : shape-like
        Of the memory.
    side : shape-like
        What travels with a beat.

    Members
    -------
    i : stream of read, address, side
    o : stream of word, side
    port : read port of the memory, ``read_signature``

    Timing
    ------
    Latency 2 cycles from a granted request, one word a cycle. ``o.valid`` and the buffer's room
    are registers; ``i.ready`` depends on ``port.ready`` where the beat reads.
    """

    i: stream.Interface
    o: stream.Interface
    port: Any

    def __init__(self, *, address_bits, word, side):
        self.address_bits = check_size("address_bits", address_bits, 1, 24)
        self.i_layout = data.StructLayout({"read": 1, "address": address_bits, "side": side})
        self.o_layout = data.StructLayout({"word": word, "side": side})
        super().__init__(
            {
                "i": In(stream.Signature(self.i_layout)),
                "o": Out(stream.Signature(self.o_layout)),
                "port": Out(read_signature(address_bits, word)),
            }
        )

    @property
    def latency(self):
        """Cycles from a granted request to ``o.valid``."""
        return 2

    def elaborate(self, platform):
        m = Module()
        beat = self.i.payload
        taken = Signal(range(ENTRIES + 1))  # beats requested and not yet delivered
        stored = Signal(range(ENTRIES + 1))  # of these, in the buffer
        room = Signal()
        enters = Signal()
        leaves = Signal()
        m.d.comb += [
            room.eq(taken != ENTRIES),
            self.port.valid.eq(self.i.valid & beat.read & room),
            self.port.address.eq(beat.address),
            self.i.ready.eq(room & (self.port.ready | ~beat.read)),
            enters.eq(self.i.valid & self.i.ready),
            self.o.valid.eq(stored != 0),
            leaves.eq(self.o.valid & self.o.ready),
        ]
        arrives = Signal()
        side = Signal(self.i_layout["side"].shape)
        m.d.sync += [
            arrives.eq(enters),
            side.eq(beat.side),
            taken.eq((taken + enters - leaves)[: len(taken)]),
            stored.eq((stored + arrives - leaves)[: len(stored)]),
        ]
        m.submodules.buffer = buffer = Memory(shape=self.o_layout, depth=ENTRIES, init=[])
        write = buffer.write_port()
        read = buffer.read_port(domain="comb")
        m.d.comb += [
            write.en.eq(arrives),
            write.data.word.eq(self.port.data),
            write.data.side.eq(side),
            self.o.payload.eq(read.data),
        ]
        with m.If(arrives):
            m.d.sync += write.addr.eq((write.addr + 1)[:2])
        with m.If(leaves):
            m.d.sync += read.addr.eq((read.addr + 1)[:2])
        return m
