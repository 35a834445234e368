"""Clock, reset and pauses that the benches of this folder share."""

import itertools
import logging
import random
from collections.abc import Iterator
from typing import Any

from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

__all__ = ["PERIOD_NS", "cycles_now", "pauses", "reset", "start"]

PERIOD_NS = 10


def start(dut: Any) -> None:
    """Start ``aclk``; the bus models speak of warnings only."""
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("cocotb."):
            logging.getLogger(name).setLevel(logging.WARNING)
    Clock(dut.aclk, PERIOD_NS, unit="ns", impl="gpi").start()


async def reset(dut: Any) -> None:
    """Hold ``aresetn`` low for four edges."""
    dut.aresetn.value = 0
    for _ in range(4):
        await RisingEdge(dut.aclk)
    dut.aresetn.value = 1
    await RisingEdge(dut.aclk)


def pauses(generator: random.Random, share: float) -> Iterator[bool]:
    """A cycle is a pause with probability ``share``; 0 never pauses."""
    return (generator.random() < share for _ in itertools.count())


def cycles_now(time_ns: float) -> int:
    """Cycles since the start."""
    return int(time_ns // PERIOD_NS)
