"""A step as tensors and operations, before addresses and waits are known."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from golden.accelerator.instruction import Instruction, Opcode, Unit, unit_of
from golden.accelerator.legality import output_count

__all__ = ["Operation", "Place", "Section", "Space", "Tensor"]


class Space(Enum):
    """Where a tensor lies."""

    STREAM = "stream"
    CODES = "codes"


class Section(Enum):
    """Part of a program: before the first step, of every step, after the last one."""

    START = "start"
    STEP = "step"
    FINISH = "finish"


@dataclass(frozen=True, eq=False)
class Tensor:
    """``chunks`` planes of ``plane`` words.

    ``channels``: that count, without the lanes that fill the last chunk. ``bank``: of the code
    scratchpad, or None where either will do. ``height``, ``width``: of the whole image.
    """

    name: str
    space: Space
    chunks: int
    plane: int
    channels: int
    height: int
    width: int
    bank: int | None = None
    persistent: bool = False

    @property
    def words(self) -> int:
        """Words that it takes."""
        return self.chunks * self.plane


@dataclass(frozen=True)
class Place:
    """Words of a tensor: ``first`` counts from its first word."""

    tensor: Tensor
    first: int
    words: int


@dataclass(eq=False)
class Operation:
    """An instruction whose addresses and waits are still open.

    ``places``: address field -> words that it stands for, read or (``destination``) written.
    ``stepped``: the field whose chunks are waited for one by one, and how many chunks of its
    producer must be ready beyond the one that is read. ``sums_to``, ``sums_from``: tensors whose
    channel sums are gathered or used. ``scales``: bank of the row scales, or None.
    """

    opcode: Opcode
    label: str
    section: Section
    fields: dict[str, int] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)
    stepped: str | None = None
    ahead: int = 0
    sums_to: Tensor | None = None
    sums_from: tuple[Tensor, ...] = ()
    scales: int | None = None
    first_band: bool = True
    macs: int = 0

    @property
    def unit(self) -> Unit:
        """Who runs it."""
        return unit_of(self.opcode)

    @property
    def count(self) -> int:
        """What it adds to its unit's count."""
        return output_count(Instruction(self.opcode, self.fields))

    @property
    def tensors(self) -> set[Tensor]:
        """Every tensor that it touches."""
        return {place.tensor for place in self.places.values()}
