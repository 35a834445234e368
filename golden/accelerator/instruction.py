"""Instructions of 64 bytes: sixteen little-endian words, the last one the XOR of the others.

An opcode has its own fields; all other bits are 0 and must be. What the fields mean stands in
docs/accelerator.md.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

__all__ = [
    "CHECK_SEED",
    "INSTRUCTION_BYTES",
    "Cause",
    "Format",
    "Instruction",
    "MachineError",
    "Opcode",
    "Unit",
    "fields_of",
    "unit_of",
]

WORDS = 16
INSTRUCTION_BYTES = 4 * WORDS
CHECK_SEED = 0x53545053


class Opcode(IntEnum):
    """What an instruction does."""

    CONV = 1
    MATMUL = 2
    NORM = 3
    EDGE = 4
    SOFTMAX = 5
    SAMPLE = 6
    TABLE = 7
    LOAD = 8
    STORE = 9
    END = 10


class Unit(IntEnum):
    """Who runs an instruction; the first three values are those of ``step_unit``."""

    NONE = 0
    ARRAY = 1
    VECTOR = 2
    MOVER = 3
    LOADER = 4


class Format(IntEnum):
    """Codes that the array reads."""

    INT8 = 0
    REGION = 1
    WIDE = 2


class Cause(IntEnum):
    """Why the machine stopped."""

    OPCODE = 1
    CHECK = 2
    FIELD = 3
    SCRATCHPAD = 4
    EXTERNAL = 5
    WAIT = 6
    TABLE_SET = 7
    END = 8
    CONFIGURATION = 9
    READ_ERROR = 10
    WRITE_ERROR = 11
    TIMEOUT = 12
    STOPPED = 13
    TABLE_VALUE = 14


class MachineError(Exception):
    """The machine stops: ``cause``, and what was wrong."""

    def __init__(self, cause: Cause, what: str) -> None:
        super().__init__(f"{cause.name.lower()}: {what}")
        self.cause = cause


_WAITS = {
    "wait_array": (1, 0, 16),
    "wait_vector": (1, 16, 16),
    "wait_mover": (2, 0, 16),
    "step_unit": (2, 16, 2),
    "step_base": (3, 0, 16),
    "step_cap": (3, 16, 16),
}
_SET = {"table_set": (0, 8, 8), "bank": (0, 16, 1)}
_SOURCE = {"source0": (4, 0, 24), "chunks0": (4, 24, 8), "source_plane": (10, 0, 16)}
_SOURCE1 = {"source1": (5, 0, 24), "chunks1": (5, 24, 8), "source1_plane": (10, 16, 16)}
_DESTINATION = {"destination": (6, 0, 24), "destination_plane": (11, 0, 16)}
_TILES = {"chunks": (6, 24, 8), "tile_rows": (8, 20, 10)}
_IMAGE = {"height": (8, 0, 10), "width": (8, 10, 10)}
_ROWS = {"row_first": (9, 0, 10), "rows": (9, 10, 10), "source_row": (9, 20, 10)}
_AUXILIARY = {"auxiliary": (7, 0, 24), "auxiliary_plane": (11, 16, 16)}
_FORMAT = {"format": (0, 17, 2)}
_OPERATION = _WAITS | _SET | _SOURCE | _DESTINATION | _IMAGE | _ROWS
_MOVE = {
    "wait_array": _WAITS["wait_array"],
    "wait_vector": _WAITS["wait_vector"],
    "words": (5, 0, 24),
    "step_stride": (13, 0, 32),
    "offset": (14, 0, 32),
}

FIELDS: Mapping[Opcode, Mapping[str, tuple[int, int, int]]] = {
    Opcode.CONV: _OPERATION
    | _TILES
    | _AUXILIARY
    | _FORMAT
    | {
        "kernel3": (0, 19, 1),
        "stride2": (0, 20, 1),
        "upsample": (0, 21, 1),
        "pad": (0, 22, 1),
        "narrow": (0, 23, 1),
        "residual": (0, 24, 1),
        "sums": (0, 25, 1),
        "sums_clear": (0, 26, 1),
        "chunks1": (5, 24, 8),
        "sums0": (12, 0, 12),
        "offset": (14, 0, 32),
    },
    Opcode.MATMUL: _OPERATION
    | _TILES
    | _AUXILIARY
    | {
        "narrow": (0, 23, 1),
        "transpose": (0, 27, 1),
        "row_scale": (0, 28, 1),
        "scale_bank": (2, 18, 1),
        "lane_first": (7, 24, 8),
        "channels": (13, 0, 13),
    },
    Opcode.NORM: _OPERATION
    | _SOURCE1
    | _FORMAT
    | {
        "silu": (0, 30, 1),
        "sums0": (12, 0, 12),
        "sums1": (12, 12, 12),
        "channels": (13, 0, 13),
        "channels1": (13, 13, 13),
        "group_channels": (2, 19, 13),
    },
    Opcode.EDGE: _OPERATION
    | _SOURCE1
    | _FORMAT
    | {"window": (0, 29, 1), "chunks": (6, 24, 8), "channels": (13, 0, 13)},
    Opcode.SOFTMAX: _OPERATION | {"scale_bank": (2, 18, 1), "channels": (13, 0, 13)},
    Opcode.SAMPLE: _WAITS
    | _IMAGE
    | {
        "image": (0, 31, 1),
        "source0": (4, 0, 24),
        "source1": (5, 0, 24),
        "destination": (6, 0, 24),
        "auxiliary": (7, 0, 24),
        "channels": (13, 0, 13),
    },
    Opcode.TABLE: _SET
    | {
        "sampler_row": (0, 31, 1),
        "group_offset": (4, 0, 32),
        "group_stride": (5, 0, 32),
        "step_offset": (6, 0, 32),
        "step_stride": (7, 0, 32),
        "norm_offset": (8, 0, 32),
        "chunks": (9, 0, 8),
        "norm_chunks": (9, 8, 8),
    },
    Opcode.LOAD: _MOVE | {"destination": (6, 0, 24)},
    Opcode.STORE: _MOVE | {"source0": (4, 0, 24)},
    Opcode.END: {},
}
"""Fields of each opcode: (word, least significant bit, bits)."""

_UNITS = {
    Opcode.CONV: Unit.ARRAY,
    Opcode.MATMUL: Unit.ARRAY,
    Opcode.TABLE: Unit.LOADER,
    Opcode.LOAD: Unit.MOVER,
    Opcode.STORE: Unit.MOVER,
    Opcode.END: Unit.NONE,
}


def fields_of(opcode: Opcode) -> Mapping[str, tuple[int, int, int]]:
    """Fields of an opcode but for the opcode itself: (word, least significant bit, bits)."""
    return FIELDS[opcode]


def unit_of(opcode: Opcode) -> Unit:
    """Who runs an instruction."""
    return _UNITS.get(opcode, Unit.VECTOR)


def _check(words: list[int]) -> int:
    check = CHECK_SEED
    for word in words[: WORDS - 1]:
        check ^= word
    return check


@dataclass(frozen=True)
class Instruction:
    """An opcode and its fields; a field that is not named is 0."""

    opcode: Opcode
    fields: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        layout = fields_of(self.opcode)
        for name, value in self.fields.items():
            if name not in layout:
                raise ValueError(f"{self.opcode.name} has no field {name}")
            if not 0 <= value < 1 << layout[name][2]:
                top = (1 << layout[name][2]) - 1
                raise ValueError(f"{self.opcode.name} {name} must be in 0..{top}, got {value}")

    def __getitem__(self, name: str) -> int:
        """Value of a field; ``KeyError`` if the opcode has none of that name."""
        if name not in fields_of(self.opcode):
            raise KeyError(f"{self.opcode.name} has no field {name}")
        return self.fields.get(name, 0)

    @property
    def unit(self) -> Unit:
        """Who runs it."""
        return unit_of(self.opcode)

    def replace(self, **changes: int) -> "Instruction":
        """A copy with some fields changed."""
        return Instruction(self.opcode, {**self.fields, **changes})

    def encode(self) -> bytes:
        """The 64 bytes."""
        words = [0] * WORDS
        words[0] = int(self.opcode)
        for name, value in self.fields.items():
            word, lsb, _ = fields_of(self.opcode)[name]
            words[word] |= value << lsb
        words[-1] = _check(words)
        return struct.pack(f"<{WORDS}I", *words)

    @classmethod
    def decode(cls, data: bytes) -> "Instruction":
        """Read 64 bytes; ``MachineError`` for an unknown opcode, a wrong check or stray bits."""
        if len(data) != INSTRUCTION_BYTES:
            raise MachineError(Cause.END, f"{len(data)} bytes where an instruction has 64")
        words = list(struct.unpack(f"<{WORDS}I", data))
        if words[-1] != _check(words):
            raise MachineError(
                Cause.CHECK, f"check word {words[-1]:#010x}, expected {_check(words):#010x}"
            )
        if words[0] & 0xFF not in set(Opcode):
            raise MachineError(Cause.OPCODE, f"opcode {words[0] & 0xFF}")
        opcode = Opcode(words[0] & 0xFF)
        words[0] &= ~0xFF
        values = {}
        for name, (word, lsb, bits) in fields_of(opcode).items():
            mask = (1 << bits) - 1
            values[name] = words[word] >> lsb & mask
            words[word] &= ~(mask << lsb)
        for number, rest in enumerate(words[:-1]):
            if rest:
                raise MachineError(
                    Cause.FIELD, f"{opcode.name} word {number}: stray bits {rest:#x}"
                )
        return cls(opcode, {name: value for name, value in values.items() if value})
