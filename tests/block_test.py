"""What the tests of all blocks share: level 1 on Amaranth's simulator, level 2 under Verilator."""

from cosim.bench import run_cases
from cosim.jobs import run_jobs
from cosim.suites import block_jobs
from hdl.blocks import BLOCKS
from tests.amaranth_bench import run_case

__all__ = ["assert_level1", "assert_level2", "assert_rtl"]


def assert_level1(block, parameters, cases):
    """Every cycle of every case equals the golden model on Amaranth's simulator."""
    assert cases
    for case in cases:
        assert case.trace.cycles > 0
        assert run_case(BLOCKS[block](**parameters), case) == [], case.name


def assert_level2(block, parameters, seed=1):
    """The block's bench passes on the generated Verilog; returns the number of beats compared."""
    jobs = block_jobs(block=block, rows=0, cols=0, seed=seed, parameters=parameters)
    results = run_jobs(jobs, waves=False, level=2)
    return _assert_green(results)


def assert_rtl(block, parameters, cases, seed=1):
    """``cases`` pass on the generated Verilog; returns the number of beats compared."""
    return _assert_green([run_cases(block, parameters, cases, seed=seed)])


def _assert_green(results):
    for result in results:
        for case in result.cases:
            assert case.mismatch_count == 0, "\n".join(map(str, case.mismatches)) + case.repeat
        assert result.passed
    return sum(case.beats for result in results for case in result.cases)
