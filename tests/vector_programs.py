"""Random legal NORMs, EDGEs, SOFTMAXes and SAMPLEs, the tables they need, and what they write."""

from dataclasses import dataclass

import numpy as np

from golden.accelerator.configuration import IMAGE_CHANNELS_MAX, AcceleratorConfig
from golden.accelerator.instruction import Format, Instruction, MachineError, Opcode, Unit
from golden.accelerator.legality import Dispatch
from golden.accelerator.units import vector
from golden.accelerator.units.state import NormTable, ScaleTable, State
from golden.scale_tables import TableSet

__all__ = ["CONFIG", "VectorProgram", "random_program", "run_golden"]

CONFIG = AcceleratorConfig(
    size=4, stream_words=512, code_words=480, sum_chunks=16, depth=16, channel_tiles=3
)
CHANNELS = {Opcode.NORM: 24, Opcode.EDGE: 24, Opcode.SOFTMAX: 30}
RUN = {Opcode.NORM: vector.norm, Opcode.EDGE: vector.edge, Opcode.SOFTMAX: vector.softmax,
       Opcode.SAMPLE: vector.sample}  # fmt: skip


@dataclass
class VectorProgram:
    """``state``: as it is before the first instruction."""

    config: AcceleratorConfig
    state: State
    instructions: list[Instruction]
    sets: list[TableSet]


def _tables(rng, config, bank, state):
    lanes = config.channel_tiles * config.size
    tables = TableSet(
        bank=bank,
        table_set=int(rng.integers(256)),
        group_base=0,
        step_base=0,
        operand_z=np.zeros((1, 2), np.int64),
        operand_k=np.zeros((1, 2), np.int64),
        multiplier=np.zeros((1, lanes), np.int64),
        shift=np.zeros((1, lanes), np.int64),
        bias=np.zeros((1, lanes), np.int64),
        silu=np.array([[rng.integers(1 << 15, 1 << 16), rng.integers(14, 22),
                        rng.integers(0, 113), rng.integers(0, 5)]]),
        edge_multiplier=rng.integers(1 << 15, 1 << 16, (1, 2)),
        edge_shift=rng.integers(14, 24, (1, 2)),
    )  # fmt: skip
    m0, n0, z, k = (int(value) for value in tables.silu[0])
    state.scales[bank] = ScaleTable(
        zero_point=tables.operand_z[0],
        k=tables.operand_k[0],
        edge_multiplier=tables.edge_multiplier[0],
        edge_shift=tables.edge_shift[0],
        silu=(m0, n0, z, k),
        multiplier=tables.multiplier[0],
        shift=tables.shift[0],
        bias=tables.bias[0],
    )
    lanes = config.sum_chunks * config.size
    state.norms[bank] = NormTable(
        E=int(rng.integers(1 << 20, 1 << 36)),
        elements=int(rng.integers(1, 60)),
        gamma=rng.integers(-3000, 3000, lanes),
        beta=rng.integers(-2000, 2000, lanes),
    )
    return tables


