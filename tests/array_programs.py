"""Random legal CONVs and MATMULs, and what they must give: reads in order, values in order."""

from dataclasses import dataclass, field

import numpy as np

from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.instruction import Format, Instruction, MachineError, Opcode, Unit
from golden.accelerator.legality import Dispatch, output_size, source_rows
from golden.accelerator.timing.tiles import Tiles
from golden.accelerator.units.array import conv, matmul
from golden.accelerator.units.state import ScaleTable, State
from golden.scale_tables import TableSet

__all__ = [
    "CONFIG",
    "COUNTED",
    "UNITS",
    "Program",
    "expected_reads",
    "expected_values",
    "random_program",
    "set_rows",
]

CONFIG = AcceleratorConfig(
    size=4, stream_words=512, code_words=480, sum_chunks=8, depth=16, channel_tiles=3
)
COUNTED = 40  # of every count, in the end
WEIGHTS_BYTES = 1 << 16
UNITS = {Unit.ARRAY: "array", Unit.VECTOR: "vector", Unit.MOVER: "mover"}


@dataclass
class Program:
    """``state``: as it is before the first instruction."""

    config: AcceleratorConfig
    state: State
    instructions: list[Instruction] = field(default_factory=list)
    sets: list[TableSet] = field(default_factory=list)


