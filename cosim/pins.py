"""Reading and writing a net as a string of bits, by the shortest way that cocotb offers.

Below the public handle: ``handle.value`` builds and checks a ``LogicArray`` each time, which makes
a cycle of the bench longer by half. Verilator's writes are inertial: they land after the edge.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

__all__ = ["reader", "writer"]

_DEPOSIT = 0


def reader(handle: Any) -> Callable[[], str]:
    """Return a function that reads the net, most significant bit first."""
    read: Callable[[], str] = handle._handle.get_signal_val_binstr
    return read


def writer(handle: Any) -> Callable[[str], None]:
    """Return a function that drives the net from the next evaluation on."""
    return partial(handle._handle.set_signal_val_binstr, _DEPOSIT)
