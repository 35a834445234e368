"""Line, branch and toggle coverage of the generated Verilog, from Verilator's own counters.

A point is what Verilator counts: a line, an arm of a branch, or one direction of a bit. Bits that
nothing reads, which each generated module lists in its ``unused_bits``, are no points. A file of
exceptions names what cannot be covered, with the reason; one that excuses nothing is an error.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from golden.errors import UserError

__all__ = ["KINDS", "Counts", "Point", "exceptions", "read_counters", "summarize", "unread_bits"]

KINDS = ("line", "branch", "toggle")
_ENTRY = re.compile(r"C '(.*)' (\d+)$")
_UNUSED = re.compile(r"unused_bits = &\{1'b0,(.*?)\};", re.DOTALL)
_BITS = re.compile(r"([A-Za-z_]\w*)(?:\[(\d+)(?::(\d+))?\])?")
EXCEPTIONS = Path(__file__).with_name("exceptions.toml")


@dataclass(frozen=True, order=True)
class Point:
    """One counter. ``where``: module; ``what``: bit and direction, or the line's text."""

    kind: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind} {self.where}: {self.what}"


@dataclass(frozen=True)
class Counts:
    """Of one kind: points, and how many were hit or excused; ``holes`` are the others."""

    total: int = 0
    hit: int = 0
    excused: int = 0
    holes: Sequence[Point] = field(default_factory=tuple)

    @property
    def share(self) -> float:
        """Hit points among those that are not excused; 1 where there are none."""
        wanted = self.total - self.excused
        return self.hit / wanted if wanted else 1.0


def _entries(file: Path) -> Iterator[tuple[Mapping[str, str], int]]:
    for line in file.read_text(encoding="utf-8").splitlines():
        if found := _ENTRY.match(line):
            parts = (part.split("\x02", 1) for part in found[1].split("\x01") if part)
            yield dict(parts), int(found[2])


def unread_bits(verilog: str) -> set[str]:
    """``name[bit]``, or ``name``, of everything that a module lists in ``unused_bits``."""
    found = {"unused_bits"}
    for listed in _UNUSED.findall(verilog):
        for name, high, low in _BITS.findall(listed):
            if not high:
                found.add(name)
            for bit in range(int(low or high or 0), int(high or -1) + 1):
                found.add(f"{name}[{bit}]")
    return found


def read_counters(file: Path, rtl: Path) -> tuple[Counter[Point], set[Point]]:
    """Counts of every point in a file that Verilator wrote of the Verilog in ``rtl``.

    And the toggles that are no points, because nothing reads the bit. ``UserError`` if there is no
    point in it.
    """
    counts: Counter[Point] = Counter()
    left_out: set[Point] = set()
    verilog = {path.stem: path.read_text(encoding="utf-8") for path in rtl.glob("*.v")}
    unread = {module: unread_bits(text) for module, text in verilog.items()}
    places: dict[tuple[str, str, str], list[tuple[int, int]]] = {}
    for entry, count in _entries(file):
        kind, _, module = entry.get("page", "").removeprefix("v_").partition("/")
        if kind not in KINDS:
            continue
        if kind == "toggle":
            bit = entry["o"].replace("___05F", "__")  # Verilator's name of two underscores
            point = Point(kind, module, bit)
            if bit.partition(":")[0] in unread[module]:
                left_out.add(point)
            else:
                counts[point] += count
            continue
        line = int(entry["l"])
        text = verilog[Path(entry["f"]).stem].splitlines()[line - 1].strip()
        places.setdefault((kind, module, f"{entry['o']} {text}"), []).append((line, count))
    for (kind, module, what), found in places.items():
        for place, line in enumerate(sorted({line for line, _ in found})):
            # the same text on several lines: numbered, so that the names outlive moved lines
            named = what if not place else f"{what} ({place + 1})"
            counts[Point(kind, module, named)] += sum(n for at, n in found if at == line)
    if not counts:
        raise UserError(f"{file}: holds no coverage counters")
    return counts, left_out


def exceptions(block: str, file: Path = EXCEPTIONS) -> dict[str, str]:
    """Patterns that excuse points of ``block``, and the reason of each.

    ``UserError`` if an entry lacks one of block, point, reason.
    """
    with file.open("rb") as stream:
        entries = tomllib.load(stream).get("exception", [])
    for entry in entries:
        missing = {"block", "point", "reason"} - entry.keys()
        if missing:
            raise UserError(f"{file.name}: an exception lacks {', '.join(sorted(missing))}")
    return {entry["point"]: entry["reason"] for entry in entries if entry["block"] == block}


def summarize(counts: Mapping[Point, int], excuses: Mapping[str, str]) -> dict[str, Counts]:
    """Totals by kind. ``UserError`` for an excuse that excuses nothing."""
    patterns = {pattern: re.compile(pattern) for pattern in excuses}
    used = dict.fromkeys(patterns, 0)
    totals, hits, excused = Counter[str](), Counter[str](), Counter[str]()
    holes: dict[str, list[Point]] = {kind: [] for kind in KINDS}
    for point, count in counts.items():
        totals[point.kind] += 1
        if count:
            hits[point.kind] += 1
            continue
        matching = [p for p, regex in patterns.items() if regex.search(str(point))]
        for pattern in matching:
            used[pattern] += 1
        if matching:
            excused[point.kind] += 1
        else:
            holes[point.kind].append(point)
    stale = [pattern for pattern, times in used.items() if not times]
    if stale:
        raise UserError(f"coverage exception {stale[0]!r} excuses nothing: take it out")
    return {
        kind: Counts(totals[kind], hits[kind], excused[kind], tuple(sorted(holes[kind])))
        for kind in KINDS
    }
