"""What a run found, for people and for programs: results, mismatches in words, table and JSON."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cosim.checker import Difference
from cosim.manifest import Port
from cosim.script import unpack_bits
from golden.cycles import Case

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["BenchResult", "CaseResult", "Mismatch", "describe", "report_json", "report_table"]


@dataclass(frozen=True)
class Mismatch:
    """One deviation of the RTL from the golden model.

    ``field``, ``lane``: first that differs in a payload, else "" and -1. ``group``: timestep group
    of the beat, -1 if the case has none.
    """

    kind: str
    stream: str
    cycle: int
    beat: int
    field: str
    lane: int
    expected: str
    got: str
    group: int
    labels: Mapping[str, str | int]

    def __str__(self) -> str:
        what = {
            "missing": f"{self.expected} beats expected, {self.got} came: missing beat {self.beat}",
            "extra": f"{self.expected} beats expected, {self.got} came: extra beat {self.beat}",
        }.get(self.kind, f"{self.kind} expected {self.expected}, got {self.got}")
        place = f"stream {self.stream}, cycle {self.cycle}"
        place += f", beat {self.beat}" if self.beat >= 0 else ""
        place += f", lane {self.lane}" if self.lane >= 0 else ""
        place += f", field {self.field}" if self.field else ""
        place += f", timestep group {self.group}" if self.group >= 0 else ""
        place += "".join(f", {name} {value}" for name, value in self.labels.items())
        return f"{place}: {what}"


@dataclass(frozen=True)
class CaseResult:
    """What was compared in one case; ``mismatches`` holds the first ones of ``mismatch_count``."""

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
    return (
        f"{case.block} {case.name}, seed {case.seed}: {case.mismatch_count} mismatches, first: "
        f"{first}\n  repeat: {case.repeat}"
    )


def locate(difference: Difference, ports: Mapping[str, Port], case: Case) -> Mismatch:
    """Turn a difference of bit strings into field, lane and numbers, and say where in the network.

    ``case.groups`` belong to the beats of its first output stream.
    """
    name, lane = "", -1
    expected, got = difference.expected, difference.got
    port = ports[difference.stream]
    known = set(expected + got) <= {"0", "1"}  # else x or z: the bits are shown as they are
    if difference.kind == "payload" and known:
        wanted, seen = unpack_bits(port, expected), unpack_bits(port, got)
        differing = [key for key in wanted if wanted[key] != seen[key]]
        if differing:
            name, lane = differing[0]
            expected, got = str(wanted[name, lane]), str(seen[name, lane])
            lane = lane if any(f.name == name and not f.scalar for f in port.fields) else -1
    elif difference.kind == "plain" and known:
        expected, got = str(int(expected, 2)), str(int(got, 2))
    beat = difference.beat
    first = difference.stream in list(case.trace.outputs)[:1]
    groups = case.groups if first and case.groups is not None else ()
    places = case.places.get(difference.stream, {})
    where = {key: int(values[beat]) for key, values in places.items() if 0 <= beat < len(values)}
    return Mismatch(
        difference.kind,
        difference.stream,
        difference.cycle,
        beat,
        name,
        lane,
        expected,
        got,
        int(groups[beat]) if 0 <= beat < len(groups) else -1,
        {**case.labels, **where},
    )


def repeat_command(words: Sequence[str], case: str) -> str:
    """Return the shell line that runs ``case`` alone, with waves."""
    return shlex.join(["stepscale", "cosim", *words, "--case", case, "--waves"])


def _items(results: Sequence[BenchResult], by: str) -> dict[str, list[CaseResult]]:
    rows: dict[str, list[CaseResult]] = {}
    for result in results:
        for case in result.cases:
            name = case.name if by == "layer" else case.block  # a layer's case has its name
            rows.setdefault(name, []).append(case)
    return rows


def report_json(
    results: Sequence[BenchResult], *, suite: str, seed: int, by: str = "block"
) -> dict[str, Any]:
    """Return the report with the keys that other programs rely on."""
    seconds = sum(result.simulation_seconds for result in results)
    cycles = sum(result.cycles for result in results)
    items = []
    for name, cases in _items(results, by).items():
        items.append(
            {
                "name": name,
                "timestep_groups": sorted({group for case in cases for group in case.groups}),
                "beats": sum(case.beats for case in cases),
                "cycles": sum(case.cycles for case in cases),
                "predicted_cycles": sum(case.predicted_cycles for case in cases),
                "mismatches": sum(case.mismatch_count for case in cases),
                "cases": len(cases),
            }
        )
    return {
        "suite": suite,
        "level": max((result.level for result in results), default=0),
        "seed": seed,
        "passed": bool(results) and all(result.passed for result in results),
        "mismatches": sum(result.mismatches for result in results),
        "beats": sum(result.beats for result in results),
        "cycles": cycles,
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
                "repeat": case.repeat,
            }
            for result in results
            for case in result.cases
            if case.mismatches
        ],
    }


def _ranges(groups: Sequence[int]) -> str:
    """0, 1, 2, 5 -> "0-2 5"."""
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


def report_table(
    results: Sequence[BenchResult], *, suite: str, seed: int, by: str = "block"
) -> "Table":
    """Return the closing table of a run."""
    from rich import box  # noqa: PLC0415 (the simulator process reports without it)
    from rich.table import Table  # noqa: PLC0415

    report = report_json(results, suite=suite, seed=seed, by=by)
    table = Table(
        title=f"co-simulation, suite {suite}, level {report['level']}, seed {seed}",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,  # names of layers and all figures fit into 80 columns
    )
    table.add_column(by, overflow="fold")
    table.add_column("groups")
    for column in ("beats", "cycles\ncompared", "mismatches", "cycles/s"):
        table.add_column(column, justify="right")
    speeds: dict[str, str] = {}
    for result in results:
        for name in _items([result], by):
            speeds[name] = f"{result.cycles_per_second:,.0f}"
    for item in report["items"]:
        style = "red" if item["mismatches"] or not item["beats"] else None
        table.add_row(
            item["name"],
            _ranges(item["timestep_groups"]),
            f"{item['beats']:,}",
            f"{item['cycles']:,}",
            f"{item['mismatches']:,}",
            speeds[item["name"]],
            style=style,
        )
    table.add_section()
    table.add_row(
        "all",
        "",
        f"{report['beats']:,}",
        f"{report['cycles']:,}",
        f"{report['mismatches']:,}",
        f"{report['cycles_per_second']:,.0f}",
        style="green" if report["passed"] else "red",
    )
    return table
