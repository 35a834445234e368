"""Queues of legal instructions in front of the units, and what lets each of them start."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from golden.accelerator.instruction import WORDS, Opcode, fields_of
from golden.scale_tables import TABLE_SET_BITS
from hdl.accelerator_layouts import COUNTS_LAYOUT, OPCODE_BITS, instruction_layout
from hdl.legality import legal_layout
from hdl.vector_walk import VECTOR_OPCODES
from hdl.weight_loader import I_LAYOUT as WEIGHTS_LAYOUT

__all__ = ["Dispatcher"]

QUEUE = 2
IN_FLIGHT_BITS = 6  # of counters that wrap: a unit holds less than half of that
ROW = 2
RESOURCES = 3
"""What a TABLE fills: the two banks of the scale file, and the sampler's row."""
OPCODES = {
    "array": (Opcode.CONV, Opcode.MATMUL),
    "vector": VECTOR_OPCODES,
    "mover": (Opcode.LOAD, Opcode.STORE),
    "loader": (Opcode.TABLE,),
}


def known_layout():
    """Return what legality asks of the tables: of both banks, and of the row."""
    bank = data.StructLayout(
        {"known": 1, "table_set": TABLE_SET_BITS, "chunks": 8, "norm_chunks": 8}
    )
    return data.StructLayout({"banks": data.ArrayLayout(bank, 2), "row": 1})


