"""What the legality engine runs: the checks of ``golden.accelerator.legality``, step by step.

One step is a word of 24 bits: operation (4), x (4), y (4), z (12). Registers hold 48 bits, signed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum

from golden.accelerator.configuration import IMAGE_CHANNELS_MAX
from golden.accelerator.instruction import Cause, Format, Opcode, Unit, fields_of
from golden.accelerator.legality import ALIGNMENT, COUNT_BITS

__all__ = ["STEP_BITS", "Alu", "Assembler", "External", "Op", "Output", "assemble"]

STEP_BITS = 24
REGISTERS = 16


class Op(IntEnum):
    """What a step does."""

    FIELD = 0  # x = bits of the instruction: word y, least significant bit z[0:5], bits z[5:11]
    EXTERNAL = 1  # x = External z
    CONSTANT = 2  # x = {y, z}
    ALU = 3  # x = y (Alu z[4:8]) register z[0:4], or by z[0:4] places
    LT = 4  # stop with cause z unless x < y
    LE = 5
    EQ = 6
    NE = 7
    JUMP_LT = 8  # go on at z if x < y
    JUMP_LE = 9
    JUMP_EQ = 10
    JUMP_NE = 11
    OUTPUT = 12  # Output z = x
    PASS = 13  # legal


class Alu(IntEnum):
    """Two registers to one."""

    ADD = 0
    SUB = 1
    MUL = 2
    DIV = 3  # floor; of 0 by 0 it is of no meaning
    MOD = 4
    LEFT = 5  # by a number of places in the step
    RIGHT = 6


class External(IntEnum):
    """Values beside the instruction."""

    STREAM_WORDS = 0
    CODE_WORDS = 1
    SUM_CHUNKS = 2
    DEPTH = 3
    PROGRAM_BYTES = 4
    WEIGHTS_BYTES = 5
    TABLES_BYTES = 6
    DATA_BYTES = 7
    COUNT_ARRAY = 8
    COUNT_VECTOR = 9
    COUNT_MOVER = 10
    STEPS = 11
    GROUPS = 12
    STEP = 13
    GROUP = 14
    ROW_KNOWN = 15  # the sampler's row was loaded
    SET_KNOWN = 16  # a table set is in the instruction's bank
    SET = 17
    SET_CHUNKS = 18
    SET_NORM_CHUNKS = 19


class Output(IntEnum):
    """What a legal instruction hands on."""

    FIRST_OFFSET = 0  # of TABLE: group; LOAD, STORE, CONV: the offset
    SECOND_OFFSET = 1  # of TABLE: step
    COUNT = 2  # its unit's count, once it is done
    PASSES = 3  # sets of weights of a channel tile
    TILES = 4


@dataclass
class Assembler:
    """Steps, with names of registers and labels."""

    size: int
    steps: list[tuple[int, int, int, int | str]] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    opcode: Opcode = Opcode.END
    _label: int = 0

    # registers

    def _register(self, name: str) -> int:
        if name not in self.names:
            free = set(range(REGISTERS)) - set(self.names.values())
            self.names[name] = min(free)
        return self.names[name]

    def free(self, *names: str) -> None:
        """Forget registers."""
        for name in names:
            del self.names[name]

    def _emit(self, op: Op, x: int = 0, y: int = 0, z: int | str = 0) -> None:
        self.steps.append((op, x, y, z))

    def bits(self, name: str, word: int, lsb: int, count: int) -> None:
        """Read bits of the instruction."""
        self._emit(Op.FIELD, self._register(name), word, lsb | count << 5)

    def read(self, name: str, source: str | None = None) -> None:
        """Read a field of the opcode into the register of that name, or another one."""
        word, lsb, count = fields_of(self.opcode)[source or name]
        self.bits(name, word, lsb, count)

    def external(self, name: str, source: External) -> None:
        """Read a value from outside."""
        self._emit(Op.EXTERNAL, self._register(name), 0, source)

    def constant(self, name: str, value: int) -> None:
        """Set a register, 0..65535."""
        self._emit(Op.CONSTANT, self._register(name), value >> 12, value & 0xFFF)

    def alu(self, function: Alu, result: str, a: str, b: str | int) -> None:
        """``result = a (function) b``; ``b`` is a register or a number of places."""
        operand = b if isinstance(b, int) else self._register(b)
        self._emit(Op.ALU, self._register(result), self._register(a), operand | function << 4)

    def output(self, which: Output, name: str) -> None:
        """Hand a register on."""
        self._emit(Op.OUTPUT, self._register(name), 0, which)

    # control

    def require(self, op: Op, a: str, b: str, cause: Cause = Cause.FIELD) -> None:
        """Stop with ``cause`` unless a (op) b."""
        self._emit(op, self._register(a), self._register(b), int(cause))

    def jump(self, op: Op, a: str, b: str, label: str) -> None:
        """Go on at ``label`` if a (op) b."""
        self._emit(op, self._register(a), self._register(b), label)

    def go(self, label: str) -> None:
        """Go on at ``label``."""
        self._emit(Op.JUMP_EQ, 0, 0, label)

    def fresh(self) -> str:
        """Return a new label."""
        self._label += 1
        return f"label {self._label}"

    def at(self, label: str) -> None:
        """Put a label here."""
        self.labels[label] = len(self.steps)

    def when(self, name: str, then: Callable[[], None], otherwise: Callable[[], None]) -> None:
        """``then`` if the register is not 0, else ``otherwise``."""
        other, end = self.fresh(), self.fresh()
        self.jump(Op.JUMP_EQ, name, "zero", other)
        then()
        self.go(end)
        self.at(other)
        otherwise()
        self.at(end)

    def words(self) -> list[int]:
        """The encoded steps."""
        encoded = []
        for op, x, y, z in self.steps:
            target = self.labels[z] if isinstance(z, str) else z
            encoded.append(int(op) | x << 4 | y << 8 | target << 12)
        return encoded

    # parts of checks

    def chunks_of(self, result: str, channels: str) -> None:
        """``result``: chunks of so many channels."""
        self.constant(result, self.size - 1)
        self.alu(Alu.ADD, result, result, channels)
        self.alu(Alu.RIGHT, result, result, self.size.bit_length() - 1)

    def inside(self, memory: str, first: str, words: str) -> None:
        """A range of a scratchpad; codes lie in one bank. ``words`` is lost."""
        codes = memory == "codes"
        self.alu(Alu.ADD, words, first, words)
        self.external("held", External.CODE_WORDS if codes else External.STREAM_WORDS)
        self.require(Op.LE, words, "held", Cause.SCRATCHPAD)
        if codes:
            second, end = self.fresh(), self.fresh()
            self.alu(Alu.RIGHT, "held", "held", 1)
            self.jump(Op.JUMP_LE, "held", first, second)
            self.require(Op.LE, words, "held", Cause.SCRATCHPAD)
            self.go(end)
            self.at(second)
            self.at(end)
        self.free("held")

    def outer(self, result: str, offset: str, stride: str | None, count: External) -> None:
        """Bytes behind the last block of ``result`` bytes, into ``result``; offsets are aligned."""
        low = ALIGNMENT.bit_length() - 1
        for name in (offset, stride):
            if name is None:
                continue
            # aligned: it is what it was after a shift there and back
            self.alu(Alu.RIGHT, "low", name, low)
            self.alu(Alu.LEFT, "low", "low", low)
            self.require(Op.EQ, "low", name, Cause.EXTERNAL)
            self.free("low")
        self.alu(Alu.ADD, result, result, offset)
        if stride is not None:
            self.external("times", count)
            self.constant("one", 1)
            self.alu(Alu.SUB, "times", "times", "one")
            self.alu(Alu.MUL, "times", stride, "times")
            self.alu(Alu.ADD, result, result, "times")
            self.free("times", "one")

    def within(self, end: str, region: External) -> None:
        """``end`` is not behind the region."""
        self.external("region", region)
        self.require(Op.LE, end, "region", Cause.EXTERNAL)
        self.free("region")

    def actual(self, output: Output, offset: str, stride: str, number: External) -> None:
        """Hand on ``offset + number * stride``."""
        self.external("number", number)
        self.alu(Alu.MUL, "number", stride, "number")
        self.alu(Alu.ADD, "number", "number", offset)
        self.output(output, "number")
        self.free("number")

    def start(self, opcode: Opcode) -> None:
        """Begin the checks of an opcode."""
        self.opcode = opcode
        self.names = {}
        self.at(opcode.name)
        self.constant("zero", 0)

    def waits(self, unit: Unit, own: External, count: str | None) -> None:
        """Waits and steps, then the unit's count with what this instruction adds."""
        pairs = [("wait_array", External.COUNT_ARRAY), ("wait_vector", External.COUNT_VECTOR)]
        if unit is not Unit.MOVER:
            pairs.append(("wait_mover", External.COUNT_MOVER))
        for name, counted in pairs:
            self.read("wait", name)
            self.external("counted", counted)
            self.require(Op.LE, "wait", "counted", Cause.WAIT)
        if unit is not Unit.MOVER:
            known = self.fresh()
            self.read("unit", "step_unit")
            self.constant("counted", 0)
            self.jump(Op.JUMP_EQ, "unit", "zero", known)
            for number, counted in (
                (Unit.ARRAY, External.COUNT_ARRAY),
                (Unit.VECTOR, External.COUNT_VECTOR),
                (Unit.MOVER, External.COUNT_MOVER),
            ):
                self.constant("other", number)
                self.external("counted", counted)
                self.jump(Op.JUMP_EQ, "unit", "other", known)
            self.at(known)
            self.read("base", "step_base")
            self.read("cap", "step_cap")
            self.require(Op.LE, "base", "cap", Cause.WAIT)
            self.require(Op.LE, "cap", "counted", Cause.WAIT)
        self.external("counted", own)
        if count is None:
            self.constant("adds", 1)
            count = "adds"
        self.alu(Alu.ADD, "counted", "counted", count)
        self.constant("top", (1 << COUNT_BITS) - 1)
        self.require(Op.LE, "counted", "top", Cause.WAIT)
        self.output(Output.COUNT, "counted")
        self._emit(Op.PASS)


