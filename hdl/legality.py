"""Checks an instruction before it reaches its unit, a step of a small program at a time."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.instruction import CHECK_SEED, WORDS, Cause, Opcode, fields_of
from golden.accelerator.legality_program import (
    REGISTERS,
    STEP_BITS,
    Alu,
    External,
    Op,
    Output,
    assemble,
)

__all__ = ["Legality", "external_layout", "legal_layout"]

WIDTH = 48
WORD_BITS = 32
OPCODE_MASK = 0xFF


def external_layout():
    """Return what stands beside the instruction, see ``External``."""
    names = [entry for entry in External if entry > External.DEPTH]
    return data.StructLayout({entry.name.lower(): WORD_BITS for entry in names})


def legal_layout():
    """Return what a legal instruction hands on."""
    return data.StructLayout(
        {"first_offset": 32, "second_offset": 32, "count": 16, "passes": 16, "tiles": 10}
    )


def _masks(opcode):
    """Bits of each word that ``opcode`` has fields for."""
    masks = [0] * WORDS
    masks[0] = OPCODE_MASK
    masks[WORDS - 1] = (1 << WORD_BITS) - 1
    for word, lsb, bits in fields_of(opcode).values():
        masks[word] |= ((1 << bits) - 1) << lsb
    return masks


class Legality(wiring.Component):
    """Check word, opcode and stray bits, then the steps of ``golden.accelerator.legality_program``.

    ========  ==============================================================================
    state     does
    ========  ==============================================================================
    idle      waits for ``start``
    scan      a word a cycle: XOR of all words, bits outside the opcode's fields
    judge     stops with CHECK, OPCODE or FIELD, or goes on at the opcode's first step
    read      two cycles: the first step, or the one that a jump names, out of the memory
    fetch     operands of the step into registers
    work      the step; MUL, DIV and MOD go on in states of their own, a bit a cycle
    ========  ==============================================================================

    Parameters
    ----------
    size, stream_words, code_words, sum_chunks, depth, channel_tiles : int
        As in ``AcceleratorConfig``.

    Members
    -------
    start : In(1), pulse
    words : In, sixteen words of 32 bits, still until ``done``
    external : In(external_layout()), likewise
    done : Out(1), pulse
    cause : Out(4), with ``done``: 0 where the instruction is legal, else as ``Cause``
    legal : Out(legal_layout()), from ``done`` on

    Timing
    ------
    20 cycles, then two a step, two more for a jump, and one more for each bit of a factor or
    quotient: 100 to 500 cycles. Never more than 5,000, whatever the words are.
    """

    start: Signal
    words: data.View
    external: data.View
    done: Signal
    cause: Signal
    legal: data.View

    def __init__(
        self,
        *,
        size=16,
        stream_words=4096,
        code_words=4096,
        sum_chunks=64,
        depth=256,
        channel_tiles=32,
    ):
        AcceleratorConfig(
            size=size,
            stream_words=stream_words,
            code_words=code_words,
            sum_chunks=sum_chunks,
            depth=depth,
            channel_tiles=channel_tiles,
        )
        self.size = size
        self.stream_words = stream_words
        self.code_words = code_words
        self.sum_chunks = sum_chunks
        self.depth = depth
        self.channel_tiles = channel_tiles
        super().__init__(
            {
                "start": In(1),
                "words": In(data.ArrayLayout(WORD_BITS, WORDS)),
                "external": In(external_layout()),
                "done": Out(1),
                "cause": Out(4),
                "legal": Out(legal_layout()),
            }
        )

    def elaborate(self, platform):
        m = Module()
        steps, entries = assemble(self.size, self.channel_tiles)
        m.submodules.steps = rom = Memory(shape=STEP_BITS, depth=len(steps), init=steps)
        masks = [mask for opcode in range(16) for mask in (
            _masks(Opcode(opcode)) if opcode in set(Opcode) else [0] * WORDS)]  # fmt: skip
        m.submodules.masks = mask_rom = Memory(shape=WORD_BITS, depth=len(masks), init=masks)
        mask = mask_rom.read_port(domain="comb")
        step_port = rom.read_port()
        place = Signal(range(WORDS))
        check = Signal(WORD_BITS)
        stray = Signal()
        at = Signal(range(len(steps)))
        opcode = Signal(8)
        word = Signal(WORD_BITS)
        m.d.comb += [
            opcode.eq(self.words[0][:8]),
            mask.addr.eq(Cat(place, opcode[:4])),
            word.eq(self.words[place]),
            step_port.addr.eq(at),
            step_port.en.eq(1),
        ]
        m.d.sync += self.done.eq(0)

        step = Signal(STEP_BITS)  # a register, for the memory is slow
        op, x, y, z = step[:4], step[4:8], step[8:12], step[12:]
        registers = [Signal(signed(WIDTH), name=f"r{n}") for n in range(REGISTERS)]
        a, b = Signal(signed(WIDTH)), Signal(signed(WIDTH))  # x or y, y or z
        known = Signal(WORD_BITS)  # the word of a field, external or constant
        result = Signal(signed(WIDTH))
        writes = Signal()
        less, equal, holds = Signal(), Signal(), Signal()
        m.d.comb += [less.eq(a < b), equal.eq(a == b)]
        with m.Switch(op[:2]):
            for number, condition in enumerate((less, less | equal, equal, ~equal)):
                with m.Case(number):
                    m.d.comb += holds.eq(condition)
        target = Signal(4)  # x, which the next step takes from a product that is still made
        quotient = Signal(WIDTH)
        left = Signal(range(WIDTH + 1))
        divides = Signal()  # of DIV and MOD: which is asked
        with m.FSM(name="state"):
            with m.State("idle"):
                m.d.sync += [place.eq(0), check.eq(CHECK_SEED), stray.eq(0)]
                with m.If(self.start):
                    m.next = "scan"
            with m.State("scan"):
                m.d.sync += [
                    place.eq((place + 1)[: len(place)]),
                    check.eq(check ^ word),
                    stray.eq(stray | (word & ~mask.data).any()),
                ]
                with m.If(place == WORDS - 1):
                    m.next = "judge"
            with m.State("judge"):
                m.d.sync += [self.done.eq(1), self.cause.eq(0)]
                m.next = "idle"
                with m.If(check != 0):
                    m.d.sync += self.cause.eq(Cause.CHECK)
                with m.Else(), m.Switch(opcode):
                    for code, entry in entries.items():
                        with m.Case(int(code)):
                            with m.If(stray):
                                m.d.sync += self.cause.eq(Cause.FIELD)
                            with m.Else():
                                m.d.sync += [self.done.eq(0), at.eq(entry)]
                                m.next = "read"
                    with m.Default():
                        m.d.sync += self.cause.eq(Cause.OPCODE)
            with m.State("read"):
                m.d.sync += at.eq((at + 1)[: len(at)])
                m.next = "load"
            with m.State("load"):
                m.d.sync += step.eq(step_port.data)
                m.next = "fetch"
            with m.State("fetch"):
                m.d.sync += [
                    a.eq(_chosen(registers, Mux(op == Op.ALU, y, x))),
                    b.eq(_chosen(registers, Mux(op == Op.ALU, z[:4], y))),
                    known.eq(self._known(m, op, y, z)),
                    target.eq(x),
                ]
                m.next = "work"
            with m.State("work"):
                m.d.sync += [step.eq(step_port.data), at.eq((at + 1)[: len(at)])]
                m.next = "fetch"
                with m.Switch(op):
                    with m.Case(Op.FIELD):
                        m.d.comb += [writes.eq(1), result.eq(_field(m, known, z))]
                    with m.Case(Op.EXTERNAL, Op.CONSTANT):
                        m.d.comb += [writes.eq(1), result.eq(known)]
                    with m.Case(Op.ALU), m.Switch(z[4:8]):
                        with m.Case(Alu.ADD):
                            m.d.comb += [writes.eq(1), result.eq((a + b)[:WIDTH].as_signed())]
                        with m.Case(Alu.SUB):
                            m.d.comb += [writes.eq(1), result.eq((a - b)[:WIDTH].as_signed())]
                        with m.Case(Alu.LEFT):
                            m.d.comb += writes.eq(1)
                            m.d.comb += result.eq((a << z[:4])[:WIDTH].as_signed())
                        with m.Case(Alu.RIGHT):
                            m.d.comb += [writes.eq(1), result.eq(a >> z[:4])]
                        with m.Case(Alu.MUL):
                            m.d.sync += quotient.eq(0)
                            with m.If(b < 0):
                                m.d.sync += [a.eq(-a), b.eq(-b)]
                            m.next = "multiply"
                        with m.Case(Alu.DIV, Alu.MOD):
                            m.d.sync += [
                                quotient.eq(0),
                                b.eq((b << (QUOTIENT_BITS - 1))[:WIDTH].as_signed()),
                                left.eq(QUOTIENT_BITS),
                                divides.eq(z[4:8] == Alu.DIV),
                            ]
                            m.next = "divide"
                    with m.Case(Op.LT, Op.LE, Op.EQ, Op.NE), m.If(~holds):
                        m.d.sync += [self.done.eq(1), self.cause.eq(z[:4])]
                        m.next = "idle"
                    with m.Case(Op.JUMP_LT, Op.JUMP_LE, Op.JUMP_EQ, Op.JUMP_NE), m.If(holds):
                        m.d.sync += at.eq(z[: len(at)])
                        m.next = "read"
                    with m.Case(Op.OUTPUT):
                        for which in Output:
                            output = self.legal[which.name.lower()]
                            with m.If(z[:3] == which):
                                m.d.sync += output.eq(a[: len(output)])
                    with m.Case(Op.PASS):
                        m.d.sync += [self.done.eq(1), self.cause.eq(0)]
                        m.next = "idle"
            with m.State("multiply"):
                # x = a*b, the least significant bit of |b| first
                m.d.sync += [
                    quotient.eq((quotient + Mux(b[0], a, 0))[:WIDTH]),
                    a.eq((a << 1)[:WIDTH].as_signed()),
                    b.eq(b >> 1),
                ]
                with m.If(b == 0):
                    m.d.comb += [writes.eq(1), result.eq(quotient.as_signed())]
                    m.next = "fetch"
            with m.State("divide"):
                # 0 <= a < 2**QUOTIENT_BITS, b > 0: b from its highest place down
                m.d.sync += [
                    left.eq((left - 1)[: len(left)]),
                    b.eq(b >> 1),
                    quotient.eq(Cat(a >= b, quotient[:-1])),
                ]
                with m.If(left == 0):
                    m.d.comb += [
                        writes.eq(1),
                        result.eq(Mux(divides, quotient.as_signed(), a)),
                    ]
                    m.next = "fetch"
                with m.Elif(a >= b):
                    m.d.sync += a.eq((a - b)[:WIDTH].as_signed())
        for number, register in enumerate(registers):
            with m.If(writes & (target == number)):
                m.d.sync += register.eq(result)
        return m

    def _known(self, m, op, y, z):
        """Return what FIELD, EXTERNAL and CONSTANT read."""
        constants = {
            External.STREAM_WORDS: self.stream_words,
            External.CODE_WORDS: self.code_words,
            External.SUM_CHUNKS: self.sum_chunks,
            External.DEPTH: self.depth,
        }
        external = Signal(WORD_BITS)
        with m.Switch(z[:5]):
            for entry in External:
                value = constants.get(entry)
                with m.Case(entry):
                    m.d.comb += external.eq(
                        self.external[entry.name.lower()] if value is None else Const(value)
                    )
        return Mux(op == Op.FIELD, self.words[y], Mux(op == Op.EXTERNAL, external, Cat(z, y)))


def _field(m, word, z):
    """Return bits of ``word``: as many as ``z[5:11]`` says, from ``z[:5]`` on."""
    given = Signal(WORD_BITS)
    bits = Signal(WORD_BITS)
    m.d.comb += given.eq(word >> z[:5])
    for bit in range(WORD_BITS):
        m.d.comb += bits[bit].eq(given[bit] & (z[5:11] > bit))
    return bits


QUOTIENT_BITS = 15
"""Of DIV and MOD: their dividends are sums of two fields of 13 bits at most."""


def _chosen(registers, index):
    """Return one of the registers."""
    result: Value = Const(0, 1)
    for number, register in enumerate(registers):
        result = result | Mux(index == number, register, 0)
    return result
