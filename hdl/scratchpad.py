"""Banked memory with several readers and writers: a word a cycle at each bank, fixed priority."""

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In

from hdl.accelerator_layouts import read_signature, write_signature

__all__ = ["Scratchpad"]


class Scratchpad(wiring.Component):
    """Words of ``lanes`` elements in ``banks`` banks, which follow each other in the addresses.

    Each bank takes one read and one write a cycle: of those that ask for it, the port that stands
    first in the list. Ports that ask for other banks do not wait for each other.

    Parameters
    ----------
    words : int
        Of all banks, a multiple of ``banks``.
    banks : int
    element : shape-like
        Of a lane.
    lanes : int
    readers, writers : sequence of str
        Names of the ports, highest priority first.
    masked : bool
        Writes have a bit a lane.

    Members
    -------
    each reader : read port, ``read_signature``
    each writer : write port, ``write_signature``

    Timing
    ------
    Data of a granted read are there in the next cycle, and only then. A write that is accepted in
    cycle t is seen by a read that is granted in t + 1. A read beside a write of the same word gives
    either: a program waits for what it reads, and before it overwrites.
    """

    def __init__(self, *, words, banks, element, lanes, readers, writers, masked=False):
        self.words = words
        self.banks = banks
        self.word = data.ArrayLayout(element, lanes)
        self.lanes = lanes
        self.readers = tuple(readers)
        self.writers = tuple(writers)
        self.masked = masked
        self.bank_words = words // banks
        self.address_bits = max(1, (words - 1).bit_length())
        read = read_signature(self.address_bits, self.word)
        write = write_signature(self.address_bits, self.word, mask=lanes if masked else 0)
        super().__init__(
            {
                **{name: In(read) for name in self.readers},
                **{name: In(write) for name in self.writers},
            }
        )

    def elaborate(self, platform):
        m = Module()
        memories = []
        for bank in range(self.banks):
            memory = Memory(
                shape=self.word, depth=self.bank_words, init=[], attrs={"no_rw_check": "1"}
            )
            m.submodules[f"bank_{bank}"] = memory
            memories.append(memory)
        readers = [getattr(self, name) for name in self.readers]
        writers = [getattr(self, name) for name in self.writers]
        reads = [memory.read_port() for memory in memories]
        inputs = [memory.write_port(granularity=1) if self.masked else memory.write_port()
                  for memory in memories]  # fmt: skip
        granted, places = self._grant(m, readers, self.readers)
        for bank, port in enumerate(reads):
            chosen = [given[bank] for given in granted]
            m.d.comb += [port.addr.eq(_select(chosen, places)), port.en.eq(Cat(chosen).any())]
        for number, reader in enumerate(readers):
            asked = Signal(self.banks, name=f"{self.readers[number]}_asked")
            m.d.sync += asked.eq(Cat(granted[number]))
            words = [port.data.as_value() for port in reads]
            m.d.comb += reader.data.eq(_select(list(asked), words))

        granted, places = self._grant(m, writers, self.writers)
        for bank, entry in enumerate(inputs):
            chosen = [given[bank] for given in granted]
            m.d.comb += [
                entry.addr.eq(_select(chosen, places)),
                entry.data.eq(_select(chosen, [writer.data.as_value() for writer in writers])),
                entry.en.eq(
                    _select(chosen, [writer.mask for writer in writers])
                    if self.masked
                    else Cat(chosen).any()
                ),
            ]
        return m

    def _grant(self, m, ports, names):
        """Return, for each port, which bank it is granted; and its address within a bank."""
        bank_bits = max(1, (self.bank_words - 1).bit_length())
        taken: list[Value] = [Const(0)] * self.banks
        granted = []
        places = []
        for port, name in zip(ports, names, strict=True):
            place = Signal(bank_bits, name=f"{name}_place")
            wants = Signal(self.banks, name=f"{name}_wants")
            gets = Signal(self.banks, name=f"{name}_gets")
            for bank in range(self.banks):
                first = bank * self.bank_words
                inside = port.address >= first if bank else Const(1)
                if bank + 1 < self.banks:
                    inside &= port.address < first + self.bank_words
                m.d.comb += wants[bank].eq(port.valid & inside)
                with m.If(inside):
                    m.d.comb += place.eq((port.address - first)[:bank_bits])
                m.d.comb += gets[bank].eq(wants[bank] & ~taken[bank])
                taken[bank] = taken[bank] | wants[bank]
            m.d.comb += port.ready.eq(gets.any())
            granted.append(list(gets))
            places.append(place)
        return granted, places


def _select(chosen, values):
    """Return the value whose bit in ``chosen`` is set, of at most one; 0 if none is."""
    result = Const(0)
    for bit, value in zip(chosen, values, strict=True):
        result = result | (value & bit.replicate(len(value)))
    return result
