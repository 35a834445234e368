"""``stepscale mutation``: how many random faults of the netlist turn a block's bench red."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["mutation"]


def mutation(
    block: Annotated[list[str] | None, typer.Option(help="only this block; repeatable")] = None,
    count: Annotated[int, typer.Option(help="mutants a block")] = 200,
    seed: Annotated[int, typer.Option(help="of the choice of mutants")] = 1,
    least: Annotated[float, typer.Option(help="score below which the exit status is 1")] = 0.96,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here")] = None,
) -> int:
    """Plant random mutants in each block and count those that its bench finds."""
    import json

    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from cosim.commands._progress import shown
    from cosim.mutation import PARAMETERS, mutate_block
    from golden.files import atomic_write, ensure_writable_folder

    if json_file is not None:
        ensure_writable_folder(json_file.parent)
    with shown() as progress:
        results = [
            mutate_block(name, count=count, seed=seed, progress=progress)
            for name in block or PARAMETERS
        ]
    if json_file is not None:
        record = [
            {
                "block": result.block,
                "parameters": dict(result.parameters),
                "seed": result.seed,
                "killed": len(result.killed),
                "equivalent": [mutant.command for mutant in result.equivalent],
                "survivors": [mutant.command for mutant in result.survivors],
                "score": result.score,
            }
            for result in results
        ]
        with atomic_write(json_file) as temporary:
            temporary.write_text(json.dumps({"mutation": record}, indent=2) + "\n")
    table = Table(box=SIMPLE_HEAD, title=f"{count} mutants a block, seed {seed}")
    table.add_column("block")
    for column in ("killed", "equivalent", "survive", "score"):
        table.add_column(column, justify="right")
    console = Console()
    for result in results:
        table.add_row(
            result.block,
            str(len(result.killed)),
            str(len(result.equivalent)),
            str(len(result.survivors)),
            f"{100 * result.score:.1f} %",
            style="red" if result.score < least else None,
        )
    console.print(table)
    for result in results:
        for mutant in result.survivors:
            console.print(f"{result.block} {mutant}", soft_wrap=True, markup=False, highlight=False)
    return int(any(result.score < least for result in results))
