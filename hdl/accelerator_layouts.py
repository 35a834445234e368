"""Layouts of the ports between the units of the accelerator; docs/accelerator_internals.md."""

from amaranth.hdl import Mux
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.accelerator.instruction import Opcode, Unit, fields_of

__all__ = [
    "COUNTS_LAYOUT",
    "NORM_WRITE",
    "OPCODE_BITS",
    "count_of",
    "instruction_layout",
    "instruction_signature",
    "memory_data_layout",
    "memory_request_layout",
    "read_signature",
    "write_signature",
]

OPCODE_BITS = 4
COUNTS_LAYOUT = data.StructLayout({"array": 16, "vector": 16, "mover": 16})
"""Chunks that each unit has written in this section."""
NORM_WRITE = wiring.Signature({"valid": Out(1), "bank": Out(1), "index": Out(13), "data": Out(32)})
"""Words of a norm block, as their writer sees the port; always taken."""


def count_of(counts, unit):
    """Return the count of ``unit``, a value of ``step_unit`` that is not NONE."""
    return Mux(
        unit == Unit.ARRAY, counts.array, Mux(unit == Unit.VECTOR, counts.vector, counts.mover)
    )


def instruction_layout(*opcodes: Opcode) -> data.StructLayout:
    """Return ``opcode`` and every field of ``opcodes``, by name, in the order of the encoding."""
    found = {
        name: (word, lsb, bits)
        for opcode in opcodes
        for name, (word, lsb, bits) in fields_of(opcode).items()
    }
    places = sorted(found, key=lambda name: (found[name], name))
    return data.StructLayout({"opcode": OPCODE_BITS} | {name: found[name][2] for name in places})


def memory_request_layout() -> data.StructLayout:
    """Return a request to external memory: bytes from the region's base, beats of the bus."""
    return data.StructLayout({"offset": 32, "beats": 24})


def memory_data_layout(axi_bytes):
    """Return a beat from external memory; ``last`` of its request."""
    return data.StructLayout({"data": 8 * axi_bytes, "last": 1})


def read_signature(address_bits, word):
    """Return a memory's read port, as its reader sees it: data follow a granted request by one."""
    return wiring.Signature(
        {"valid": Out(1), "address": Out(address_bits), "ready": In(1), "data": In(word)}
    )


def write_signature(address_bits, word, mask=0):
    """Return a memory's write port, as its writer sees it; ``mask``: bits that choose lanes."""
    ports = {"valid": Out(1), "address": Out(address_bits), "data": Out(word), "ready": In(1)}
    if mask:
        ports["mask"] = Out(mask)
    return wiring.Signature(ports)


def instruction_signature(*opcodes: Opcode) -> stream.Signature:
    """Return the stream that brings a unit its instructions."""
    return stream.Signature(instruction_layout(*opcodes))
