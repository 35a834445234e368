"""Addresses of every tensor in the scratchpads, by lifetime in dispatch order.

Tensors whose lifetimes overlap never share words. A tensor avoids words that were in use a few
operations ago where it can, so that units which run ahead do not wait for each other.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from golden.accelerator.configuration import CODE_BANKS, AcceleratorConfig, SizeError
from golden.accelerator.operations import Operation, Space, Tensor

__all__ = ["Life", "MemoryPlan", "lives", "memory_needs", "plan_memory"]

DISTANCES = (0, 2, 4, 8, 12)  # operations that freed words rest for
UNLIMITED = 1 << 40


@dataclass(frozen=True)
class Life:
    """A tensor from its first to its last operation, both included."""

    tensor: Tensor
    first: int
    last: int


@dataclass(frozen=True)
class MemoryPlan:
    """``address``: first word of each tensor in its scratchpad. ``sums``: first entry of each
    tensor whose channel sums are kept. ``lives``: in the order of first use.
    """

    address: dict[Tensor, int]
    sums: dict[Tensor, int]
    lives: tuple[Life, ...]

    def peak(self, space: Space) -> int:
        """Words of a scratchpad up to the highest that is used."""
        return max((at + t.words for t, at in self.address.items() if t.space is space), default=0)


@dataclass(frozen=True)
class _Item:
    tensor: Tensor
    words: int
    first: int
    last: int


def lives(operations: Sequence[Operation]) -> tuple[Life, ...]:
    """Lifetimes of all tensors; a persistent one lives throughout."""
    first: dict[Tensor, int] = {}
    last: dict[Tensor, int] = {}
    for number, operation in enumerate(operations):
        for tensor in operation.tensors:
            first.setdefault(tensor, number)
            last[tensor] = number
    end = len(operations)
    found = [
        Life(t, 0 if t.persistent else first[t], end if t.persistent else last[t]) for t in first
    ]
    return tuple(sorted(found, key=lambda life: (life.first, life.tensor.name)))


def _sum_items(operations: Sequence[Operation]) -> list[_Item]:
    """Channel sums live from the first conv that gathers them to the last norm that reads them."""
    read: dict[Tensor, int] = {}
    for number, operation in enumerate(operations):
        read |= dict.fromkeys(operation.sums_from, number)
    written: dict[Tensor, int] = {}
    for number, operation in enumerate(operations):
        if operation.sums_to in read:
            written.setdefault(operation.sums_to, number)
    return [_Item(t, t.chunks, written[t], read[t]) for t in written]


def _fit(
    items: Iterable[_Item], capacity: int, distance: int, placed: list[tuple[_Item, int]]
) -> int | None:
    """Append (item, address), first fit, to ``placed``; return the peak, None without room."""
    peak = 0
    for item in items:
        taken = sorted(
            (at, at + other.words)
            for other, at in placed
            if other.first <= item.last + distance and item.first <= other.last + distance
        )
        at = 0
        for low, high in taken:
            if at + item.words <= low:
                break
            at = max(at, high)
        if at + item.words > capacity:
            return None
        placed.append((item, at))
        peak = max(peak, at + item.words)
    return peak


def _orders(items: Sequence[_Item]) -> list[list[_Item]]:
    by_size = sorted(items, key=lambda item: (-item.words, item.first))
    by_time = sorted(items, key=lambda item: (item.first, -item.words))
    return [by_time, by_size]


def _allocate(items: Sequence[_Item], capacity: int) -> dict[Tensor, int] | None:
    """First word of each item, with as much rest between uses as there is room for."""
    best: dict[Tensor, int] | None = None
    for distance in DISTANCES:
        for order in _orders(items):
            placed: list[tuple[_Item, int]] = []
            if _fit(order, capacity, distance, placed) is not None:
                best = {item.tensor: at for item, at in placed}
                break
        else:
            break
    return best


def _needed(items: Sequence[_Item]) -> int:
    """Words that a plan without rest takes."""
    peaks = [_fit(order, UNLIMITED, 0, []) or 0 for order in _orders(items)]
    return min(peaks, default=0)


def _banks(items: Sequence[_Item]) -> list[list[_Item]]:
    """Codes in two banks: where a tensor is free to choose, the one that has been idle longer."""
    banks: list[list[_Item]] = [[] for _ in range(CODE_BANKS)]
    for item in sorted(items, key=lambda item: item.first):
        if item.tensor.bank is not None:
            banks[item.tensor.bank].append(item)
            continue
        alive = [
            sum(o.words for o in bank if o.last + DISTANCES[-1] >= item.first) for bank in banks
        ]
        banks[alive.index(min(alive))].append(item)
    return banks


def memory_needs(operations: Sequence[Operation], config: AcceleratorConfig) -> dict[str, int]:
    """Smallest sizes that a plan without rest takes, by parameter."""
    items = _items(operations)
    stream = _needed([item for item in items if item.tensor.space is Space.STREAM])
    banks = _banks([item for item in items if item.tensor.space is Space.CODES])
    return {
        "stream_words": -(-stream // config.stream_banks) * config.stream_banks,
        "code_words": CODE_BANKS * max(map(_needed, banks)),
        "sum_chunks": _needed(_sum_items(operations)),
    }


def _items(operations: Sequence[Operation]) -> list[_Item]:
    return [
        _Item(life.tensor, life.tensor.words, life.first, life.last) for life in lives(operations)
    ]


def plan_memory(operations: Sequence[Operation], config: AcceleratorConfig) -> MemoryPlan:
    """Place every tensor; ``SizeError`` says which scratchpads are too small."""
    items = _items(operations)
    stream = [item for item in items if item.tensor.space is Space.STREAM]
    parts = {"stream_words": _allocate(stream, config.stream_words)}
    for bank, part in enumerate(_banks([i for i in items if i.tensor.space is Space.CODES])):
        codes = _allocate(part, config.code_bank_words)
        if codes is not None:
            codes = {t: at + bank * config.code_bank_words for t, at in codes.items()}
        parts[f"code_words {bank}"] = codes
    parts["sum_chunks"] = sums = _allocate(_sum_items(operations), config.sum_chunks)
    missing = {name.split()[0] for name, part in parts.items() if part is None}
    if missing:
        needs = memory_needs(operations, config)
        raise SizeError({n: v for n, v in needs.items() if n in missing}, config, "the network")
    address = {
        tensor: at
        for name, part in parts.items()
        if name != "sum_chunks"
        for tensor, at in (part or {}).items()
    }
    return MemoryPlan(address, sums or {}, lives(operations))
