"""Registers start at random, and only the reset gives them a value: the same cycles come out."""

import pytest

from cosim.bench import emit_verilog, run_cases
from cosim.manifest import load_manifest
from cosim.power_up import run_power_up, strip_initial
from cosim.suites import block_jobs, block_names
from golden.errors import UserError
from tests.faults.faults import PARAMETERS, Fault
from tests.faults.plant import cases_of, generate, plant

SEEDS = (1, 2, 3)
FORGOTTEN = Fault(
    "reset_forgotten",
    "operand.py",
    "m.d.comb += self.i.ready.eq(enable)",
    "stuck = Signal(4, reset_less=True)\n"
    "        m.d.sync += stuck.eq(stuck & ~(self.i.valid & self.o.ready).replicate(4))\n"
    "        m.d.comb += self.i.ready.eq(enable & ~stuck.any())",
    "operand",
    ("i",),
    "a register that no reset clears, and that simulators start at 0",
)


def wrong(results):
    return [sum(case.mismatch_count for case in result.cases) for result in results]


def test_no_initial_block_is_left(tmp_path):
    folder = emit_verilog("accumulator", {"depth": 8, "cols": 1}, tmp_path / "rtl")
    before = "".join(path.read_text() for path in load_manifest(folder).sources)
    after, count = strip_initial(before)
    assert count == before.count("initial ") == 2
    assert "initial" not in after
    assert after.count("always") == before.count("always")
    kept, count = strip_initial(before, keep={"entries"})
    assert count == 1
    assert kept.count("initial ") == 1
    assert "entries[entries_word] = " in kept


def test_an_unknown_initial_block_is_refused():
    with pytest.raises(UserError, match="a form that is not known"):
        strip_initial("module x;\n  initial $display;\nendmodule\n")


@pytest.mark.cosim
@pytest.mark.long
def test_a_forgotten_reset_shows_only_at_a_random_power_up(tmp_path):
    parameters, cases = PARAMETERS["operand"], cases_of("operand")[:1]
    rtl = generate(plant(tmp_path, FORGOTTEN), "operand")
    assert wrong([run_cases("operand", parameters, cases, rtl=rtl)]) == [0]
    assert any(wrong(run_power_up("operand", parameters, cases, SEEDS, rtl=rtl)))


@pytest.mark.cosim
@pytest.mark.long
@pytest.mark.parametrize("block", block_names())
def test_every_bench_passes_from_any_power_up(block):
    for job in block_jobs(block=block, rows=4, cols=4, seed=1, parameters={}):
        results = run_power_up(job.block, job.parameters, job.cases, SEEDS)
        assert len(results) == len(SEEDS)
        assert all(result.passed for result in results)
        assert wrong(results) == [0] * len(SEEDS)
