"""``stepscale formal``: proofs of the RTL blocks by a solver."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["formal"]


def formal(
    block: Annotated[list[str] | None, typer.Option(help="proofs of a block; repeatable")] = None,
    proof: Annotated[
        list[str] | None, typer.Option(help="one proof, block.name; repeatable")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here")] = None,
) -> int:
    """Prove properties of the RTL for arbitrary inputs, stalls and starting states.

    Exit status 1 if a property fails, cannot be shown in time, or would hold of nothing.
    """
    import json
    import time

    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from cosim.commands._progress import shown
    from cosim.formal.catalogue import select
    from cosim.formal.engine import require_solver
    from cosim.formal.proof import run
    from golden.files import atomic_write, ensure_writable_folder

    chosen = select(block or [], proof or [])
    if json_file is not None:
        ensure_writable_folder(json_file.parent)
    require_solver()
    began = time.perf_counter()
    with shown() as progress:
        results = [run(one, progress) for one in chosen]
    seconds = time.perf_counter() - began
    failures = [result for result in results if not result.holds]
    if json_file is not None:
        record = {
            "seconds": round(seconds, 1),
            "failed": len(failures),
            "proofs": [result.record() for result in results],
        }
        with atomic_write(json_file) as temporary:
            temporary.write_text(json.dumps(record, indent=2) + "\n")
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("proof", no_wrap=True)
    table.add_column("claim")
    for column in ("by", "s", "verdict"):
        table.add_column(column, justify="right" if column == "s" else "left", no_wrap=True)
    for result in results:
        figures = (result.engine, f"{result.seconds:.1f}", result.verdict)
        table.add_row(result.proof.title, result.proof.claim, *figures)
    Console().print(table)
    for result in failures:
        typer.echo(f"{result.proof.title}: {result.detail}")
    typer.echo(f"{len(results) - len(failures)} of {len(results)} shown, {seconds:.0f} s")
    return 1 if failures else 0