class Dispatcher(wiring.Component):
    """A queue of two instructions for each unit; they leave it in order.

    =========  ==================================================================================
    unit       its next instruction may start when
    =========  ==================================================================================
    array,     the counts that it waits for are reached, and the table that was dispatched last
    vector     for its bank (SAMPLE: the row) when it came is loaded
    mover      the counts are reached
    loader     the instructions that use its bank and were dispatched before it are finished
    =========  ==================================================================================

    A CONV's weights are asked for as soon as it is dispatched.

    Members
    -------
    clear : In(1): a section begins; nothing is in flight
    push, ready : an instruction is taken
    words : its sixteen words; legal : what legality made of them
    dispatched : counts of each unit once all that was pushed is done
    known : tables that were pushed last
    o_array, o_vector, o_mover, o_loader : streams of instructions
    o_weights : stream of ``weight_loader``'s commands
    counts : of output chunks written in this section
    count_*, finish_* : pulses of the units; finish_bank_* beside, finish_sample of a SAMPLE
    idle : nothing is in flight
    progress : a count rose, something finished or was pushed

    Timing
    ------
    An instruction is offered two cycles after it was pushed, or one after its counts are reached.
    """

    clear: Signal
    push: Signal
    ready: Signal
    words: data.View
    legal: data.View
    dispatched: data.View
    known: data.View
    counts: data.View
    idle: Signal
    progress: Signal

    def __init__(self):
        self.instruction = {unit: instruction_layout(*codes) for unit, codes in OPCODES.items()}
        members: dict[str, Any] = {
            "clear": In(1),
            "push": In(1),
            "ready": Out(1),
            "words": In(data.ArrayLayout(32, WORDS)),
            "legal": In(legal_layout()),
            "dispatched": Out(COUNTS_LAYOUT),
            "known": Out(known_layout()),
            "counts": Out(COUNTS_LAYOUT),
            "idle": Out(1),
            "progress": Out(1),
            "o_weights": Out(stream.Signature(WEIGHTS_LAYOUT)),
            "finish_sample": In(1),
            "finish_row": In(1),
        }
        for unit, layout in self.instruction.items():
            members[f"o_{unit}"] = Out(stream.Signature(layout))
            members[f"finish_{unit}"] = In(1)
            if unit != "loader":
                members[f"count_{unit}"] = In(1)
            if unit != "mover":
                members[f"finish_bank_{unit}"] = In(1)
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        opcode = Signal(OPCODE_BITS)
        bank = Signal()
        sample, row_table, conv = Signal(), Signal(), Signal()
        resource = Signal(2)
        is_of = {unit: Signal(name=f"is_{unit}") for unit in OPCODES}
        m.d.comb += [
            opcode.eq(self.words[0][:OPCODE_BITS]),
            bank.eq(self.words[0][16]),
            conv.eq(opcode == Opcode.CONV),
            sample.eq(opcode == Opcode.SAMPLE),
            row_table.eq((opcode == Opcode.TABLE) & self._field(Opcode.TABLE, "sampler_row")),
            resource.eq(Mux(sample | row_table, ROW, bank)),
            *(
                is_of[unit].eq(Cat(opcode == int(code) for code in codes).any())
                for unit, codes in OPCODES.items()
            ),
        ]

        # what uses and fills each resource: how often pushed, how often done
        width = IN_FLIGHT_BITS
        pushed: dict[str, list[Signal]] = {}
        done: dict[str, list[Signal]] = {}
        finish_resource = {
            "array": self.finish_bank_array,
            "vector": Mux(self.finish_sample, ROW, self.finish_bank_vector),
            "loader": Mux(self.finish_row, ROW, self.finish_bank_loader),
        }
        accepts = {unit: Signal(name=f"accepts_{unit}") for unit in OPCODES}
        for unit, finished in finish_resource.items():
            pushed[unit] = [Signal(width, name=f"{unit}_pushed_{r}") for r in range(RESOURCES)]
            done[unit] = [Signal(width, name=f"{unit}_done_{r}") for r in range(RESOURCES)]
            for r in range(RESOURCES):
                with m.If(accepts[unit] & (resource == r)):
                    m.d.sync += pushed[unit][r].eq((pushed[unit][r] + 1)[:width])
                with m.If(getattr(self, f"finish_{unit}") & (finished == r)):
                    m.d.sync += done[unit][r].eq((done[unit][r] + 1)[:width])

        room = {}
        for unit in OPCODES:
            extra = {"resource": 2}
            if unit in ("array", "vector"):
                extra["tables"] = width
            if unit == "loader":
                extra |= {"array": width, "vector": width}
            layout = data.StructLayout({"instruction": self.instruction[unit], **extra})
            entry, head = Signal(layout, name=f"entry_{unit}"), Signal(layout, name=f"head_{unit}")
            m.submodules[f"queue_{unit}"] = queue = SyncFIFO(width=layout.size, depth=QUEUE)
            room[unit] = queue.w_rdy
            o = getattr(self, f"o_{unit}")
            permitted = Signal(name=f"permitted_{unit}")
            leaves = Signal(name=f"leaves_{unit}")
            m.d.comb += [
                entry.resource.eq(resource),
                queue.w_data.eq(entry),
                queue.w_en.eq(accepts[unit]),
                head.eq(queue.r_data),
                o.payload.eq(head.instruction),
                o.valid.eq(permitted),
                leaves.eq(o.valid & o.ready),
                queue.r_en.eq(leaves),
            ]
            self._fill(m, unit, entry.instruction)
            if unit in ("array", "vector"):
                m.d.comb += entry.tables.eq(_at(pushed["loader"], resource))
            if unit == "loader":
                for user in ("array", "vector"):
                    m.d.comb += entry[user].eq(_at(pushed[user], resource))
            may = self._may_start(unit, head, done)
            m.d.sync += permitted.eq(queue.r_rdy & ~leaves & may)
        self._weights(m, conv, accepts["array"], room)
        m.d.comb += [
            self.ready.eq(Cat(is_of[unit] & room[unit] for unit in OPCODES).any()),
            *(accepts[unit].eq(self.push & self.ready & is_of[unit]) for unit in OPCODES),
        ]
        self._count(m, accepts)
        self._know(m, accepts["loader"], row_table, bank)
        return m

    def _field(self, opcode, name):
        word, lsb, bits = fields_of(opcode)[name]
        return self.words[word][lsb : lsb + bits]

    def _fill(self, m, unit, instruction):
        """Take the fields out of the words; offsets are those of the step that runs."""
        m.d.comb += instruction.opcode.eq(self.words[0][:OPCODE_BITS])
        for opcode in OPCODES[unit]:
            for name in fields_of(opcode):
                m.d.comb += instruction[name].eq(self._field(opcode, name))
        if unit == "mover":
            m.d.comb += instruction.offset.eq(self.legal.first_offset)
        if unit == "loader":
            m.d.comb += [
                instruction.group_offset.eq(self.legal.first_offset),
                instruction.step_offset.eq(self.legal.second_offset),
            ]

    def _may_start(self, unit, head, done):
        """Whether what ``head`` waits for is there."""
        i = head.instruction
        if unit == "loader":
            return (_at(done["array"], head.resource) == head.array) & (
                _at(done["vector"], head.resource) == head.vector
            )
        reached = (self.counts.array >= i.wait_array) & (self.counts.vector >= i.wait_vector)
        if unit == "mover":
            return reached
        reached &= self.counts.mover >= i.wait_mover
        loaded = _at(done["loader"], head.resource) == head.tables
        if unit == "vector":
            loaded |= (i.opcode == Opcode.SAMPLE) & i.image
        return reached & loaded

    def _weights(self, m, conv, accepted, room):
        """The weights of a CONV, in a queue of their own."""
        m.submodules.queue_weights = queue = SyncFIFO(width=WEIGHTS_LAYOUT.size, depth=QUEUE)
        entry = Signal(WEIGHTS_LAYOUT)
        m.d.comb += [
            entry.offset.eq(self.legal.first_offset),
            entry.passes.eq(self.legal.passes),
            entry.tiles.eq(self.legal.tiles),
            entry.chunks.eq(self._field(Opcode.CONV, "chunks")),
            queue.w_data.eq(entry),
            queue.w_en.eq(accepted & conv),
            self.o_weights.valid.eq(queue.r_rdy),
            self.o_weights.payload.eq(queue.r_data),
            queue.r_en.eq(self.o_weights.ready),
        ]
        room["array"] = room["array"] & queue.w_rdy

    def _count(self, m, accepts):
        """Counts, what they will be, and what is in flight."""
        flights = []
        progress = [self.push & self.ready]
        for unit in OPCODES:
            finish = getattr(self, f"finish_{unit}")
            flight = Signal(IN_FLIGHT_BITS, name=f"in_flight_{unit}")
            m.d.sync += flight.eq((flight + accepts[unit] - finish)[:IN_FLIGHT_BITS])
            flights.append(flight != 0)
            progress.append(finish)
            if unit == "loader":
                continue
            count = getattr(self, f"count_{unit}")
            progress.append(count)
            m.d.sync += self.counts[unit].eq((self.counts[unit] + count)[:16])
            with m.If(accepts[unit]):
                m.d.sync += self.dispatched[unit].eq(self.legal.count)
        with m.If(self.clear):
            m.d.sync += [self.counts.eq(Const(0, 48)), self.dispatched.eq(Const(0, 48))]
        m.d.comb += [self.idle.eq(~Cat(flights).any()), self.progress.eq(Cat(progress).any())]

    def _know(self, m, accepted, row_table, bank):
        """Tables for legality's eyes."""
        known = self.known
        with m.If(accepted & row_table):
            m.d.sync += known.row.eq(1)
        for number in range(2):
            with m.If(accepted & ~row_table & (bank == number)):
                m.d.sync += known.banks[number].known.eq(1)
                for name in ("table_set", "chunks", "norm_chunks"):
                    field = self._field(Opcode.TABLE, name)
                    m.d.sync += known.banks[number][name].eq(field)
        with m.If(self.clear):
            m.d.sync += [known.row.eq(0), *(bank.known.eq(0) for bank in known.banks)]


def _at(signals, index):
    """Return one of the signals."""
    result: Value = Const(0, IN_FLIGHT_BITS)
    for number, signal in enumerate(signals):
        result = result | Mux(index == number, signal, 0)
    return result