def _fields(rng, config, opcode):
    height, width = int(rng.integers(1, 5)), int(rng.integers(1, 5))
    fields = {"height": height, "width": width}
    if opcode is Opcode.SAMPLE:
        places = rng.permutation(4) * (config.stream_words // 4)
        names = ("source0", "source1", "destination", "auxiliary")
        return fields | dict(zip(names, places, strict=True)) | {
            "image": rng.integers(2), "channels": rng.integers(1, IMAGE_CHANNELS_MAX + 1)
        }  # fmt: skip
    first = int(rng.integers(height))
    rows = int(rng.integers(1, height - first + 1))
    source_row = int(rng.integers(first + 1))
    fields |= {"row_first": first, "rows": rows, "source_row": source_row}
    fields |= {
        "source_plane": height * width + rng.integers(3),
        "destination_plane": rows * width + rng.integers(3),
        "source0": rng.integers(40),
        "destination": rng.integers(2) * config.code_bank_words + rng.integers(8),
    }
    channels = int(rng.integers(1, CHANNELS[opcode] + 1))
    if opcode is Opcode.SOFTMAX:
        return fields | {"chunks0": config.chunks(channels), "channels": channels,
                         "scale_bank": rng.integers(2)}  # fmt: skip
    chunks = config.chunks(channels)
    second = int(rng.integers(2)) * int(rng.integers(1, 13))
    fields |= {"chunks0": chunks, "chunks1": config.chunks(second), "source1": 250}
    fields["source1_plane"] = height * width + rng.integers(3)
    if opcode is Opcode.NORM:
        divisors = [n for n in range(1, channels + second + 1) if not (channels + second) % n]
        silu = int(rng.integers(2))
        return fields | {
            "silu": silu, "channels": channels, "channels1": second,
            "group_channels": divisors[rng.integers(len(divisors))],
            "format": int(rng.choice([Format.REGION, Format.WIDE])) if silu else Format.INT8,
            "sums0": 0, "sums1": config.chunks(channels),
        }  # fmt: skip
    fields["format"] = rng.choice([Format.INT8, Format.WIDE])
    if rng.integers(3) == 0:
        channels = int(rng.integers(1, IMAGE_CHANNELS_MAX + 1))
        fields |= {"window": 1, "channels": channels, "chunks": config.chunks(9 * channels),
                   "chunks0": 1, "chunks1": 0, "row_first": 0, "rows": height, "source_row": 0,
                   "destination_plane": height * width + rng.integers(3)}  # fmt: skip
    return fields


def random_program(seed, count, *, config=CONFIG, opcodes=tuple(RUN)):
    """``count`` legal instructions; none waits."""
    rng = np.random.default_rng(seed)
    state = State(config, {}, bytearray())
    state.codes[:] = rng.integers(0, 4096, state.codes.shape)
    state.stream[:] = np.clip(rng.normal(0, 3000, state.stream.shape), -32768, 32767)
    state.S1[:] = rng.integers(-1000, 1000, state.S1.shape)
    state.S2[:] = rng.integers(1 << 20, 1 << 30, state.S2.shape)
    state.sampler = np.append(rng.integers(-(1 << 21), 1 << 21, 6), [4096, 0])
    dispatch = Dispatch(config, {"tables": 1 << 20}, 1)
    dispatch.check(Instruction(Opcode.TABLE, {"sampler_row": 1}), 1)
    sets = []
    for bank in (0, 1):
        sets.append(_tables(rng, config, bank, state))
        fields = {"bank": bank, "table_set": sets[-1].table_set, "chunks": config.channel_tiles,
                  "norm_chunks": config.sum_chunks}  # fmt: skip
        dispatch.check(Instruction(Opcode.TABLE, fields), 1)
    instructions: list[Instruction] = []
    while len(instructions) < count:
        opcode = opcodes[rng.integers(len(opcodes))]
        fields = _fields(rng, config, opcode)
        if opcode is not Opcode.SAMPLE:
            fields["bank"] = int(rng.integers(2))
            fields["table_set"] = sets[fields["bank"]].table_set
        i = Instruction(opcode, {name: int(value) for name, value in fields.items()})
        try:
            dispatch.check(i, 1)
            if opcode is Opcode.NORM:
                vector.norm(state_of(state), i)
        except MachineError as error:
            assert any(w in str(error) for w in ("words", "cross", "sums", "V ", "F ")), error
            continue
        instructions.append(i)
    return VectorProgram(config, state, instructions, sets)


def state_of(state):
    """A copy that may be written."""
    copy = State(state.config, {}, bytearray())
    for name in ("stream", "codes", "S1", "S2", "row_scales"):
        getattr(copy, name)[:] = getattr(state, name)
    copy.scales, copy.norms, copy.sampler = state.scales, state.norms, state.sampler
    return copy


def run_golden(program, observer):
    """Run all on a copy; ``observer`` (state, instruction) after each."""
    state = state_of(program.state)
    for i in program.instructions:
        RUN[i.opcode](state, i)
        observer(state, i)
    return state


def delayed(i, step, ahead=0):
    """``i``, whose input chunk c waits for count ``step + c`` of the array."""
    total = i["chunks0"] + i.fields.get("chunks1", 0)
    cap = step + total
    base = min(step + ahead + 1, cap)
    return i.replace(step_unit=int(Unit.ARRAY), step_base=base, step_cap=cap)