def _move(a: Assembler, opcode: Opcode) -> None:
    a.start(opcode)
    a.read("words")
    a.require(Op.LT, "zero", "words")
    a.read("first", "destination" if opcode is Opcode.LOAD else "source0")
    a.alu(Alu.LEFT, "bytes", "words", (2 * a.size).bit_length() - 1)
    a.inside("stream", "first", "words")
    a.read("offset")
    a.read("stride", "step_stride")
    a.outer("bytes", "offset", "stride", External.STEPS)
    a.within("bytes", External.DATA_BYTES)
    a.actual(Output.FIRST_OFFSET, "offset", "stride", External.STEP)
    a.names = {"zero": a.names["zero"]}
    a.waits(Unit.MOVER, External.COUNT_MOVER, None)


def _table(a: Assembler, channel_tiles: int) -> None:
    a.start(Opcode.TABLE)
    layer = a.fresh()
    size_bits = a.size.bit_length() - 1
    a.read("row", "sampler_row")
    a.read("step", "step_offset")
    a.read("step_stride")
    a.jump(Op.JUMP_EQ, "row", "zero", layer)
    a.constant("bytes", 32)
    a.outer("bytes", "step", "step_stride", External.STEPS)
    a.within("bytes", External.TABLES_BYTES)
    a.actual(Output.SECOND_OFFSET, "step", "step_stride", External.STEP)
    a._emit(Op.PASS)
    a.at(layer)
    a.read("chunks")
    a.require(Op.LT, "zero", "chunks")
    a.constant("limit", channel_tiles)
    a.require(Op.LE, "chunks", "limit")
    a.read("norm_chunks")
    a.external("limit", External.SUM_CHUNKS)
    a.require(Op.LE, "norm_chunks", "limit")
    a.free("limit")
    a.read("group", "group_offset")
    a.read("group_stride")
    for offset, stride, count, fixed, lane_bits in (
        ("group", "group_stride", External.GROUPS, 32, 2),
        ("step", "step_stride", External.STEPS, 0, 1),
    ):
        a.alu(Alu.LEFT, "bytes", "chunks", size_bits + lane_bits)
        a.constant("fixed", fixed)
        a.alu(Alu.ADD, "bytes", "bytes", "fixed")
        a.free("fixed")
        a.outer("bytes", offset, stride, count)
        a.within("bytes", External.TABLES_BYTES)
    a.actual(Output.FIRST_OFFSET, "group", "group_stride", External.GROUP)
    a.actual(Output.SECOND_OFFSET, "step", "step_stride", External.STEP)
    end = a.fresh()
    a.jump(Op.JUMP_EQ, "norm_chunks", "zero", end)
    a.alu(Alu.LEFT, "bytes", "norm_chunks", size_bits + 2)
    a.constant("fixed", 16)
    a.alu(Alu.ADD, "bytes", "bytes", "fixed")
    a.read("norm", "norm_offset")
    a.outer("bytes", "norm", None, External.STEPS)
    a.within("bytes", External.TABLES_BYTES)
    a.at(end)
    a._emit(Op.PASS)


