"""How often a CONV or MATMUL passes over which pixels."""

from dataclasses import dataclass

from golden.accelerator.instruction import Format, Instruction, Opcode
from golden.accelerator.legality import output_size

__all__ = ["Tiles"]


@dataclass(frozen=True)
class Tiles:
    """What a CONV or MATMUL repeats for each output chunk: ``passes`` over tiles of ``pixels``."""

    pixels: tuple[int, ...]
    passes: int
    passes_a_chunk: int

    @classmethod
    def of(cls, i: Instruction) -> "Tiles":
        """Tiles of an instruction."""
        width = output_size(i)[1]
        starts = range(0, i["rows"], i["tile_rows"])
        pixels = tuple(min(i["tile_rows"], i["rows"] - row) * width for row in starts)
        if i.opcode is Opcode.MATMUL:
            return cls(pixels, i["chunks0"], 1)
        each = (9 if i["kernel3"] else 1) * (2 if i["format"] == Format.WIDE else 1)
        return cls(pixels, (i["chunks0"] + i["chunks1"]) * each, each)
