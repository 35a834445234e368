"""A compiled program: the header, the sections, and the regions of external memory.

The program region is a header of 256 bytes and three sections of instructions, each closed by END.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, fields

from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.instruction import Cause, MachineError
from golden.accelerator.operations import Section
from golden.errors import UserError

__all__ = ["GROUP_HEADER_WORDS", "HEADER_BYTES", "NORM_HEADER_WORDS", "DataBlock", "Header"]

HEADER_BYTES = 256
GROUP_HEADER_WORDS = 8  # of a group block: operand 0, 1, edge 0, 1, SiLU, 3 x 0
NORM_HEADER_WORDS = 4  # of a norm block: E low, E high, elements, 0
MAGIC = 0x50535453
VERSION = 1
BOUNDARIES_MAX = 15
_CONFIG = tuple(entry.name for entry in fields(AcceleratorConfig))
_WORDS = HEADER_BYTES // 4


@dataclass(frozen=True)
class DataBlock:
    """Bytes of the data region: one block, or one a step, ``stride`` apart."""

    offset: int
    size: int
    stride: int = 0


@dataclass(frozen=True)
class Header:
    """First 256 bytes of a program.

    ``boundaries``: first steps of timestep groups 1, 2 .. ; ``steps``: how many the tables hold.
    ``sections``: (offset in the region, bytes).
    """

    config: AcceleratorConfig
    steps: int
    boundaries: tuple[int, ...]
    sections: Mapping[Section, tuple[int, int]]

    def encode(self) -> bytes:
        """The bytes; ``UserError`` for more boundaries than there is room for."""
        if len(self.boundaries) > BOUNDARIES_MAX:
            raise UserError(
                f"{len(self.boundaries) + 1} timestep groups; allowed: 1..{BOUNDARIES_MAX + 1}"
            )
        words = [MAGIC, VERSION, *(getattr(self.config, name) for name in _CONFIG)]
        words += [self.steps, len(self.boundaries)]
        words += [*self.boundaries, *[0] * (BOUNDARIES_MAX - len(self.boundaries))]
        for section in Section:
            words += self.sections[section]
        words += [0] * (_WORDS - len(words))
        return struct.pack(f"<{_WORDS}I", *words)

    @classmethod
    def decode(cls, data: bytes) -> "Header":
        """Read the first bytes of a region; ``MachineError`` if they are no header."""
        if len(data) < HEADER_BYTES:
            raise MachineError(Cause.CONFIGURATION, f"program of {len(data)} bytes has no header")
        words = list(struct.unpack_from(f"<{_WORDS}I", data))
        if words[:2] != [MAGIC, VERSION]:
            raise MachineError(Cause.CONFIGURATION, f"header starts {words[0]:#x}, {words[1]}")
        sizes, rest = words[2 : 2 + len(_CONFIG)], words[2 + len(_CONFIG) :]
        try:
            config = AcceleratorConfig(**dict(zip(_CONFIG, sizes, strict=True)))
        except UserError as error:
            raise MachineError(Cause.CONFIGURATION, str(error)) from error
        steps, count = rest[:2]
        if count > BOUNDARIES_MAX:
            raise MachineError(Cause.CONFIGURATION, f"{count} boundaries")
        pairs = rest[2 + BOUNDARIES_MAX :]
        sections = {
            section: (pairs[2 * number], pairs[2 * number + 1])
            for number, section in enumerate(Section)
        }
        return cls(config, steps, tuple(rest[2 : 2 + count]), sections)
