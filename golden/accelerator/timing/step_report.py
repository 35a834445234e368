"""Where the cycles of a step go: a row an instruction, and what is busy when."""

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from golden.accelerator.compiler import Program
from golden.accelerator.cycles import time_section
from golden.accelerator.instruction import Instruction, Opcode, Unit
from golden.accelerator.operations import Section
from golden.accelerator.timing.latencies import Memory, Timeline
from golden.accelerator.timing.utilisation import utilisation

__all__ = ["kind_of", "read_share", "step_report", "step_timeline"]

Float64 = npt.NDArray[np.float64]


def kind_of(i: Instruction) -> str:
    """What the tables and the picture call an instruction."""
    if i.opcode is Opcode.CONV:
        return "3x3 conv" if i["kernel3"] else "1x1 conv"
    return i.opcode.name.lower()


def step_timeline(program: Program, memory: Memory) -> Timeline:
    """One step by the cycle model."""
    instructions = [i for _, i in program.listed[Section.STEP]]
    return time_section(program.header.config, instructions, memory)


def step_report(program: Program, memory: Memory) -> dict[str, Any]:
    """Totals of a step, and for each instruction: cycles of dispatch, start and end, and beats.

    ``idle``: cycles of an array instruction, up to the next one's start, without a beat.
    """
    timeline = step_timeline(program, memory)
    shares = utilisation(program, memory)
    array = [line for line in timeline.lines if line.instruction.unit is Unit.ARRAY]
    following = {id(line): later.start for line, later in pairwise(array)}
    rows = []
    for (operation, i), line in zip(program.listed[Section.STEP], timeline.lines, strict=True):
        row: dict[str, Any] = {
            "operation": "" if operation is None else operation.label,
            "kind": kind_of(i),
            "unit": i.unit.name.lower(),
            "dispatch": line.dispatch,
            "start": line.start,
            "end": line.end,
            "beats": line.beats,
        }
        if i.unit is Unit.ARRAY:
            row["idle"] = following.get(id(line), line.end) - line.start - line.beats
        rows.append(row)
    return {
        "array": program.header.config.size,
        "memory": {"latency": memory.latency, "bytes_per_cycle": memory.width},
        "cycles": timeline.cycles,
        "array_beats": shares.array_beats,
        "vector_beats": shares.vector_beats,
        "bytes_read": timeline.bytes_read,
        "utilisation": {
            "step": shares.step,
            "conv3x3": shares.conv3x3,
            "network": shares.network,
        },
        "instructions": rows,
    }


def read_share(timeline: Timeline, bins: int) -> Float64:
    """Share of cycles in which memory delivers data, in each of ``bins`` equal parts, (bins,)."""
    busy = np.zeros(timeline.cycles + 1)
    for first, beats in timeline.reads:
        busy[min(first, timeline.cycles)] += 1
        busy[min(first + beats, timeline.cycles)] -= 1
    delivered = np.cumsum(busy)[:-1]
    parts = np.array_split(delivered, bins)
    return np.array([part.mean() if len(part) else 0.0 for part in parts])