def _sample(a: Assembler) -> None:
    a.start(Opcode.SAMPLE)
    a.read("height")
    a.read("width")
    a.alu(Alu.MUL, "words", "height", "width")
    a.require(Op.LT, "zero", "words")
    a.read("channels")
    a.require(Op.LT, "zero", "channels")
    a.constant("limit", IMAGE_CHANNELS_MAX)
    a.require(Op.LE, "channels", "limit")
    image = a.fresh()
    a.read("image")
    a.jump(Op.JUMP_NE, "image", "zero", image)
    a.external("known", External.ROW_KNOWN)
    a.require(Op.NE, "known", "zero", Cause.TABLE_SET)
    a.at(image)
    for name in ("source0", "source1", "destination", "auxiliary"):
        a.read("first", name)
        a.alu(Alu.MUL, "range", "height", "width")
        a.inside("stream", "first", "range")
    a.names = {"zero": a.names["zero"]}
    a.waits(Unit.VECTOR, External.COUNT_VECTOR, None)


def _common(a: Assembler, opcode: Opcode) -> None:
    """Table set, sizes, rows; leaves height, width, wide (of the output) and rows."""
    a.start(opcode)
    array = opcode in (Opcode.CONV, Opcode.MATMUL)
    for held in (External.SET_KNOWN, External.SET):
        a.external("held", held)
        if held is External.SET_KNOWN:
            a.require(Op.NE, "held", "zero", Cause.TABLE_SET)
        else:
            a.read("set", "table_set")
            a.require(Op.EQ, "held", "set", Cause.TABLE_SET)
    if opcode is Opcode.CONV:
        a.external("held", External.SET_CHUNKS)
        a.read("set", "chunks")
        a.require(Op.LE, "set", "held", Cause.TABLE_SET)
    if opcode is Opcode.NORM:
        a.external("held", External.SET_NORM_CHUNKS)
        a.read("set", "chunks0")
        a.read("other", "chunks1")
        a.alu(Alu.ADD, "set", "set", "other")
        a.require(Op.LE, "set", "held", Cause.TABLE_SET)
        a.free("other")
    a.free("held", "set")
    a.read("high", "height")
    a.read("wide", "width")
    if opcode is Opcode.CONV:
        for name, function in (("upsample", Alu.LEFT), ("stride2", Alu.RIGHT)):
            end = a.fresh()
            a.read("flag", name)
            a.jump(Op.JUMP_EQ, "flag", "zero", end)
            for register in ("high", "wide"):
                a.alu(function, register, register, 1)
            a.at(end)
        a.free("flag")
    a.read("rows")
    a.read("chunks0")
    for name in ("high", "wide", "rows", "chunks0"):
        a.require(Op.LT, "zero", name)
    a.read("row_first")
    a.alu(Alu.ADD, "end", "row_first", "rows")
    a.require(Op.LE, "end", "high")
    a.free("end", "high")
    if array:
        a.read("tile_rows")
        a.read("chunks")
        a.require(Op.LT, "zero", "chunks")
        a.require(Op.LT, "zero", "tile_rows")
        a.alu(Alu.MUL, "pixels", "tile_rows", "wide")
        a.external("limit", External.DEPTH)
        a.require(Op.LE, "pixels", "limit")
        a.constant("one", 1)
        a.alu(Alu.ADD, "pixels", "rows", "tile_rows")
        a.alu(Alu.SUB, "pixels", "pixels", "one")
        a.alu(Alu.DIV, "pixels", "pixels", "tile_rows")
        a.output(Output.TILES, "pixels")
        a.free("pixels", "limit", "tile_rows", "chunks", "one")


