"""Addresses and waits: operations become instructions.

A wait names the count that another unit reaches with the last operation in conflict: one that
wrote what is read, or that read or wrote what is overwritten. Waits on the own unit are needed
only where its reads run ahead of its write back.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from golden.accelerator.instruction import Instruction, Opcode, Unit
from golden.accelerator.memory_plan import MemoryPlan
from golden.accelerator.operations import Operation, Section
from golden.errors import UserError

__all__ = ["COUNT_MAX", "schedule"]

COUNT_MAX = (1 << 16) - 1
COUNTED = (Unit.ARRAY, Unit.VECTOR, Unit.MOVER)
WRITTEN = "destination"
SUMS = "sums"


@dataclass(frozen=True)
class _Access:
    """Words ``first .. last`` of a memory; ``front``: before write back."""

    memory: str
    first: int
    last: int
    writes: bool
    front: bool
    field: str = ""


@dataclass(frozen=True)
class _Past:
    access: _Access
    unit: Unit
    before: int
    after: int


def _accesses(operation: Operation, plan: MemoryPlan) -> Iterator[_Access]:
    for name, place in operation.places.items():
        first = plan.address[place.tensor] + place.first
        writes = name == WRITTEN
        back = writes or (name == "auxiliary" and operation.opcode is Opcode.CONV)
        memory = place.tensor.space.value
        yield _Access(memory, first, first + place.words - 1, writes, not back, name)
    if operation.sums_to in plan.sums:
        first = plan.sums[operation.sums_to]
        yield _Access(SUMS, first, first + operation.sums_to.chunks - 1, True, False)
    for tensor in operation.sums_from:
        first = plan.sums[tensor]
        yield _Access(SUMS, first, first + tensor.chunks - 1, False, True)
    if operation.scales is not None:
        writes = operation.opcode is Opcode.SOFTMAX
        yield _Access(f"scales {operation.scales}", 0, 0, writes, False)


def _conflicts(now: _Access, past: _Past, unit: Unit) -> bool:
    then = past.access
    if now.memory != then.memory or now.last < then.first or then.last < now.first:
        return False
    if past.unit is unit:  # a unit is in order, but reads before its own writes have landed
        return unit is not Unit.MOVER and then.writes and not now.writes and now.front
    return now.writes or then.writes


class _Section:
    """Counts and accesses since the section began."""

    def __init__(self, plan: MemoryPlan) -> None:
        self.plan = plan
        self.counts = dict.fromkeys(COUNTED, 0)
        self.past: dict[str, list[_Past]] = defaultdict(list)

    def waits(self, operation: Operation) -> dict[str, int]:
        """Fields of the waits of an operation, which then belongs to the past."""
        unit = operation.unit
        waits = dict.fromkeys(COUNTED, 0)
        fields: dict[str, int] = {}
        accesses = list(_accesses(operation, self.plan))
        producer: _Past | None = None
        for access in accesses:
            found = [p for p in self.past[access.memory] if _conflicts(access, p, unit)]
            stepped = self._stepped(operation, access, found)
            if stepped is not None:
                producer = stepped
                base = stepped.before + 1 + operation.ahead
                fields = {
                    "step_unit": int(stepped.unit),
                    "step_base": min(base, stepped.after),
                    "step_cap": stepped.after,
                }
            for past in found:
                same = producer is not None and past.before == producer.before
                if past is stepped or (same and access.memory == SUMS):
                    continue  # its chunks are waited for one by one
                waits[past.unit] = max(waits[past.unit], past.after)
        for kind, name in zip(COUNTED, ("wait_array", "wait_vector", "wait_mover"), strict=True):
            if waits[kind]:
                fields[name] = waits[kind]
        self._remember(operation, accesses)
        return fields

    @staticmethod
    def _stepped(operation: Operation, access: _Access, found: list[_Past]) -> _Past | None:
        """The newest writer of what is read chunk by chunk, unless it is the mover."""
        if access.field != operation.stepped or not access.field:
            return None
        writers = [past for past in found if past.access.writes]
        if not writers or writers[-1].unit is Unit.MOVER:
            return None
        return writers[-1]

    def _remember(self, operation: Operation, accesses: list[_Access]) -> None:
        if operation.unit not in COUNTED:
            return
        before = self.counts[operation.unit]
        after = before + operation.count
        if after > COUNT_MAX:
            raise UserError(
                f"{operation.label}: the step needs more than {COUNT_MAX} output chunks of the "
                f"{operation.unit.name.lower()} unit; a larger array, or one with larger "
                "scratchpads, takes fewer"
            )
        self.counts[operation.unit] = after
        for access in accesses:
            self.past[access.memory].append(_Past(access, operation.unit, before, after))


def _addresses(operation: Operation, plan: MemoryPlan) -> dict[str, int]:
    fields = {
        name: plan.address[place.tensor] + place.first for name, place in operation.places.items()
    }
    if operation.sums_to in plan.sums:
        fields |= {
            "sums": 1,
            "sums0": plan.sums[operation.sums_to],
            "sums_clear": int(operation.first_band),
        }
    for number, tensor in enumerate(operation.sums_from):
        fields[f"sums{number}"] = plan.sums[tensor]
    return fields


def schedule(
    operations: Sequence[Operation], plan: MemoryPlan
) -> dict[Section, list[tuple[Operation, Instruction]]]:
    """Instructions of each section, beside the operation each comes from; without END."""
    sections: dict[Section, list[tuple[Operation, Instruction]]] = {}
    for section in Section:
        state = _Section(plan)
        sections[section] = []
        for operation in operations:
            if operation.section is not section:
                continue
            fields = operation.fields | _addresses(operation, plan)
            if operation.opcode is not Opcode.TABLE:
                fields |= state.waits(operation)
            named = {name: value for name, value in fields.items() if value}
            sections[section].append((operation, Instruction(operation.opcode, named)))
    return sections
