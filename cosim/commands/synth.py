"""``stepscale synth``: area and clock of a block on an ECP5."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from golden.errors import UserError

if TYPE_CHECKING:
    from cosim.synth import Cells

__all__ = ["synth"]


def synth(
    block: Annotated[
        list[str] | None, typer.Option(help="a block, or all; repeatable [default: requantizer]")
    ] = None,
    rows: Annotated[int, typer.Option(help="rows of the array")] = 4,
    cols: Annotated[int, typer.Option(help="columns of the array; lanes of a block")] = 4,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", "--parameter", help="NAME=VALUE of the block; repeatable"),
    ] = None,
    seeds: Annotated[str, typer.Option(help="seeds of the placer, joined by commas")] = "1,2,3",
    parts: Annotated[
        bool, typer.Option("--parts", help="also the modules of each block, hierarchy kept")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="also keep the Verilog here, a folder for each block")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here")] = None,
) -> None:
    """Map blocks to an ECP5-85 (speed 6) with yosys and place them with nextpnr."""
    import json

    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from cosim.commands._progress import shown
    from cosim.generate import block_names, block_parameters, generate, parse_settings
    from cosim.synth import NO_NEXTPNR, synthesize
    from cosim.yosys import has_nextpnr
    from golden.files import atomic_write, ensure_writable_folder
    from hdl.emit import write

    names = [name for choice in block or ["requantizer"] for name in block_names(choice)]
    numbers = _numbers(seeds)
    parsed = parse_settings(settings or [])
    strict = len(names) == 1
    wanted = [block_parameters(name, rows, cols, parsed, strict=strict) for name in names]
    for folder in (out, json_file.parent if json_file else None):
        if folder is not None:
            ensure_writable_folder(folder)
    results = []
    with shown() as progress:
        for name, parameters in zip(names, wanted, strict=True):
            progress(f"{name}: generate", 0, 1)
            design = generate(name, parameters)
            if out is not None:
                write(design, out / name)
            try:
                results.append(synthesize(design, numbers, progress, parts=parts))
            except RuntimeError as error:
                raise UserError(f"block {name}: {error}") from error
    if json_file is not None:
        record = {"device": "LFE5U-85F-6BG756C", "blocks": [r.record() for r in results]}
        with atomic_write(json_file) as temporary:
            temporary.write_text(json.dumps(record, indent=2) + "\n")
    titles = ("block", "LUT4", "CCU2C", "DPR16X4", "LUT-eq", "FF", "MULT18", "EBR", "MHz")
    title = "ECP5, 85k, speed 6; MHz: register to register, one value a seed"
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in titles:
        side: Literal["left", "right"] = "left" if column == "block" else "right"
        table.add_column(column, justify=side, no_wrap=True)
    for r in results:
        clocks = "-" if r.mhz is None else " ".join(f"{value:.0f}" for value in r.mhz)
        table.add_row(r.name, *_figures(r.cells), clocks)
        for part in r.parts:
            if part.module != r.name:
                times = f" x {part.instances}" if part.instances > 1 else ""
                table.add_row(f"  {part.module}{times}", *_figures(part.cells), "")
    Console().print(table)
    if not has_nextpnr():
        typer.echo(NO_NEXTPNR, err=True)


def _figures(c: "Cells") -> list[str]:
    return [str(n) for n in (c.lut4, c.ccu2c, c.dpr16x4, c.lut_eq, c.ff, c.mult18, c.bram)]


def _numbers(text: str) -> list[int]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not all(word.isdecimal() for word in words):
        raise UserError(f"--seeds must be whole numbers joined by commas, got {text!r}")
    return [int(word) for word in words]
