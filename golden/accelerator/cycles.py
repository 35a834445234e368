"""Start and end of every instruction for a memory that is always ready, by the rules of the design.

Units run in order and at once; the model moves passes, tiles, chunks and bursts, not single beats.
Not counted yet: conflicts for a scratchpad port, and whatever the RTL will add to ``Latencies``.
"""

from collections.abc import Sequence

from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.instruction import Instruction
from golden.accelerator.timing.latencies import Latencies, Memory, Timeline
from golden.accelerator.timing.machine import Machine
from golden.accelerator.timing.units import ArrayUnit, VectorUnit

__all__ = ["time_section"]


def time_section(
    config: AcceleratorConfig,
    instructions: Sequence[Instruction],
    memory: Memory | None = None,
    latencies: Latencies | None = None,
) -> Timeline:
    """Cycles of one section, from the first fetch to END.

    ``RuntimeError`` if the instructions wait for ever, which those of a legal section never do.
    """
    machine = Machine(config, instructions, memory or Memory(), latencies or Latencies())
    # priority of requests: tables, instructions, weights, mover
    for name, process in (
        ("loader", machine.load()),
        ("fetch", machine.fetch()),
        ("dispatch", machine.dispatch()),
        ("weights", machine.weigh()),
        ("mover", machine.move()),
        ("array", ArrayUnit(machine).run()),
        ("vector", VectorUnit(machine).run()),
    ):
        machine.clock.add(name, process)
    machine.clock.run()
    return Timeline(machine.lines, machine.lines[-1].end, machine.bytes_read, machine.reads)