def _source_reach(a: Assembler, opcode: Opcode) -> None:
    """Words from the first row that the source holds to the last row that is read: ``reach``."""
    a.read("source_row")
    a.constant("one", 1)
    a.alu(Alu.ADD, "last", "row_first", "rows")
    a.alu(Alu.SUB, "last", "last", "one")
    if opcode is Opcode.CONV:
        for name in ("stride2", "pad", "kernel3", "upsample"):
            a.read("flag", name)
            if name in ("stride2", "upsample"):
                end = a.fresh()
                a.jump(Op.JUMP_EQ, "flag", "zero", end)
                for register in ("row_first", "last"):
                    function = Alu.LEFT if name == "stride2" else Alu.RIGHT
                    a.alu(function, register, register, 1)
                a.at(end)
            elif name == "pad":
                for register in ("row_first", "last"):
                    a.alu(Alu.SUB, register, register, "flag")
            else:
                a.alu(Alu.LEFT, "flag", "flag", 1)
                a.alu(Alu.ADD, "last", "last", "flag")
        a.free("flag")
        end = a.fresh()
        a.jump(Op.JUMP_LE, "zero", "row_first", end)
        a.constant("row_first", 0)
        a.at(end)
    a.read("height")
    end = a.fresh()
    a.jump(Op.JUMP_LT, "last", "height", end)
    a.alu(Alu.SUB, "last", "height", "one")
    a.at(end)
    a.require(Op.LE, "source_row", "row_first")
    a.alu(Alu.SUB, "last", "last", "source_row")
    a.alu(Alu.ADD, "last", "last", "one")
    a.read("width")
    a.alu(Alu.MUL, "reach", "last", "width")
    a.free("source_row", "last", "row_first", "height", "width")


