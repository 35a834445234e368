"""The vector unit: every word of random legal instructions, in order, against golden."""

from dataclasses import replace

import pytest

from golden.accelerator.instruction import Opcode
from tests.vector_programs import CONFIG, delayed, random_program
from tests.vector_unit_bench import VectorBench

OPCODES = (Opcode.NORM, Opcode.EDGE, Opcode.SOFTMAX, Opcode.SAMPLE)


@pytest.mark.parametrize("stall", [0.0, 0.3], ids=["flows", "stalls"])
@pytest.mark.parametrize("opcode", OPCODES, ids=lambda opcode: opcode.name)
def test_each(opcode, stall):
    program = random_program(3, 6, opcodes=(opcode,))
    VectorBench(program, seed=3, stall=stall).run().check()


@pytest.mark.parametrize("seed", [1, 2])
def test_a_mix(seed):
    VectorBench(random_program(seed, 12), seed=seed, stall=0.15).run().check()


def test_eight_lanes():
    config = replace(CONFIG, size=8, stream_words=1024, code_words=960)
    VectorBench(random_program(5, 6, config=config), seed=5, stall=0.1).run().check()


@pytest.mark.parametrize("opcode", OPCODES[:3], ids=lambda opcode: opcode.name)
def test_waits_for_chunks(opcode):
    """A word that is read before its count is garbage."""
    program = random_program(7, 4, opcodes=(opcode,))
    step = 1
    for number, i in enumerate(program.instructions):
        ahead = i.fields.get("group_channels", 0) // program.config.size + 1
        program.instructions[number] = delayed(i, step, ahead)
        step += i["chunks0"] + i.fields.get("chunks1", 0)
    VectorBench(program, seed=7, pace=90).run().check()


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20, 40))
def test_many(seed):
    VectorBench(random_program(seed, 15), seed=seed, stall=0.1 * (seed % 5)).run().check()
