"""Runs the steps of ``legality_program`` as the hardware does: cause, results and cycles."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.instruction import Instruction, Opcode
from golden.accelerator.legality_program import Alu, External, Op, Output, assemble

__all__ = ["Checked", "check_steps"]

BEFORE = 21  # cycles from ``start`` to the first work: scan of 16 words, judge, read, load, fetch
JUMP = 2  # more, to read the step that it names
AFTER = 1  # from the last step's work to ``done``
QUOTIENT = 16
_COMPARISONS = (Op.LT, Op.LE, Op.EQ, Op.NE)
_JUMPS = (Op.JUMP_LT, Op.JUMP_LE, Op.JUMP_EQ, Op.JUMP_NE)
_assembled = cache(assemble)


@dataclass(frozen=True)
class Checked:
    """``cause`` 0 for a legal instruction; ``cycles`` from ``start`` to ``done``."""

    cause: int
    cycles: int
    outputs: Mapping[Output, int]


def _holds(op: Op, a: int, b: int) -> bool:
    kind = op & 3
    return (a < b, a <= b, a == b, a != b)[kind]


_ALU: Mapping[Alu, Callable[[int, int, int], int]] = {
    Alu.ADD: lambda a, b, places: a + b,
    Alu.SUB: lambda a, b, places: a - b,
    Alu.MUL: lambda a, b, places: a * b,
    Alu.DIV: lambda a, b, places: a // b,
    Alu.MOD: lambda a, b, places: a % b,
    Alu.LEFT: lambda a, b, places: a << places,
    Alu.RIGHT: lambda a, b, places: a >> places,
}


def _words(i: Instruction) -> Sequence[int]:
    content = i.encode()
    return [int.from_bytes(content[at : at + 4], "little") for at in range(0, len(content), 4)]


def check_steps(
    config: AcceleratorConfig, i: Instruction, external: Mapping[External, int]
) -> Checked:
    """Check one instruction, whose words are sound.

    ``external``: what stands beside it; sizes of ``config`` need not be given.
    """
    steps, entries = _assembled(config.size, config.channel_tiles)
    words = _words(i)
    beside = {
        External.STREAM_WORDS: config.stream_words,
        External.CODE_WORDS: config.code_words,
        External.SUM_CHUNKS: config.sum_chunks,
        External.DEPTH: config.depth,
        **external,
    }
    registers = [0] * 16
    outputs: dict[Output, int] = {}
    at, cycles = entries[Opcode(i.opcode)], BEFORE
    while True:
        step = steps[at]
        at += 1
        op, x, y, z = Op(step & 15), step >> 4 & 15, step >> 8 & 15, step >> 12
        if op is Op.PASS:
            return Checked(0, cycles + AFTER, outputs)
        if op is Op.FIELD:
            registers[x] = words[y] >> (z & 31) & ((1 << (z >> 5 & 63)) - 1)
        elif op is Op.EXTERNAL:
            registers[x] = beside.get(External(z), 0)
        elif op is Op.CONSTANT:
            registers[x] = y << 12 | z
        elif op is Op.OUTPUT:
            outputs[Output(z)] = registers[x]
        elif op is Op.ALU:
            function, a, b = Alu(z >> 4 & 15), registers[y], registers[z & 15]
            registers[x] = _ALU[function](a, b, z & 15)
            if function is Alu.MUL:
                cycles += abs(b).bit_length() + 1
            elif function in (Alu.DIV, Alu.MOD):
                cycles += QUOTIENT
        elif op in _COMPARISONS:
            if not _holds(op, registers[x], registers[y]):
                return Checked(z, cycles + AFTER, outputs)
        elif op in _JUMPS and _holds(op, registers[x], registers[y]):
            at = z
            cycles += JUMP
        cycles += 2