def _span(a: Assembler, count: str, plane: str, words: str) -> None:
    """``span = (count - 1) * plane + words``; ``plane`` is a field."""
    a.read("span", plane)
    a.alu(Alu.SUB, "less", count, "one")
    a.alu(Alu.MUL, "span", "span", "less")
    a.alu(Alu.ADD, "span", "span", words)
    a.free("less")


def _ranges(a: Assembler, opcode: Opcode) -> None:
    """Every range of scratchpad words; leaves ``adds``, what the unit's count rises by."""
    array = opcode in (Opcode.CONV, Opcode.MATMUL)
    source = "codes" if array else "stream"
    a.alu(Alu.ADD, "planes", "chunks0", "zero")
    if opcode is Opcode.CONV:
        a.read("more", "chunks1")
        a.alu(Alu.ADD, "planes", "planes", "more")
        a.free("more")
    a.read("first", "source0")
    _span(a, "planes", "source_plane", "reach")
    a.inside(source, "first", "span")
    a.free("planes")
    if opcode in (Opcode.NORM, Opcode.EDGE):
        end = a.fresh()
        a.read("planes", "chunks1")
        a.jump(Op.JUMP_EQ, "planes", "zero", end)
        a.read("first", "source1")
        _span(a, "planes", "source1_plane", "reach")
        a.inside("stream", "first", "span")
        a.at(end)
        a.free("planes")
    a.free("reach")
    a.alu(Alu.MUL, "words", "rows", "wide")
    if array:
        a.read("adds", "chunks")
    elif opcode in (Opcode.NORM, Opcode.EDGE):
        a.read("adds", "chunks1")
        a.alu(Alu.ADD, "adds", "adds", "chunks0")
        if opcode is Opcode.EDGE:
            end = a.fresh()
            a.read("window")
            a.jump(Op.JUMP_EQ, "window", "zero", end)
            a.read("adds", "chunks")
            a.require(Op.LT, "zero", "adds")
            a.at(end)
            a.free("window")
    else:
        a.alu(Alu.ADD, "adds", "chunks0", "zero")

    def target(first: str, plane: str) -> None:
        """A range of words like the destination's, in the memory that is written."""
        a.read("first", first)
        _span(a, "adds", plane, "words")
        if not array:
            a.inside("codes", "first", "span")
            return
        a.read("narrow")
        a.when("narrow", lambda: a.inside("codes", "first", "span"),
               lambda: a.inside("stream", "first", "span"))  # fmt: skip
        a.free("narrow")

    target("destination", "destination_plane")
    if opcode is Opcode.CONV:
        end = a.fresh()
        a.read("residual")
        a.jump(Op.JUMP_EQ, "residual", "zero", end)
        target("auxiliary", "auxiliary_plane")
        a.at(end)
        a.free("residual")
    if opcode is Opcode.MATMUL:
        _stationary(a)
    a.free("first", "span", "words")
    if opcode is Opcode.SOFTMAX:
        a.constant("adds", 1)


def _stationary(a: Assembler) -> None:
    a.read("transpose")
    a.read("first", "auxiliary")

    def block(planes: str, tiles: str) -> None:
        a.alu(Alu.LEFT, "words", tiles, a.size.bit_length() - 1)
        _span(a, planes, "auxiliary_plane", "words")

    a.when("transpose", lambda: block("chunks0", "adds"), lambda: block("adds", "chunks0"))
    a.inside("codes", "first", "span")
    a.free("transpose")


