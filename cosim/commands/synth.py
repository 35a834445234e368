"""``stepscale synth``: area of a block on several targets, and its clock on an ECP5."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from golden.errors import UserError

if TYPE_CHECKING:
    from cosim.synth import Cells, Synthesis
    from cosim.synth_targets import Mapped

__all__ = ["synth"]

Progress = Callable[[str, int, int], None]
Rows = list[list[str]]
WIDTH = 160


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
    target: Annotated[
        str, typer.Option(help="ecp5, ultrascale+, gates, or liberty with --liberty")
    ] = "ecp5",
    liberty: Annotated[Path | None, typer.Option(help="a library of cells (.lib)")] = None,
    seeds: Annotated[
        str, typer.Option(help="seeds of the placer, joined by commas; ECP5")
    ] = "1,2,3",
    parts: Annotated[
        bool, typer.Option("--parts", help="also the modules of each block, hierarchy kept; ECP5")
    ] = False,
    sweep: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE,VALUE: every combination of one block, and its front; ECP5"),
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="draw the front of --sweep")] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="an earlier --json: say what moved, exit 1 if for worse")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(help="share by which a figure may be worse than the baseline's")
    ] = 0.0,
    out: Annotated[
        Path | None, typer.Option(help="also keep the Verilog here, a folder for each block")
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="write the table here")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here")] = None,
) -> None:
    """Map blocks with yosys; on an ECP5-85 (speed 6) also place them with nextpnr."""
    import json

    from cosim.commands._progress import shown
    from cosim.generate import block_names, block_parameters, parse_settings
    from cosim.synth_baseline import load_baseline, moves
    from cosim.synth_front import settings_of
    from cosim.synth_targets import TARGETS
    from golden.files import atomic_write, ensure_writable_folder

    if target not in TARGETS:
        raise UserError(f"--target must be one of {', '.join(TARGETS)}, got {target!r}")
    if (target == "liberty") != (liberty is not None):
        raise UserError("--target liberty and --liberty FILE belong together")
    if (sweep or parts) and target != "ecp5":
        raise UserError("--sweep and --parts are for --target ecp5")
    if picture is not None and not sweep:
        raise UserError("--picture draws the front of --sweep")
    if tolerance < 0:
        raise UserError(f"--tolerance must be 0 or more, got {tolerance}")
    names = [name for choice in block or ["requantizer"] for name in block_names(choice)]
    numbers = _numbers(seeds)
    parsed = parse_settings(settings or [])
    several = list(settings_of(sweep or []))
    if sweep and (len(names) != 1 or not numbers):
        raise UserError("--sweep takes one block, and a seed at least")
    strict = len(names) == 1
    wanted = [
        (name, block_parameters(name, rows, cols, {**parsed, **setting}, strict=strict), setting)
        for name in names
        for setting in several
    ]
    before = None if baseline is None else load_baseline(baseline)
    for folder in (out, *(f.parent for f in (json_file, markdown, picture) if f is not None)):
        if folder is not None:
            ensure_writable_folder(folder)
    with shown() as progress:
        if target == "ecp5":
            records, titles, table = _ecp5(wanted, numbers, parts, out, picture, progress)
        else:
            records, titles, table = _others(wanted, target, liberty, out, progress)
    device = {"ecp5": "LFE5U-85F-6BG756C"}.get(target, target)
    if json_file is not None:
        with atomic_write(json_file) as temporary:
            temporary.write_text(json.dumps({"device": device, "blocks": records}, indent=2) + "\n")
    if markdown is not None:
        with atomic_write(markdown) as temporary:
            temporary.write_text(_markdown(titles, table))
    _show(device, titles, table)
    if before is not None:
        found = moves(before, records)
        for move in found:
            typer.echo(f"{move}{' (worse)' if move.worse else ''}")
        worse = [move for move in found if move.worse > tolerance]
        typer.echo(f"{len(found)} figures moved, {len(worse)} for worse by more than {tolerance:g}")
        if worse:
            raise typer.Exit(1)


def _ecp5(
    wanted: Sequence[tuple[str, dict[str, Any], dict[str, Any]]],
    seeds: Sequence[int],
    parts: bool,
    out: Path | None,
    picture: Path | None,
    progress: Progress,
) -> tuple[list[dict[str, Any]], list[str], Rows]:
    """Synthesize and place; with settings of a sweep also mark the front and draw it."""
    from cosim.synth import NO_NEXTPNR, synthesize
    from cosim.synth_front import draw, front, point_of
    from cosim.yosys import has_nextpnr

    titles = ["block", "LUT4", "CCU2C", "DPR16X4", "LUT-eq", "FF", "MULT18", "EBR", "MHz"]
    swept = any(setting for *_, setting in wanted)
    records: list[dict[str, Any]] = []
    results = []
    for name, parameters, setting in wanted:
        design = _design(name, parameters, out, progress)
        result = _tool(name, partial(synthesize, design, seeds, progress, parts=parts))
        results.append((result, setting))
        records.append(result.record())
    points = [point_of(result, setting) for result, setting in results] if swept else []
    best = front(points)
    per_mac = any("lut_eq_per_mac" in record for record in records)
    titles += ["LUT-eq a MAC"] * per_mac
    table: Rows = []
    for number, (result, setting) in enumerate(results):
        label = " ".join([result.name, *(f"{k}={v}" for k, v in setting.items())])
        row = [label, *_figures(result.cells), _clock(result)]
        if per_mac:
            row.append(str(records[number].get("lut_eq_per_mac", "-")))
        if swept:
            on = points[number] in best
            records[number] |= {"throughput": points[number].throughput, "front": on}
            row += [f"{points[number].throughput / 1000:.2f}", "yes" if on else ""]
        table.append(row)
        for part in result.parts:
            if part.module != result.name:
                times = f" x {part.instances}" if part.instances > 1 else ""
                table.append([f"  {part.module}{times}", *_figures(part.cells), ""])
    if swept:
        titles += ["10^9 MACs/s", "front"]
        if picture is not None:
            draw(points, picture, f"{wanted[0][0]} on an ECP5, seeds {', '.join(map(str, seeds))}")
    if not has_nextpnr():
        typer.echo(NO_NEXTPNR, err=True)
    return records, titles, table


def _others(
    wanted: Sequence[tuple[str, dict[str, Any], dict[str, Any]]],
    target: str,
    liberty: Path | None,
    out: Path | None,
    progress: Progress,
) -> tuple[list[dict[str, Any]], list[str], Rows]:
    from cosim.synth_targets import map_to

    results: list[Mapped] = []
    for name, parameters, _ in wanted:
        design = _design(name, parameters, out, progress)
        progress(f"{name}: map", 0, 1)
        results.append(_tool(name, partial(map_to, design, target, liberty)))
    names = list(dict.fromkeys(figure for result in results for figure in result.figures))
    table = [
        [r.name, *(f"{r.figures[n]:g}" if n in r.figures else "-" for n in names)] for r in results
    ]
    return [r.record() for r in results], ["block", *(n.replace("_", " ") for n in names)], table


def _design(name: str, parameters: dict[str, Any], out: Path | None, progress: Progress) -> Any:
    from cosim.generate import generate
    from hdl.emit import write

    progress(f"{name}: generate", 0, 1)
    design = generate(name, parameters)
    if out is not None:
        write(design, out / name)
    return design


def _tool(name: str, work: Callable[[], Any]) -> Any:
    try:
        return work()
    except RuntimeError as error:
        raise UserError(f"block {name}: {error}") from error


def _clock(result: "Synthesis") -> str:
    """Median over the seeds, and their range."""
    if not result.mhz:
        return "-"
    return f"{result.mhz_median:.0f} ({min(result.mhz):.0f}-{max(result.mhz):.0f})"


def _show(device: str, titles: Sequence[str], rows: Rows) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    title = (
        f"{device}; MHz: register to register, median and range of the seeds"
        if "MHz" in titles
        else device
    )
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in titles:
        table.add_column(column, justify="left" if column == "block" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row, *[""] * (len(titles) - len(row)))
    console = Console()
    if not console.is_terminal:  # nothing is cut in a file
        console = Console(width=max(console.width, WIDTH))
    console.print(table)


def _markdown(titles: Sequence[str], rows: Rows) -> str:
    lines = [titles, ["---", *("---:" for _ in titles[1:])], *rows]
    return "".join(f"| {' | '.join(cell.strip() for cell in line)} |\n" for line in lines)


def _figures(c: "Cells") -> list[str]:
    return [str(n) for n in (c.lut4, c.ccu2c, c.dpr16x4, c.lut_eq, c.ff, c.mult18, c.bram)]


def _numbers(text: str) -> list[int]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not all(word.isdecimal() for word in words):
        raise UserError(f"--seeds must be whole numbers joined by commas, got {text!r}")
    return [int(word) for word in words]
