"""``stepscale bench``: speed of co-simulation beside bare Verilator, of integers beside floats."""

from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["bench"]

PARTS = ("cosim", "golden")
GOLDEN_REPEATS = 15


def bench(
    only: Annotated[
        str | None, typer.Option(help="part to time: cosim or golden; both if left out")
    ] = None,
    size: Annotated[
        list[int] | None,
        typer.Option(help="cosim: rows and columns of the datapath; repeatable; 4, 8, 16, 32"),
    ] = None,
    cycles: Annotated[int, typer.Option(help="cosim: compared in each turn")] = 1_000_000,
    seed: Annotated[int, typer.Option(help="cosim: seed of the cases")] = 1,
    checkpoint: Annotated[
        Path | None, typer.Option(help="golden: checkpoint folder; the embedded one if left out")
    ] = None,
    artifact: Annotated[
        Path | None, typer.Option(help="golden: its artifact; the embedded one's if left out")
    ] = None,
    device: Annotated[str, typer.Option(help="golden: auto, cpu or cuda")] = "auto",
    threads: Annotated[
        int | None, typer.Option(help="golden: of torch; its own choice if left out")
    ] = None,
    repeats: Annotated[
        int | None, typer.Option(help="turns of each; 5 for cosim, 15 for golden if left out")
    ] = None,
    batch_top: Annotated[int | None, typer.Option(help="golden: largest batch to try")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here")] = None,
) -> None:
    """Time the parts and print a table of each."""
    import json

    from rich.console import Console

    from golden.errors import UserError
    from golden.files import atomic_write, ensure_writable_folder

    if only is not None and only not in PARTS:
        raise UserError(f"only = {only!r}: nothing to time there; there is: {', '.join(PARTS)}")
    for name, value, top in (("threads", threads, 1024), ("batch-top", batch_top, 65536)):
        if value is not None and not 1 <= value <= top:
            raise UserError(f"{name} = {value} is not allowed; allowed: an integer in 1..{top}")
    if repeats is not None and not 3 <= repeats <= 1000:
        raise UserError(f"repeats = {repeats} is not allowed; allowed: an integer in 3..1000")
    if (checkpoint is None) != (artifact is None):
        raise UserError("--checkpoint and --artifact belong together: give both or neither")
    if json_file is not None:
        ensure_writable_folder(json_file.parent)
    console = Console()
    report: dict[str, Any] = {}
    if only in (None, "cosim"):
        report["cosim"] = _cosim(console, size, cycles, repeats, seed)
    if only in (None, "golden"):
        report["golden"] = _golden(
            console, checkpoint, artifact, device, threads, repeats, batch_top
        )
    if json_file is not None:
        with atomic_write(json_file) as temporary:
            temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _cosim(
    console: Any, sizes: list[int] | None, cycles: int, repeats: int | None, seed: int
) -> dict[str, Any]:
    """Time the datapath at each size; the figures of 16x16, or of the largest, come first."""
    from rich import box
    from rich.table import Table

    from cosim.commands._progress import shown
    from cosim.speed import REPEATS, SIZES, cosim_speed

    chosen = sizes or list(SIZES)
    with shown() as progress:
        found = [
            cosim_speed(
                size, cycles=cycles, repeats=repeats or REPEATS, seed=seed, progress=progress
            )
            for size in chosen
        ]
    table = Table(title=f"datapath, cycles/s, seed {seed}", box=box.SIMPLE_HEAD)
    for column in ("array", "cycles", "bare", "level 3", "of bare", "level 2", "of bare"):
        table.add_column(column, justify="right")
    for entry in found:
        table.add_row(
            f"{entry['rows']}x{entry['cols']}",
            f"{entry['cycles']:,}",
            f"{entry['bare_cycles_per_second']:,.0f}",
            f"{entry['level3_cycles_per_second']:,.0f}",
            f"{entry['level3_ratio']:.3f}",
            f"{entry['level2_cycles_per_second']:,.0f}",
            f"{entry['level2_ratio']:.3f}",
        )
    console.print(table)
    usual = next((entry for entry in found if entry["rows"] == 16), found[-1])
    keys = ("bare_cycles_per_second", "level3_ratio", "level2_ratio")
    return {**{key: usual[key] for key in keys}, "sizes": found}


def _golden(
    console: Any,
    checkpoint: Path | None,
    artifact: Path | None,
    device: str,
    threads: int | None,
    repeats: int | None,
    batch_top: int | None,
) -> dict[str, Any]:
    """Images per second in integers, in float32, and of the machine's matrix product."""
    import torch

    from cosim.commands._progress import shown
    from golden.calibration.artifact import Artifact, embedded_artifact
    from golden.evaluation.speed import golden_speed
    from golden.network.checkpoint import embedded_checkpoint, load_checkpoint
    from golden.network.training import pick_device

    target = pick_device(device)
    network = embedded_checkpoint() if checkpoint is None else load_checkpoint(checkpoint)
    tables = embedded_artifact() if artifact is None else Artifact.load(artifact)
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        with shown() as progress:
            figures = golden_speed(
                network,
                tables,
                target,
                repeats=repeats or GOLDEN_REPEATS,
                batch_top=batch_top,
                progress=progress,
            )
    finally:
        torch.set_num_threads(before)
    real, ceiling = figures["float32"], figures["ceiling"]
    where = figures["device_name"]
    if target.type == "cpu":
        where += f", threads: {figures['threads']}"
    console.print(f"{where}; {figures['sampler']} {figures['steps']}", highlight=False)
    for what, rate, note in (
        ("integer", figures["images_per_second"], f"batch {figures['batch']}"),
        ("float32", real["images_per_second"], f"batch {real['batch']}"),
        ("ceiling", ceiling["images_per_second"], "the convs as one float32 matrix product"),
    ):
        console.print(f"{what:8} {rate:10.2f} images/s  {note}", highlight=False)
    console.print(f"integer is {figures['ratio_to_float32']:.2f} of float32", highlight=False)
    return figures