def _require_either(a: Assembler, first: str, second: str) -> None:
    """Not both fields are set."""
    end = a.fresh()
    a.read("flag", first)
    a.jump(Op.JUMP_EQ, "flag", "zero", end)
    a.read("flag", second)
    a.require(Op.EQ, "flag", "zero")
    a.at(end)
    a.free("flag")


def _conv(a: Assembler) -> None:
    _common(a, Opcode.CONV)
    _source_reach(a, Opcode.CONV)
    _ranges(a, Opcode.CONV)
    a.read("format")
    a.constant("limit", max(Format))
    a.require(Op.LE, "format", "limit")
    _require_either(a, "stride2", "upsample")
    end = a.fresh()
    a.read("flag", "pad")
    a.jump(Op.JUMP_EQ, "flag", "zero", end)
    a.read("flag", "kernel3")
    a.require(Op.NE, "flag", "zero")
    a.at(end)
    a.free("flag")
    _require_either(a, "narrow", "residual")
    _require_either(a, "narrow", "sums")
    end = a.fresh()
    a.read("flag", "sums")
    a.jump(Op.JUMP_EQ, "flag", "zero", end)
    a.read("entry", "sums0")
    a.alu(Alu.ADD, "entry", "entry", "adds")
    a.external("limit", External.SUM_CHUNKS)
    a.require(Op.LE, "entry", "limit", Cause.SCRATCHPAD)
    a.at(end)
    a.free("flag", "entry")
    a.read("passes", "chunks1")
    a.alu(Alu.ADD, "passes", "passes", "chunks0")
    taps, wide = a.fresh(), a.fresh()
    a.read("flag", "kernel3")
    a.jump(Op.JUMP_EQ, "flag", "zero", taps)
    a.alu(Alu.LEFT, "flag", "passes", 3)
    a.alu(Alu.ADD, "passes", "passes", "flag")
    a.at(taps)
    a.constant("limit", Format.WIDE)
    a.jump(Op.JUMP_NE, "format", "limit", wide)
    a.alu(Alu.LEFT, "passes", "passes", 1)
    a.at(wide)
    a.output(Output.PASSES, "passes")
    a.alu(Alu.MUL, "passes", "passes", "adds")
    a.alu(Alu.LEFT, "passes", "passes", 2 * (a.size.bit_length() - 1))
    a.read("offset")
    a.output(Output.FIRST_OFFSET, "offset")
    a.outer("passes", "offset", None, External.STEPS)
    a.within("passes", External.WEIGHTS_BYTES)
    _finish(a, Unit.ARRAY, External.COUNT_ARRAY)


def _matmul(a: Assembler) -> None:
    _common(a, Opcode.MATMUL)
    _source_reach(a, Opcode.MATMUL)
    _ranges(a, Opcode.MATMUL)
    a.read("flag", "transpose")
    a.when("flag", lambda: a.alu(Alu.ADD, "lanes", "chunks0", "zero"),
           lambda: a.alu(Alu.ADD, "lanes", "adds", "zero"))  # fmt: skip
    a.alu(Alu.LEFT, "lanes", "lanes", a.size.bit_length() - 1)
    a.read("channels")
    a.require(Op.LT, "zero", "channels")
    a.read("lane", "lane_first")
    a.constant("limit", a.size)
    a.require(Op.LT, "lane", "limit")
    a.alu(Alu.ADD, "lane", "lane", "channels")
    a.require(Op.LE, "lane", "lanes")
    a.free("lane", "lanes", "channels", "flag")
    _block_fits(a)
    a.external("limit", External.CODE_WORDS)
    a.alu(Alu.RIGHT, "limit", "limit", 1)
    a.read("moving", "source0")
    a.read("still", "auxiliary")
    below, end = a.fresh(), a.fresh()
    a.jump(Op.JUMP_LT, "moving", "limit", below)
    a.require(Op.LT, "still", "limit", Cause.SCRATCHPAD)
    a.go(end)
    a.at(below)
    a.require(Op.LE, "limit", "still", Cause.SCRATCHPAD)
    a.at(end)
    _finish(a, Unit.ARRAY, External.COUNT_ARRAY)


