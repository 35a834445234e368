"""The array's unit with write_back: what stands in memory after random instructions."""

import pytest

from golden.accelerator.instruction import Opcode
from tests.array_programs import random_program
from tests.array_unit_bench import UnitBench, ordered


@pytest.mark.parametrize("stall", [0.0, 0.3], ids=["flows", "stalls"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_memory_equals_golden(seed, stall):
    program = ordered(random_program(seed, 6, plain=False))
    bench = UnitBench(program, seed=seed, stall=stall)
    bench.run(limit=8000)
    bench.check()


@pytest.mark.long
@pytest.mark.parametrize("seed", range(40, 60))
def test_many(seed):
    program = ordered(random_program(seed, 8, plain=False))
    bench = UnitBench(program, seed=seed, stall=0.1 * (seed % 4))
    bench.run()
    bench.check()


def test_the_programs_are_varied():
    convs = [i for i in random_program(1, 60, plain=False).instructions if i.opcode is Opcode.CONV]
    for name in ("residual", "sums", "sums_clear"):
        assert {i[name] for i in convs} == {0, 1}, name
    assert any(i["residual"] and i["auxiliary"] == i["destination"] for i in convs)
