"""``stepscale bench``: speed of co-simulation, of integers beside floats, of the accelerator."""

from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["bench"]

PARTS = ("cosim", "golden", "accelerator")
GOLDEN_REPEATS = 15


def bench(
    only: Annotated[
        str | None, typer.Option(help="part: cosim, golden or accelerator; all if left out")
    ] = None,
    size: Annotated[
        list[int] | None,
        typer.Option(
            help="rows and columns, repeatable; cosim: of the datapath, 4, 8, 16 and 32 if left "
            "out; accelerator: of its array, 16 if left out"
        ),
    ] = None,
    cycles: Annotated[int, typer.Option(help="cosim: compared in each turn")] = 1_000_000,
    seed: Annotated[int, typer.Option(help="cosim: seed of the cases")] = 1,
    checkpoint: Annotated[
        Path | None, typer.Option(help="golden: checkpoint folder; the embedded one if left out")
    ] = None,
    artifact: Annotated[
        Path | None,
        typer.Option(
            help="golden: of the checkpoint; accelerator: its network; the embedded one if left out"
        ),
    ] = None,
    latency: Annotated[
        int, typer.Option(help="accelerator: cycles from a request to memory to its data")
    ] = 40,
    timeline: Annotated[
        Path | None, typer.Option(help="accelerator: write the picture of a step here (PNG)")
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
    if not 0 <= latency <= 100_000:
        raise UserError(f"latency = {latency} is not allowed; allowed: an integer in 0..100000")
    if only != "accelerator" and (checkpoint is None) != (artifact is None):
        raise UserError("--checkpoint and --artifact belong together: give both or neither")
    for path in (json_file, timeline):
        if path is not None:
            ensure_writable_folder(path.parent)
    console = Console()
    report: dict[str, Any] = {}
    if only in (None, "cosim"):
        report["cosim"] = _cosim(console, size, cycles, repeats, seed)
    if only in (None, "golden"):
        report["golden"] = _golden(
            console, checkpoint, artifact, device, threads, repeats, batch_top
        )
    if only in (None, "accelerator"):
        report["accelerator"] = _accelerator(console, artifact, size or [16], latency, timeline)
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


def _accelerator(
    console: Any, artifact: Path | None, sizes: list[int], latency: int, timeline: Path | None
) -> dict[str, Any]:
    """Predict a step on each array; a row an instruction for the first, and its picture."""
    from rich import box
    from rich.table import Table

    from cosim.timeline_picture import write_timeline
    from golden.accelerator.compiler import compile_roomy
    from golden.accelerator.listing import short_name
    from golden.accelerator.timing.latencies import Memory
    from golden.accelerator.timing.step_report import step_report
    from golden.calibration.artifact import Artifact, embedded_artifact

    tables = embedded_artifact() if artifact is None else Artifact.load(artifact)
    memory = Memory(latency)
    programs = [compile_roomy(tables, size) for size in sizes]
    found = [step_report(program, memory) for program in programs]
    rows = Table(
        title=f"a step on {sizes[0]}x{sizes[0]}, cycles predicted, memory {memory.width} bytes "
        f"a cycle, latency {latency}",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for column in ("operation", "kind"):
        rows.add_column(column, no_wrap=True)
    for column in ("dispatch", "start", "end", "beats", "idle"):
        rows.add_column(column, justify="right", no_wrap=True)
    for row in found[0]["instructions"]:
        numbers = (row[name] for name in ("dispatch", "start", "end", "beats"))
        idle = f"{row['idle']:,}" if "idle" in row else ""
        rows.add_row(short_name(row["operation"]), row["kind"], *(f"{n:,}" for n in numbers), idle)
    console.print(rows)
    totals = Table(
        title="steps, predicted: beats, bytes read, utilisation",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for column in ("array", "cycles", "array beats", "vector", "bytes", "step", "3x3", "net"):
        totals.add_column(column, justify="right", no_wrap=True)
    for entry in found:
        counts = (entry[name] for name in ("cycles", "array_beats", "vector_beats", "bytes_read"))
        shares = (entry["utilisation"][name] for name in ("step", "conv3x3", "network"))
        totals.add_row(
            f"{entry['array']}x{entry['array']}",
            *(f"{count:,}" for count in counts),
            *(f"{100 * share:.1f} %" for share in shares),
        )
    console.print(totals)
    if timeline is not None:
        write_timeline(timeline, programs[0], memory)
        console.print(f"picture: {timeline}", soft_wrap=True, highlight=False)
    return {**found[0], "sizes": found}


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
