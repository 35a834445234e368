"""Cycles per second of the datapath: bare, with every cycle compared (level 3), and under cocotb.

Bare is the level 3 program itself, replaying the same trace on the same pins with the comparison
compiled out. The runs take turns in one process after the other; a ratio is that of two medians.
Only the simulation loop counts, not the build, the start, or the writing of the trace.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from cosim.bench import emit_verilog, run_cases
from cosim.stimulus import Parameters
from cosim.suites import block_jobs
from cosim.trace_checker.build import build_program
from cosim.trace_checker.run import run_trace
from cosim.trace_checker.trace import TraceWriter
from golden.errors import UserError

__all__ = ["SIZES", "cosim_speed"]

SIZES = (4, 8, 16, 32)
CYCLES = 1_000_000
REPEATS = 5
LEVEL2_CYCLES = 15_000  # of each repetition: level 2 needs seconds for what level 3 does in none

Progress = Callable[[str, int, int], None]


def cosim_speed(
    size: int,
    *,
    cycles: int = CYCLES,
    repeats: int = REPEATS,
    seed: int = 1,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Time a ``size`` x ``size`` datapath over at least ``cycles`` cycles of its bench's cases.

    Returns cycles a second as a median of ``repeats`` turns and each turn's, of level 2, level 3
    and bare, and the two ratios to bare. ``UserError`` for a size outside 1..64, fewer than three
    repeats, or if a comparison found a mismatch.
    """
    if not 1 <= size <= 64:
        raise UserError(f"size = {size} is not allowed; allowed: an integer in 1..64")
    if repeats < 3:
        raise UserError(f"repeats = {repeats} is not allowed; allowed: an integer of 3 or more")
    if cycles < 1:
        raise UserError(f"cycles = {cycles} is not allowed; allowed: an integer of 1 or more")
    tell = progress or (lambda what, done, total: None)
    parameters: Parameters = {"rows": size, "cols": size}
    [job] = block_jobs(block="datapath", rows=size, cols=size, seed=seed, parameters=parameters)
    name = f"{size}x{size}"
    with tempfile.TemporaryDirectory(prefix="stepscale-") as temporary:
        folder = Path(temporary)
        tell(f"generate {name}", 0, repeats)
        rtl = emit_verilog(job.block, job.parameters, folder / "rtl")
        tell(f"build {name}", 0, repeats)
        program = build_program(rtl)
        names: list[str] = []
        written = 0
        tell(f"trace {name}", 0, repeats)
        with TraceWriter(folder / "trace", program.manifest) as writer:
            while written < cycles:
                for case in job.cases:
                    writer.add(case)
                    names.append(case.name)
                    written += case.trace.cycles
        bytes_per_cycle = writer.bytes / written
        # a level 2 run compares every cycle of some cases: the first that are long enough
        slow = list(job.cases)
        while sum(case.trace.cycles for case in slow[:-1]) >= LEVEL2_CYCLES:
            slow.pop()
        rates: dict[str, list[float]] = {"bare": [], "level3": [], "level2": []}
        for turn in range(repeats):
            tell(f"time {name}", turn, repeats)
            for kind, bare in (("bare", True), ("level3", False)):
                run = run_trace(program, folder / "trace", names, bare=bare, cycles=written)
                rates[kind].append(written / run.seconds)
                if any(verdict.mismatches for verdict in run.verdicts):
                    raise UserError(f"{name}: the datapath differs from the golden model")
            result = run_cases(
                job.block, job.parameters, slow, rtl=rtl, seed=seed, level=2, repeat=job.words
            )
            if not result.passed:
                raise UserError(f"{name}: {result.text()}")
            rates["level2"].append(result.cycles_per_second)
        tell(f"time {name}", repeats, repeats)
    middle = {kind: median(values) for kind, values in rates.items()}
    return {
        "rows": size,
        "cols": size,
        "seed": seed,
        "cycles": written,
        "trace_bytes_per_cycle": bytes_per_cycle,
        "bare_cycles_per_second": middle["bare"],
        "level3_cycles_per_second": middle["level3"],
        "level2_cycles_per_second": middle["level2"],
        "level3_ratio": middle["level3"] / middle["bare"],
        "level2_ratio": middle["level2"] / middle["bare"],
        "turns": rates,
    }
