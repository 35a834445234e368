"""Work spread over a CPU's threads, each of which computes alone: the same bits however many.

A float sum of torch depends on the number of threads that share it. Pieces that depend on nothing
but the caller, each computed by one thread and put together in order, do not.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Condition
from typing import TypeVar

import torch

from golden.exact_matmul import full_precision

__all__ = ["Turns", "spread", "torch_threads"]

P = TypeVar("P")
R = TypeVar("R")


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Threads of torch in this process for a while; as they are if None."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _alone() -> None:
    """Operations of this thread use no other; the process's own number is set again by the caller.

    The first call makes the thread take over the process's number, which it would do later, above
    its own, otherwise.
    """
    torch.get_num_threads()
    torch.set_num_threads(1)


def spread(
    work: Callable[[P], R], pieces: Iterable[P], device: torch.device | str = "cpu"
) -> Iterator[R]:
    """Yield ``work(piece)`` of each piece, in order.

    On a CPU ``torch.get_num_threads()`` pieces at a time, begun in order, each on one thread; on
    any other device one by one.
    """
    if torch.device(device).type != "cpu":
        yield from map(work, pieces)
        return
    waiting, before = list(pieces), torch.get_num_threads()
    with full_precision():
        if min(before, len(waiting)) <= 1:
            for piece in waiting:
                with torch_threads(1):
                    result = work(piece)
                yield result
            return
        try:
            with ThreadPoolExecutor(min(before, len(waiting)), "piece", _alone) as pool:
                yield from pool.map(work, waiting)
        finally:
            torch.set_num_threads(before)


class Turns:
    """Lets pieces 0, 1, ... of ``spread`` add to one sum in their order, whoever comes first."""

    def __init__(self) -> None:
        self._next: dict[str, int] = {}
        self._changed = Condition()
        self._broken = False

    @contextmanager
    def turn(self, name: str, piece: int) -> Iterator[None]:
        """Wait until all pieces before ``piece`` have had their turn at the sum ``name``."""
        with self._changed:
            self._changed.wait_for(lambda: self._broken or self._next.get(name, 0) == piece)
            if self._broken:
                raise RuntimeError(f"piece {piece} of {name}: an earlier piece failed")
        yield
        with self._changed:
            self._next[name] = piece + 1
            self._changed.notify_all()

    @contextmanager
    def piece(self) -> Iterator[None]:
        """Around a piece that takes turns: if it fails, nobody waits for it."""
        try:
            yield
        except BaseException:
            with self._changed:
                self._broken = True
                self._changed.notify_all()
            raise
