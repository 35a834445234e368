"""Runs the benches of a block with counters in the RTL, and gathers its functional bins."""

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosim.bench import emit_verilog
from cosim.coverage.bins import functional
from cosim.coverage.rtl import Counts, Point, exceptions, read_counters, summarize
from cosim.jobs import Job
from cosim.trace_checker.build import build_program
from cosim.trace_checker.run import run_trace, trace_of
from golden.cycles import Case
from golden.errors import UserError

__all__ = ["PARAMETERS", "RTL_GOAL", "SIZE", "BlockCoverage", "block_coverage", "counters"]

SIZE = 4  # rows and columns
PARAMETERS: Mapping[str, Mapping[str, Any]] = {
    "requantizer": {"count_width": 8},
    "softmax": {"lanes": SIZE, "keys_max": 256},
}
"""A counter of 8 bits is one that the bench can fill; up to 256 keys n_o has its highest bit."""
RTL_GOAL = 0.98
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class BlockCoverage:
    """``bins``: hit or not, by name; ``excused``: holes with a reason; ``rtl``: by kind.

    ``unread``: toggles that are no points, because nothing reads their bit.
    """

    block: str
    bins: Mapping[str, bool]
    excused: Mapping[str, str]
    rtl: Mapping[str, Counts]
    unread: int

    @property
    def holes(self) -> list[str]:
        """Bins that no case hits and no exception excuses."""
        return [name for name, hit in self.bins.items() if not hit and name not in self.excused]

    @property
    def reached(self) -> bool:
        """Whether every goal is."""
        return not self.holes and all(counts.share >= RTL_GOAL for counts in self.rtl.values())

    def record(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The JSON of the functional part and of the RTL's; by kind: hit, and all not excused."""
        rtl: dict[str, Any] = {k: [c.hit, c.total - c.excused] for k, c in self.rtl.items()}
        rtl["excused"] = sum(c.excused for c in self.rtl.values())
        rtl["unread"] = self.unread
        rtl["holes"] = [str(point) for c in self.rtl.values() for point in c.holes]
        hit = sum(self.bins.values())
        part = {"bins": len(self.bins), "hit": hit, "excused": len(self.excused)}
        return part | {"holes": self.holes}, rtl


def counters(
    block: str, parameters: Mapping[str, Any], cases: Sequence[Case]
) -> tuple[Counter[Point], set[Point]]:
    """Verilator's counts over ``cases``, as ``read_counters`` gives them.

    ``UserError`` if the RTL differs from the golden model.
    """
    with tempfile.TemporaryDirectory() as folder:
        rtl = emit_verilog(block, parameters, Path(folder) / "rtl")
        program = build_program(rtl, coverage=True)
        file = Path(folder) / "coverage.dat"
        with trace_of(program, cases) as trace:
            names = [case.name for case in cases]
            run = run_trace(program, trace, names, options=["--coverage", str(file)])
        wrong = sum(verdict.mismatches for verdict in run.verdicts)
        if wrong:
            raise UserError(f"{block}: {wrong} mismatches; coverage is that of a green bench")
        return read_counters(file, rtl)


def block_coverage(jobs: Sequence[Job], progress: Progress | None = None) -> BlockCoverage:
    """Coverage of one block over ``jobs`` of its bench."""
    block = jobs[0].block
    counts: Counter[Point] = Counter()
    unread: set[Point] = set()
    for index, job in enumerate(jobs):
        if progress is not None:
            progress(block, index, len(jobs))
        found, left_out = counters(block, job.parameters, job.cases)
        counts.update(found)
        unread |= left_out
    bins = functional([case for job in jobs for case in job.cases])
    excuses = exceptions(block)
    named = {name: excuses.pop(name) for name in bins if name in excuses}
    covered = [name for name in named if bins[name]]
    if covered:
        raise UserError(f"coverage exception {covered[0]!r} is of a bin that is hit: take it out")
    if progress is not None:
        progress(block, len(jobs), len(jobs))
    return BlockCoverage(block, bins, named, summarize(counts, excuses), len(unread))
