"""Constants of a norm: channel sums joined to groups, a slope and an offset for each channel."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from golden.accelerator.configuration import SIZES
from golden.accelerator.instruction import Opcode, Unit
from golden.accelerator.program import NORM_HEADER_WORDS
from hdl.accelerator_layouts import COUNTS_LAYOUT, NORM_WRITE, count_of, instruction_layout
from hdl.channel_sums import S1_BITS, S2_BITS, sums_layout, sums_read_signature
from hdl.checks import check_choice, check_size
from hdl.norm_channel import NormChannel
from hdl.norm_group import NormGroup
from hdl.norm_lane import CONSTANTS_LAYOUT

__all__ = ["NormConstants"]


class NormConstants(wiring.Component):
    """For each channel of a NORM, in order, what a :class:`~hdl.norm_lane.NormLane` takes.

    Three stages work on groups one after the other, the later ones on the group before:

    ========  ==========================================================================
    stage     does
    ========  ==========================================================================
    gather    reads the entries of channel_sums, source 0 then 1, and adds the channels of
              a group, one a cycle; a group may go on in the next chunk or source. Before
              the first group that begins in a chunk it waits for that chunk
    group     :class:`~hdl.norm_group.NormGroup`
    channel   :class:`~hdl.norm_channel.NormChannel`, gamma and beta from the bank's table
    ========  ==========================================================================

    Parameters
    ----------
    size : int
        Lanes of a chunk: 4, 8, 16 or 32.
    sum_chunks : int
        Entries of channel_sums, and chunks of a norm's table; 1..4096.

    Members
    -------
    i : stream of NORM instructions (fields of ``instruction_layout(Opcode.NORM)``)
    counts : counts of array, vector and mover (16 bits each)
    norm_write : valid, bank, index, data (32): words of a norm block, 0..3 the header, then
        {gamma, beta} a lane
    read_sums : valid, entry; data (N x {S1, S2}) in the next cycle
    o : stream of slope, offset, beta, shift, last (channel of its chunk)
    fault : Out(1)
        Pulse: V is not positive or F below 7; reset is the only way on.

    Timing
    ------
    ``i.ready`` once the last channel of the norm before is on its way. A group takes 66 cycles or
    those of its channels, a channel 19, whichever is longer; stages overlap.
    """

    i: stream.Interface
    o: stream.Interface
    counts: data.View
    norm_write: wiring.PureInterface
    read_sums: wiring.PureInterface
    fault: Signal

    def __init__(self, *, size=16, sum_chunks=64):
        self.size = check_choice("size", size, SIZES)
        self.sum_chunks = check_size("sum_chunks", sum_chunks, 1, 4096)
        self.entry_bits = max(1, (sum_chunks - 1).bit_length())
        self.instruction = instruction_layout(Opcode.NORM)
        constants = data.StructLayout({**CONSTANTS_LAYOUT.members, "last": 1})
        super().__init__(
            {
                "i": In(stream.Signature(self.instruction)),
                "counts": In(COUNTS_LAYOUT),
                "norm_write": In(NORM_WRITE),
                "read_sums": Out(sums_read_signature(size, sum_chunks)),
                "o": Out(stream.Signature(constants)),
                "fault": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        work = Signal(self.instruction)
        takes = Signal()
        gathering, giving = Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(~gathering & ~giving),
            takes.eq(self.i.valid & self.i.ready),
        ]
        with m.If(takes):
            m.d.sync += [work.eq(self.i.payload), gathering.eq(1), giving.eq(1)]
        m.submodules.group = group = NormGroup()
        m.submodules.channel = channel = NormChannel()
        m.d.comb += self.fault.eq(group.fault | channel.fault)
        wiring.connect(m, channel.o, wiring.flipped(self.o))
        header, pair = self._tables(m, work.bank)
        self._gather(m, takes, work, gathering, header, group)
        self._give(m, takes, work, giving, pair, group, channel)
        return m

    def _tables(self, m, bank):
        """Return E and elements of ``bank``, and the read port of its {gamma, beta}."""
        depth = self.sum_chunks * self.size
        address_bits = max(1, (depth - 1).bit_length())
        m.submodules.pairs = memory = Memory(shape=32, depth=2 << address_bits, init=[])
        write, read = memory.write_port(), memory.read_port()
        given = self.norm_write
        lane = Signal(address_bits)
        m.d.comb += [
            lane.eq((given.index - NORM_HEADER_WORDS)[:address_bits]),
            write.addr.eq(Cat(lane, given.bank)),
            write.data.eq(given.data),
            write.en.eq(given.valid & (given.index >= NORM_HEADER_WORDS)),
        ]
        words = [
            [Signal(32, name=f"header_{number}_{word}") for word in range(3)] for number in range(2)
        ]
        for number in range(2):
            for index, word in enumerate(words[number]):
                with m.If(given.valid & (given.bank == number) & (given.index == index)):
                    m.d.sync += word.eq(given.data)
        low, high, elements = (Mux(bank, *reversed(pair)) for pair in zip(*words, strict=True))
        return (Cat(low, high), elements), read

    def _permitted(self, m, work, chunk):
        """Return whether ``chunk`` may be read."""
        need = Signal(17)
        limited = Signal(16)
        m.d.comb += [
            need.eq(work.step_base + chunk),
            limited.eq(Mux(need < work.step_cap, need, work.step_cap)),
        ]
        reached = count_of(self.counts, work.step_unit) >= limited
        return (work.step_unit == Unit.NONE) | reached

    def _gather(self, m, takes, work, gathering, header, group):
        """Add the channels of each group and hand its sums over."""
        E, elements = header
        word = Signal(sums_layout(self.size))
        entry = Signal(self.entry_bits)
        chunk = Signal(9)
        second = Signal()
        source_left = Signal(13)  # channels of the source that were not added yet
        lanes_left = Signal(range(self.size + 1))
        group_left = Signal(13)
        S1, S2 = Signal(signed(S1_BITS)), Signal(S2_BITS)
        waited = Signal()  # for the chunk that is read
        permitted = self._permitted(m, work, chunk)
        payload = group.i.payload
        m.d.comb += [
            self.read_sums.entry.eq(entry),
            payload.S1.eq(S1),
            payload.S2.eq(S2),
            payload.elements.eq(elements[: len(payload.elements)]),
            payload.E.eq(E[: len(payload.E)]),
        ]
        with m.FSM(name="gather"):
            with m.State("idle"), m.If(takes):
                first = self.i.payload
                m.d.sync += [
                    entry.eq(first.sums0[: self.entry_bits]),
                    source_left.eq(first.channels),
                    group_left.eq(first.group_channels),
                    chunk.eq(0),
                    second.eq(0),
                    S1.eq(0),
                    S2.eq(0),
                ]
                m.next = "wait"
            with m.State("wait"), m.If(permitted):
                m.d.sync += waited.eq(1)
                m.next = "read"
            with m.State("wait within"), m.If(permitted):
                m.d.sync += waited.eq(1)
                m.next = "add"
            with m.State("read"):
                m.d.comb += self.read_sums.valid.eq(1)
                m.next = "take"
            with m.State("take"):
                m.d.sync += [word.eq(self.read_sums.data), lanes_left.eq(self.size)]
                m.next = "add"
            with m.State("add"):
                m.d.sync += [
                    S1.eq((S1 + word.S1[0])[:S1_BITS].as_signed()),
                    S2.eq((S2 + word.S2[0])[:S2_BITS]),
                    word.S1.eq(word.S1.as_value() >> S1_BITS),
                    word.S2.eq(word.S2.as_value() >> S2_BITS),
                    lanes_left.eq((lanes_left - 1)[: len(lanes_left)]),
                    source_left.eq((source_left - 1)[: len(source_left)]),
                    group_left.eq((group_left - 1)[: len(group_left)]),
                ]
                with m.If(group_left == 1):
                    m.next = "push"
                with m.Elif((lanes_left == 1) | (source_left == 1)):
                    m.next = "next chunk"
            with m.State("push"):
                m.d.comb += group.i.valid.eq(1)
                with m.If(group.i.ready):
                    m.d.sync += [group_left.eq(work.group_channels), S1.eq(0), S2.eq(0)]
                    m.next = "add"
                    with m.If((lanes_left == 0) | (source_left == 0)):
                        m.next = "next chunk"
                    with m.Elif(~waited):
                        m.next = "wait within"
            with m.State("next chunk"):
                fresh = group_left == work.group_channels
                m.d.sync += [
                    entry.eq((entry + 1)[: len(entry)]),
                    chunk.eq((chunk + 1)[: len(chunk)]),
                    waited.eq(0),
                ]
                m.next = "read"
                with m.If(fresh):
                    m.next = "wait"
                with m.If(source_left == 0):
                    m.d.sync += [
                        entry.eq(work.sums1[: self.entry_bits]),
                        source_left.eq(work.channels1),
                        second.eq(1),
                    ]
                    with m.If(second | (work.channels1 == 0)):
                        m.d.sync += gathering.eq(0)
                        m.next = "idle"

    def _give(self, m, takes, work, giving, pair, group, channel):
        """Hand the channels of each group to the last stage."""
        known = Signal(group.o.payload.shape())
        full = Signal()
        chunk = Signal(8)
        lane = Signal(range(self.size))
        second = Signal()
        source_left = Signal(13)
        group_left = Signal(13)
        fetched = Signal()  # the pair of this lane is at the memory's output
        gives = Signal()
        chunk_ends = Signal()
        payload = channel.i.payload
        lane_bits = (self.size - 1).bit_length()
        m.d.comb += [
            pair.addr.eq(
                Cat(lane, chunk)[: len(pair.addr) - 1] | (work.bank << len(pair.addr) - 1)
            ),
            pair.en.eq(1),
            group.o.ready.eq(giving & ~full),
            chunk_ends.eq((lane == self.size - 1) | (source_left == 1)),
            channel.i.valid.eq(giving & full & fetched),
            gives.eq(channel.i.valid & channel.i.ready),
            payload.gamma.eq(pair.data[:16].as_signed()),
            payload.beta.eq(pair.data[16:].as_signed()),
            payload.group.eq(known),
            payload.last.eq(chunk_ends),
        ]
        assert lane_bits <= len(lane)
        m.d.sync += fetched.eq(giving & ~gives)
        with m.If(group.o.valid & group.o.ready):
            m.d.sync += [known.eq(group.o.payload), full.eq(1), group_left.eq(work.group_channels)]
        with m.If(gives):
            m.d.sync += [
                lane.eq((lane + 1)[: len(lane)]),
                source_left.eq((source_left - 1)[: len(source_left)]),
                group_left.eq((group_left - 1)[: len(group_left)]),
            ]
            with m.If(group_left == 1):
                m.d.sync += full.eq(0)
            with m.If(chunk_ends):
                m.d.sync += [lane.eq(0), chunk.eq((chunk + 1)[: len(chunk)])]
            with m.If(source_left == 1):
                m.d.sync += [source_left.eq(work.channels1), second.eq(1)]
                with m.If(second | (work.channels1 == 0)):
                    m.d.sync += giving.eq(0)
        with m.If(takes):
            m.d.sync += [
                lane.eq(0),
                chunk.eq(0),
                second.eq(0),
                source_left.eq(self.i.payload.channels),
                fetched.eq(0),
            ]