def random_program(seed, count, *, config=CONFIG, opcodes=(Opcode.CONV, Opcode.MATMUL), plain=True):
    """``count`` legal instructions in a row; ``plain`` ones add no residual and gather no sums."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, 256, WEIGHTS_BYTES, dtype=np.uint8).tobytes()
    state = State(config, {"weights": weights}, bytearray())
    state.codes[:] = rng.integers(0, 4096, state.codes.shape)
    state.stream[:] = rng.integers(-32768, 32768, state.stream.shape)
    state.S1[:] = rng.integers(-1000, 1000, state.S1.shape)
    state.S2[:] = rng.integers(0, 1000, state.S2.shape)
    state.row_scales[:, :, 0] = rng.integers(1 << 15, 1 << 16, state.row_scales.shape[:2])
    state.row_scales[:, :, 1] = rng.integers(12, 28, state.row_scales.shape[:2])
    program = Program(config, state)
    lengths = {"weights": WEIGHTS_BYTES, "tables": 1 << 16, "data": 0}
    dispatch = Dispatch(config, lengths, 1)
    for bank in (0, 1):
        tables = _random_set(rng, config, bank)
        program.sets.append(tables)
        fields = {"bank": bank, "table_set": tables.table_set, "chunks": config.channel_tiles}
        dispatch.check(Instruction(Opcode.TABLE, fields), 1)
        state.scales[bank] = _scale_table(tables)
    dispatch.counts = dict.fromkeys(dispatch.counts, COUNTED)
    offset = 0
    while len(program.instructions) < count:
        opcode = opcodes[rng.integers(len(opcodes))]
        make = _random_conv if opcode is Opcode.CONV else _random_matmul
        fields = make(rng, config) | _waits(rng)
        if plain:
            for name in ("residual", "sums", "sums_clear", "sums0"):
                fields.pop(name, None)
        if opcode is Opcode.CONV:
            fields["offset"] = offset
        fields["bank"] = int(rng.integers(2))
        fields["table_set"] = program.sets[fields["bank"]].table_set
        instruction = Instruction(opcode, {name: int(value) for name, value in fields.items()})
        try:
            dispatch.check(instruction, 1)
        except MachineError as error:
            assert "words" in str(error) or "cross" in str(error), error
            continue
        if opcode is Opcode.CONV:
            passes = Tiles.of(instruction).passes * instruction["chunks"]
            offset += -(-passes * config.size**2 // 64) * 64
        program.instructions.append(instruction)
    return program


def _random_set(rng, config, bank):
    lanes = config.channel_tiles * config.size
    return TableSet(
        bank=bank,
        table_set=int(rng.integers(256)),
        group_base=0,
        step_base=0,
        operand_z=rng.integers(0, 113, (1, 2)),
        operand_k=rng.integers(0, 5, (1, 2)),
        multiplier=rng.integers(1 << 15, 1 << 16, (1, lanes)),
        shift=rng.integers(14, 30, (1, lanes)),
        bias=rng.integers(-300, 300, (1, lanes)),
        silu=np.zeros((1, 4), np.int64),
        edge_multiplier=np.zeros((1, 2), np.int64),
        edge_shift=np.zeros((1, 2), np.int64),
    )


def _scale_table(tables):
    return ScaleTable(
        zero_point=tables.operand_z[0],
        k=tables.operand_k[0],
        edge_multiplier=tables.edge_multiplier[0],
        edge_shift=tables.edge_shift[0],
        silu=(0, 0, 0, 0),
        multiplier=tables.multiplier[0],
        shift=tables.shift[0],
        bias=tables.bias[0],
    )


def _waits(rng):
    if rng.integers(2):
        return {}
    cap = int(rng.integers(1, COUNTED + 1))
    base = int(rng.integers(0, cap + 1))
    return {"step_unit": int(rng.integers(1, 4)), "step_base": base, "step_cap": cap}


def _random_conv(rng, config):
    stride2, upsample = [(0, 0), (1, 0), (0, 1)][rng.integers(3)]
    low = 1 + stride2
    fields = {
        "height": rng.integers(low, 8), "width": rng.integers(low, 8), "stride2": stride2,
        "upsample": upsample, "kernel3": rng.integers(2), "format": rng.integers(3),
        "narrow": rng.integers(2), "chunks0": rng.integers(1, 4), "chunks1": rng.integers(0, 3),
    }  # fmt: skip
    fields["pad"] = fields["kernel3"] * rng.integers(2)
    bank = int(rng.integers(2))
    fields = _rows_and_places(rng, config, Opcode.CONV, fields, bank)
    return fields if fields["narrow"] else fields | _residual_and_sums(rng, config, fields)


def _residual_and_sums(rng, config, fields):
    """Of these, half the residuals lie where the result goes."""
    chosen = {"residual": rng.integers(2), "sums": rng.integers(2)}
    if chosen["sums"]:
        chosen["sums_clear"] = rng.integers(2)
        chosen["sums0"] = rng.integers(config.sum_chunks - fields["chunks"] + 1)
    if chosen["residual"]:
        chosen["auxiliary_plane"] = fields["destination_plane"]
        chosen["auxiliary"] = fields["destination"]
        if rng.integers(2):
            chosen["auxiliary"] = rng.integers(config.stream_words)
    return chosen


def _random_matmul(rng, config):
    size = config.size
    fields = {
        "height": rng.integers(1, 5), "width": rng.integers(1, 5), "narrow": rng.integers(2),
        "transpose": rng.integers(2), "row_scale": rng.integers(2), "scale_bank": rng.integers(2),
        "chunks0": rng.integers(1, 4), "lane_first": rng.integers(size),
    }  # fmt: skip
    bank = int(rng.integers(2))
    fields = _rows_and_places(rng, config, Opcode.MATMUL, fields, bank)
    parts, tiles = fields["chunks0"], fields["chunks"]
    lanes = size * (parts if fields["transpose"] else tiles)
    fields["channels"] = rng.integers(1, lanes - fields["lane_first"] + 1)
    planes, words = (parts, tiles) if fields["transpose"] else (tiles, parts)
    fields["auxiliary_plane"] = words * size + rng.integers(3)
    span = (planes - 1) * fields["auxiliary_plane"] + words * size
    fields["auxiliary"] = _place(rng, config.code_bank_words, 1 - bank, span)
    return fields


def _place(rng, words, bank, span):
    """A first word, so that ``span`` words mostly lie inside the bank."""
    return bank * words + rng.integers(max(1, words - span + 1))


def _rows_and_places(rng, config, opcode, fields, bank):
    fields["chunks"] = rng.integers(1, config.channel_tiles + 1)
    whole = Instruction(opcode, {name: int(value) for name, value in fields.items()})
    height, width = output_size(whole)
    limit = config.depth // width if opcode is Opcode.MATMUL else height
    fields["row_first"] = rng.integers(height)
    fields["rows"] = rng.integers(1, min(limit, height - fields["row_first"]) + 1)
    fields["tile_rows"] = rng.integers(1, config.depth // width + 1)
    cut = Instruction(opcode, {name: int(value) for name, value in fields.items()})
    low, high = source_rows(cut)
    fields["source_row"] = rng.integers(low + 1)
    reach = (high - fields["source_row"] + 1) * fields["width"]
    fields["source_plane"] = reach + rng.integers(3)
    parts = fields["chunks0"] + fields.get("chunks1", 0)
    span = (parts - 1) * fields["source_plane"] + reach
    fields["source0"] = _place(rng, config.code_bank_words, bank, span)
    words = fields["rows"] * width
    fields["destination_plane"] = words + rng.integers(3)
    span = (fields["chunks"] - 1) * fields["destination_plane"] + words
    memory = config.code_bank_words if fields["narrow"] else config.stream_words
    fields["destination"] = _place(rng, memory, 0, span)
    return fields


def expected_reads(i):
    """For each beat of the walk: (address or None where outside, count that it needs)."""
    get = i.fields.get
    reach = range(3) if get("kernel3") else range(1)
    taps = [(dy, dx) for dy in reach for dx in reach]
    passes = 2 if get("format") == Format.WIDE else 1
    stride, up, pad = (get(name, 0) for name in ("stride2", "upsample", "pad"))
    height, width = i["height"] << up, i["width"] << up
    end = i["row_first"] + i["rows"]
    reads = []

    def read_pass(rows, part, dy, dx):
        need = min(i["step_base"] + part, i["step_cap"])
        for y in rows:
            for x in range(output_size(i)[1]):
                row, column = (y << stride) + dy - pad, (x << stride) + dx - pad
                word = ((row >> up) - i["source_row"]) * i["width"] + (column >> up)
                inside = 0 <= row < height and 0 <= column < width
                address = i["source0"] + part * i["source_plane"] + word
                reads.append((address if inside else None, need))

    for _ in range(i["chunks"]):
        for first in range(i["row_first"], end, i["tile_rows"]):
            rows = range(first, min(first + i["tile_rows"], end))
            for part in range(i["chunks0"] + get("chunks1", 0)):
                for dy, dx in taps:
                    for _ in range(passes):
                        read_pass(rows, part, dy, dx)
    return reads


def set_rows(program):
    """Rows of weights in the order in which the weight loader sends them, over all CONVs."""
    size = program.config.size
    rows = []
    for i in program.instructions:
        if i.opcode is not Opcode.CONV:
            continue
        tiles = Tiles.of(i)
        shape = (i["chunks"], tiles.passes * size, size)
        for weights in program.state.weights(i["offset"], shape):
            rows += [*weights] * len(tiles.pixels)
    return rows


def expected_values(program):
    """(values (size,), which lanes count, end of a tile) for every pixel that leaves, in order.

    Every instruction sees the memory of the start.
    """
    state, size = program.state, program.config.size
    codes = state.codes.copy()
    beats = []
    for i in program.instructions:
        (conv if i.opcode is Opcode.CONV else matmul)(state, i)
        tiles = Tiles.of(i)
        for chunk in range(i["chunks"]):
            start = i["destination"] + chunk * i["destination_plane"]
            live = _live(i, chunk, size)
            for pixels in tiles.pixels:
                memory = state.codes if i["narrow"] else state.stream
                words = memory[start : start + pixels].copy()
                if i["narrow"]:
                    words = ((words & 0xFFF) ^ 0x800) - 0x800
                beats += [(word, live, n == pixels - 1) for n, word in enumerate(words)]
                start += pixels
        state.codes[:] = codes
    return beats


def _live(i, chunk, size):
    """Lanes that a MATMUL into codes writes; all lanes of others."""
    if i.opcode is Opcode.CONV or not i["narrow"]:
        return np.ones(size, bool)
    lane = np.arange(size) + chunk * size
    return (lane >= i["lane_first"]) & (lane < i["lane_first"] + i["channels"])