def _block_fits(a: Assembler) -> None:
    """Rows of a block have room in row_scales."""
    a.alu(Alu.MUL, "block", "rows", "wide")
    a.external("limit", External.DEPTH)
    a.require(Op.LE, "block", "limit")
    a.free("block")


def _norm(a: Assembler) -> None:
    _common(a, Opcode.NORM)
    _source_reach(a, Opcode.NORM)
    _ranges(a, Opcode.NORM)
    a.read("silu")
    a.read("format")

    def codes() -> None:
        a.require(Op.LT, "zero", "format")
        a.constant("limit", Format.WIDE)
        a.require(Op.LE, "format", "limit")

    a.when("silu", codes, lambda: a.require(Op.EQ, "format", "zero"))
    a.free("silu", "format")
    a.constant("total", 0)
    for chunks, channels in (("chunks0", "channels"), ("chunks1", "channels1")):
        a.read("held", chunks)
        a.read("channels", channels)
        a.alu(Alu.ADD, "total", "total", "channels")
        a.chunks_of("needed", "channels")
        a.require(Op.EQ, "held", "needed")
    a.read("each", "group_channels")
    a.require(Op.LT, "zero", "each")
    a.alu(Alu.MOD, "total", "total", "each")
    a.require(Op.EQ, "total", "zero")
    a.free("total", "each", "channels", "needed")
    a.external("limit", External.SUM_CHUNKS)
    for chunks, sums in (("chunks0", "sums0"), ("chunks1", "sums1")):
        a.read("held", chunks)
        a.read("entry", sums)
        a.alu(Alu.ADD, "entry", "entry", "held")
        a.require(Op.LE, "entry", "limit", Cause.SCRATCHPAD)
    a.free("held", "entry", "limit")
    _finish(a, Unit.VECTOR, External.COUNT_VECTOR)


def _edge(a: Assembler) -> None:
    _common(a, Opcode.EDGE)
    _source_reach(a, Opcode.EDGE)
    _ranges(a, Opcode.EDGE)
    good, end = a.fresh(), a.fresh()
    a.read("format")
    a.constant("limit", Format.WIDE)
    a.jump(Op.JUMP_EQ, "format", "zero", good)
    a.require(Op.EQ, "format", "limit")
    a.at(good)
    a.read("window")
    a.jump(Op.JUMP_EQ, "window", "zero", end)
    a.read("channels")
    a.require(Op.LT, "zero", "channels")
    a.constant("limit", IMAGE_CHANNELS_MAX)
    a.require(Op.LE, "channels", "limit")
    a.alu(Alu.LEFT, "packed", "channels", 3)
    a.alu(Alu.ADD, "packed", "packed", "channels")
    a.chunks_of("needed", "packed")
    a.require(Op.EQ, "adds", "needed")
    a.external("limit", External.DEPTH)
    a.require(Op.LE, "wide", "limit")
    a.read("height")
    a.require(Op.EQ, "rows", "height")
    a.require(Op.EQ, "chunks0", "one")
    a.read("more", "chunks1")
    a.require(Op.EQ, "more", "zero")
    a.at(end)
    _finish(a, Unit.VECTOR, External.COUNT_VECTOR)


def _softmax(a: Assembler) -> None:
    _common(a, Opcode.SOFTMAX)
    _source_reach(a, Opcode.SOFTMAX)
    _ranges(a, Opcode.SOFTMAX)
    a.read("channels")
    a.chunks_of("needed", "channels")
    a.require(Op.EQ, "chunks0", "needed")
    _block_fits(a)
    _finish(a, Unit.VECTOR, External.COUNT_VECTOR)


def _finish(a: Assembler, unit: Unit, own: External) -> None:
    a.names = {name: a.names[name] for name in ("zero", "adds")}
    a.waits(unit, own, "adds")


def assemble(size: int, channel_tiles: int) -> tuple[list[int], dict[Opcode, int]]:
    """Return the encoded steps and where those of each opcode begin."""
    a = Assembler(size)
    a.start(Opcode.END)
    a._emit(Op.PASS)
    for opcode in (Opcode.LOAD, Opcode.STORE):
        _move(a, opcode)
    _table(a, channel_tiles)
    for part in (_sample, _conv, _matmul, _norm, _edge, _softmax):
        part(a) if part is not _sample else _sample(a)
    return a.words(), {opcode: a.labels[opcode.name] for opcode in Opcode}
