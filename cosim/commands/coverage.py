"""``stepscale coverage``: functional bins and RTL counters of every block's bench."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["coverage"]


def coverage(
    block: Annotated[list[str] | None, typer.Option(help="only this block; repeatable")] = None,
    seed: Annotated[int, typer.Option(help="of the benches")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here")] = None,
) -> int:
    """Run each block's bench with counters in its RTL and list what was never exercised.

    *unread*: toggles of bits that nothing reads; they do not count. Exit status 1 below the goals:
    every functional bin, 98 % of lines, branches and toggles.
    """
    import json

    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from cosim.commands._progress import shown
    from cosim.coverage.bins import BLOCKS
    from cosim.coverage.rtl import KINDS
    from cosim.coverage.run import PARAMETERS, SIZE, block_coverage
    from cosim.suites import block_jobs
    from golden.errors import UserError
    from golden.files import atomic_write, ensure_writable_folder

    unknown = sorted(set(block or ()) - set(BLOCKS))
    if unknown:
        raise UserError(f"block {unknown[0]!r} has no bins; allowed: {', '.join(BLOCKS)}")
    if json_file is not None:
        ensure_writable_folder(json_file.parent)
    with shown() as progress:
        results = [
            block_coverage(
                block_jobs(
                    block=name, rows=SIZE, cols=SIZE, seed=seed, parameters=PARAMETERS.get(name, {})
                ),
                progress,
            )
            for name in block or BLOCKS
        ]
    table = Table(box=SIMPLE_HEAD, title=f"coverage of the block benches, seed {seed}")
    table.add_column("block")
    for column in ("bins", *(f"{kind} %" for kind in KINDS), "excused", "unread"):
        table.add_column(column, justify="right")
    console = Console()
    parts = {result.block: result.record() for result in results}
    for result in results:
        functional, rtl = parts[result.block]
        table.add_row(
            result.block,
            f"{functional['hit']}/{functional['bins']}",
            *(f"{100 * result.rtl[kind].share:.1f}" for kind in KINDS),
            str(functional["excused"] + rtl["excused"]),
            str(result.unread),
            style=None if result.reached else "red",
        )
    console.print(table)
    for name, (functional, rtl) in parts.items():
        for hole in (*functional["holes"], *rtl["holes"]):
            console.print(f"{name}: {hole}", soft_wrap=True, markup=False, highlight=False)
    if json_file is not None:
        record = {
            "functional": {name: part for name, (part, _) in parts.items()},
            "rtl": {name: part for name, (_, part) in parts.items()},
            "seed": seed,
            "reached": all(result.reached for result in results),
        }
        with atomic_write(json_file) as temporary:
            temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return int(not all(result.reached for result in results))
