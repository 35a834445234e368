"""Order of the writes of table sets among the tiles that use them."""

from collections.abc import Mapping

import numpy as np

from golden.numbers import Int64
from golden.order import Wait

__all__ = ["bank_waits", "restart"]


def bank_waits(write_set: Int64, delivered_set: Mapping[str, Int64], sets: int) -> list[Wait]:
    """Return waits of the writes: a set goes over one whose tiles have all left.

    ``write_set``: set of each write; ``delivered_set``: set of each beat of an output, ascending.
    """
    return [
        Wait(
            int(np.searchsorted(write_set, number)),
            {
                stream: int(np.searchsorted(found, number - 2, "right"))
                for stream, found in delivered_set.items()
            },
        )
        for number in range(2, sets)
    ]


def restart(order: dict[str, list[Wait]], begin: int, before: Mapping[str, int]) -> None:
    """Add that boundaries are written anew from write ``begin`` on.

    The write waits for ``before`` beats of each path to go in, and those that follow wait for it.
    """
    order["i_write"].append(Wait(begin, before))
    for path, beats in before.items():
        order.setdefault(path, []).append(Wait(beats, {"i_write": begin + 1}))
