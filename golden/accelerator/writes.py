"""Words that an instruction writes to the scratchpads, in the order of the write ports."""

import numpy as np
import numpy.typing as npt

from golden.accelerator.instruction import Instruction, Opcode, Unit
from golden.accelerator.legality import output_count, output_size
from golden.accelerator.units.state import State
from golden.numbers import Int64

__all__ = ["PORTS", "record_type", "records"]

PORTS = ("array_stream", "array_codes", "vector_stream", "vector_codes", "mover_stream")
"""Writers and the memory that each one writes; the words of a port come in program order."""


def record_type(size: int) -> np.dtype:
    """One written word of ``size`` lanes: address, written lanes (a bit each), lanes."""
    return np.dtype([("address", "<u4"), ("mask", "<u4"), ("lanes", "<u2", (size,))])


def _port(i: Instruction) -> str | None:
    """Port that an instruction writes to; ``None`` if it writes to no scratchpad."""
    if i.opcode in (Opcode.TABLE, Opcode.STORE, Opcode.END):
        return None
    if i.opcode is Opcode.LOAD:
        return "mover_stream"
    if i.unit is Unit.ARRAY:
        return "array_codes" if i["narrow"] else "array_stream"
    return "vector_stream" if i.opcode is Opcode.SAMPLE else "vector_codes"


def _addresses(i: Instruction) -> Int64:
    """Addresses in order: (words,) or, where an instruction has output chunks, (chunks, words)."""
    if i.opcode is Opcode.LOAD:
        return i["destination"] + np.arange(i["words"])
    if i.opcode is Opcode.SAMPLE:
        return i["destination"] + np.arange(i["height"] * i["width"])
    chunks = i["chunks0"] if i.opcode is Opcode.SOFTMAX else output_count(i)
    planes = i["destination"] + i["destination_plane"] * np.arange(chunks)[:, None]
    return planes + np.arange(i["rows"] * output_size(i)[1])


def _masks(i: Instruction, size: int, chunks: int) -> Int64:
    """Written lanes of each chunk, (chunks, 1): part of a chunk where a head ends in it."""
    lane = np.arange(chunks * size).reshape(chunks, size)
    live = np.ones(lane.shape, dtype=bool)
    if i.opcode is Opcode.MATMUL and i["narrow"]:
        live = (lane >= i["lane_first"]) & (lane < i["lane_first"] + i["channels"])
    return (live * (1 << np.arange(size))).sum(axis=1)[:, None]


def records(state: State, i: Instruction) -> tuple[str, npt.NDArray[np.void]] | None:
    """Port and written words of an instruction that ran last on ``state``; ``None`` for none.

    A softmax writes row by row, everything else chunk by chunk.
    """
    port = _port(i)
    if port is None:
        return None
    size = state.config.size
    addresses = np.atleast_2d(_addresses(i))
    masks = np.broadcast_to(_masks(i, size, len(addresses)), addresses.shape)
    if i.opcode is Opcode.SOFTMAX:
        addresses, masks = addresses.T, masks.T
    found = np.zeros(addresses.size, record_type(size))
    found["address"], found["mask"] = addresses.ravel(), masks.ravel()
    memory = state.stream if port.endswith("stream") else state.codes
    found["lanes"] = memory[addresses.ravel()] & 0xFFFF
    return port, found
