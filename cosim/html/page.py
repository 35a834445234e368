"""The page itself: a Jinja template, filled from the JSON files that the commands write."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template, UndefinedError

from cosim.html.diagram import diagram
from cosim.report import ranges
from golden.errors import UserError
from golden.files import atomic_write

__all__ = ["load_reports", "render", "write_page"]

Report = Mapping[str, Any]

# what a report is: the keys that it must have, and whether it shows a fault
KINDS: dict[str, tuple[set[str], Callable[[Report], bool]]] = {
    "cosim": ({"suite", "items", "first_mismatches"}, lambda report: not report["passed"]),
    "coverage": ({"functional", "reached"}, lambda report: not report["reached"]),
    "mutation": ({"mutation"}, lambda report: False),
    "formal": ({"proofs", "failed"}, lambda report: report["failed"] > 0),
    "bench": ({"cosim"}, lambda report: False),
}


def _kind(report: Any, where: str) -> str:
    """Return which command wrote ``report``; ``UserError`` for anything else."""
    keys = set(report) if isinstance(report, dict) else set()
    for kind, (needed, _) in KINDS.items():
        if needed <= keys:
            return kind
    raise UserError(f"{where}: is no report of {', '.join(KINDS)} (written by their --json)")


def load_reports(paths: Sequence[Path]) -> list[Report]:
    """Read JSON reports; ``UserError`` for one that cannot be read or that no command wrote."""
    reports = []
    for path in paths:
        try:
            report = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read ({error})") from error
        _kind(report, str(path))
        reports.append(report)
    return reports


def render(reports: Sequence[Report]) -> str:
    """Return one page of ``reports``, without any file or address outside it."""
    sections: dict[str, list[Report]] = {kind: [] for kind in KINDS}
    for number, report in enumerate(reports):
        sections[_kind(report, f"report {number}")].append(report)
    red = any(KINDS[kind][1](report) for kind, found in sections.items() for report in found)
    try:
        return _template().render(sections=sections, passed=not red)
    except (UndefinedError, LookupError, TypeError, ValueError) as error:
        raise UserError(f"report: a figure is missing or of another kind ({error})") from error


def write_page(reports: Sequence[Report], path: Path) -> None:
    """Write the page of ``reports`` to ``path``, whole or not at all."""
    text = render(reports)
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@lru_cache(maxsize=1)
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("cosim.html", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": "{:,}".format, "rate": "{:,.0f}".format, "ranges": ranges}
    environment.filters["seconds"] = lambda value: f"{value:,.1f}" if value >= 1 else f"{value:.3f}"
    environment.filters["percent"] = _percent
    environment.globals["diagram"] = diagram
    return environment.get_template("page.html")


def _percent(hit: int, total: int) -> str:
    """1, 3 -> "33.3 %"; only a whole is called 100 %."""
    if not total or hit == total:
        return "100 %"
    return f"{min(99.9, 100 * hit / total):.1f} %"
