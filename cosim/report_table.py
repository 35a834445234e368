"""The closing table of a run, in the terminal."""

from collections.abc import Sequence

from rich import box
from rich.table import Table

from cosim.report import BenchResult, ranges, report_json

__all__ = ["report_table"]


def report_table(
    results: Sequence[BenchResult], *, suite: str, seed: int, by: str = "block"
) -> Table:
    """Return the closing table of a run."""
    report = report_json(results, suite=suite, seed=seed, by=by)
    levels = " and ".join(map(str, sorted({result.level for result in results})))
    table = Table(
        title=f"co-simulation, suite {suite}, level {levels}, seed {seed}",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,  # names of layers and all figures fit into 80 columns
    )
    table.add_column(by, overflow="fold")
    table.add_column("groups")
    for column in ("beats", "cycles\ncompared", "mismatches", "cycles/s"):
        table.add_column(column, justify="right")
    for item in report["items"]:
        style = "red" if item["mismatches"] or not item["beats"] else None
        table.add_row(
            item["name"],
            ranges(item["timestep_groups"]),
            f"{item['beats']:,}",
            f"{item['cycles']:,}",
            f"{item['mismatches']:,}",
            f"{item['cycles_per_second']:,.0f}",
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
