"""What a run found, for people and for programs: results, mismatches in words, and JSON."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cosim.mismatch import Mismatch
from cosim.timing import Timing

__all__ = [
    "BenchResult",
    "CaseResult",
    "by_item",
    "describe",
    "ranges",
    "repeat_command",
    "report_json",
]


@dataclass(frozen=True)
class CaseResult:
    """What was compared in one case; ``mismatches`` holds the first ones of ``mismatch_count``.

    ``timing``: the cycles round the first of them. ``seconds``: of the simulation loop.
    """

    name: str
    block: str
    seed: int
    cycles: int
    predicted_cycles: int
    beats: int
    mismatch_count: int
    mismatches: Sequence[Mismatch]
    groups: Sequence[int]
    labels: Mapping[str, str | int]
    repeat: str
    timing: Timing | None = None
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class BenchResult:
    """A run of cases on one build. ``passed`` needs beats: nothing compared is a failure."""

    block: str
    parameters: Mapping[str, Any]
    cases: Sequence[CaseResult]
    wall_seconds: float
    simulation_seconds: float
    waves: str | None = None
    level: int = 2

    @property
    def beats(self) -> int:
        """Beats compared."""
        return sum(case.beats for case in self.cases)

    @property
    def cycles(self) -> int:
        """Cycles compared."""
        return sum(case.cycles for case in self.cases)

    @property
    def mismatches(self) -> int:
        """Deviations found."""
        return sum(case.mismatch_count for case in self.cases)

    @property
    def cycles_per_second(self) -> float:
        """Speed of the simulation alone, without build and start."""
        return self.cycles / self.simulation_seconds if self.simulation_seconds > 0 else 0.0

    @property
    def passed(self) -> bool:
        """True if something was compared and all of it agreed."""
        return self.mismatches == 0 and self.beats > 0 and self.cycles > 0

    def first_mismatch(self) -> tuple[CaseResult, Mismatch] | None:
        """Return the first deviation of the first case that has one."""
        for case in self.cases:
            if case.mismatches:
                return case, case.mismatches[0]
        return None

    def text(self) -> str:
        """Return one line for a green run, else the first mismatch of each case and its command."""
        if self.passed:
            return f"{self.block}: {self.beats} beats, {self.cycles} cycles, no mismatch"
        if not self.mismatches:
            return f"{self.block}: nothing was compared ({self.beats} beats, {self.cycles} cycles)"
        return "\n".join(describe(case) for case in self.cases if case.mismatches)


def describe(case: CaseResult) -> str:
    """Return the first mismatch of a case in words, with the command that repeats it."""
    first = case.mismatches[0]
    count = f"{case.mismatch_count} mismatch{'es' if case.mismatch_count > 1 else ''}"
    return (
        f"{case.block} {case.name}, seed {case.seed}: {count}, first: "
        f"{first}\n  repeat: {case.repeat}"
    )


def repeat_command(words: Sequence[str], case: str) -> str:
    """Return the shell line that runs ``case`` alone, with waves."""
    return shlex.join(["stepscale", "cosim", *words, "--case", case, "--waves"])


def by_item(results: Sequence[BenchResult], by: str) -> dict[str, list[CaseResult]]:
    """Return the cases of each block, or of each layer where ``by`` is "layer"."""
    rows: dict[str, list[CaseResult]] = {}
    for result in results:
        for case in result.cases:
            name = case.name if by == "layer" else case.block  # a layer's case has its name
            rows.setdefault(name, []).append(case)
    return rows


def report_json(
    results: Sequence[BenchResult],
    *,
    suite: str,
    seed: int,
    by: str = "block",
    simulator: str = "verilator",
) -> dict[str, Any]:
    """Return the report with the keys that other programs rely on.

    ``seconds`` are those of the simulation loop, builds and golden models apart.
    """
    seconds = sum(result.simulation_seconds for result in results)
    cycles = sum(result.cycles for result in results)
    items = []
    for name, cases in by_item(results, by).items():
        spent = sum(case.seconds for case in cases)
        compared = sum(case.cycles for case in cases)
        items.append(
            {
                "name": name,
                "timestep_groups": sorted({group for case in cases for group in case.groups}),
                "beats": sum(case.beats for case in cases),
                "cycles": compared,
                "predicted_cycles": sum(case.predicted_cycles for case in cases),
                "mismatches": sum(case.mismatch_count for case in cases),
                "cases": len(cases),
                "seconds": spent,
                "cycles_per_second": compared / spent if spent > 0 else 0.0,
            }
        )
    return {
        "suite": suite,
        "level": max((result.level for result in results), default=0),
        "simulator": simulator,
        "seed": seed,
        "passed": bool(results) and all(result.passed for result in results),
        "mismatches": sum(result.mismatches for result in results),
        "beats": sum(result.beats for result in results),
        "cycles": cycles,
        "seconds": seconds,
        "cycles_per_second": cycles / seconds if seconds > 0 else 0.0,
        "items": items,
        "first_mismatches": [
            {
                "block": case.block,
                "case": case.name,
                "seed": case.seed,
                "kind": case.mismatches[0].kind,
                "stream": case.mismatches[0].stream,
                "cycle": case.mismatches[0].cycle,
                "beat": case.mismatches[0].beat,
                "lane": case.mismatches[0].lane,
                "field": case.mismatches[0].field,
                "expected": case.mismatches[0].expected,
                "got": case.mismatches[0].got,
                "timestep_group": case.mismatches[0].group,
                "labels": dict(case.mismatches[0].labels),
                "mismatches": case.mismatch_count,
                "text": str(case.mismatches[0]),
                "repeat": case.repeat,
                "timing": None if case.timing is None else case.timing.record(),
            }
            for result in results
            for case in result.cases
            if case.mismatches
        ],
    }


def ranges(groups: Sequence[int]) -> str:
    """Return groups in few words: 0, 1, 2, 5 -> "0-2 5"."""
    words: list[str] = []
    start = previous = None
    for group in [*groups, None]:
        if start is not None and (group is None or previous is None or group != previous + 1):
            words.append(f"{start}" if start == previous else f"{start}-{previous}")
            start = group
        elif start is None:
            start = group
        previous = group
    return " ".join(words) or "-"
