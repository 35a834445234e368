"""Tensors that wait in external memory: stored after early uses, loaded before late ones.

The channel sums of a spilled tensor stay on chip.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.instruction import Opcode
from golden.accelerator.legality import ALIGNMENT
from golden.accelerator.operations import Operation, Place, Section, Space, Tensor
from golden.accelerator.program import DataBlock

__all__ = ["LEADS", "Rest", "rests", "spill"]

LEADS = (8, 5, 3, 1)  # operations between a LOAD and the first that needs it: far if there is room
REST_MIN = 24  # operations without a use that make a spill worth while


@dataclass(frozen=True)
class Rest:
    """A stream tensor that no operation uses between ``last`` and ``next``."""

    tensor: Tensor
    last: int
    next: int

    @property
    def relief(self) -> int:
        """Words times operations that a spill frees."""
        return self.tensor.words * (self.next - self.last)


def rests(operations: Sequence[Operation]) -> list[Rest]:
    """The longest rest of every tensor that has one, those that free most first."""
    uses: dict[Tensor, list[int]] = {}
    for number, operation in enumerate(operations):
        for tensor in operation.tensors:
            uses.setdefault(tensor, []).append(number)
    found = []
    for tensor, numbers in uses.items():
        if tensor.space is not Space.STREAM or tensor.persistent or len(numbers) < 2:
            continue
        last, following = max(pairwise(numbers), key=lambda pair: pair[1] - pair[0])
        if following - last >= REST_MIN:
            found.append(Rest(tensor, last, following))
    return sorted(found, key=lambda rest: (-rest.relief, rest.tensor.name))


def _reloaded(operation: Operation, old: Tensor, new: Tensor) -> Operation:
    """The operation with ``new`` in place of ``old``; its sums stay those of ``old``."""
    places = {
        name: replace(place, tensor=new) if place.tensor is old else place
        for name, place in operation.places.items()
    }
    return replace(operation, places=places)


def spill(
    operations: Sequence[Operation],
    chosen: Sequence[Rest],
    config: AcceleratorConfig,
    *,
    offset: int,
    lead: int,
) -> tuple[list[Operation], dict[str, DataBlock]]:
    """Return the operations with STORE and LOAD, and the blocks of the data region.

    ``offset``: first byte that is free there. ``lead``: one of ``LEADS``.
    """
    changed = list(operations)
    after: dict[int, list[Operation]] = {}
    before: dict[int, list[Operation]] = {}
    blocks = {}
    for rest in chosen:
        tensor = rest.tensor
        back = replace(tensor, name=f"{tensor.name} loaded")
        size = tensor.words * config.word_bytes
        blocks[f"spill {tensor.name}"] = DataBlock(offset, size)
        fields = {"words": tensor.words, "offset": offset}
        offset += -(-size // ALIGNMENT) * ALIGNMENT
        for number in range(rest.next, len(changed)):
            changed[number] = _reloaded(changed[number], tensor, back)
        for opcode, field, moved, where in (
            (Opcode.STORE, "source0", tensor, after.setdefault(rest.last, [])),
            (Opcode.LOAD, "destination", back, before.setdefault(rest.next - lead, [])),
        ):
            place = {field: Place(moved, 0, moved.words)}
            where.append(Operation(opcode, tensor.name, Section.STEP, dict(fields), place))
    result = []
    for number, operation in enumerate(changed):
        result += [*before.get(number, []), operation, *after.get(number, [])]
    return result, blocks
