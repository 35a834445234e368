"""``stepscale calibrate``: quantize a network and write its artifact."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["calibrate"]


def calibrate(
    checkpoint: Annotated[
        Path | None, typer.Option(help="checkpoint folder; the embedded network if left out")
    ] = None,
    out: Annotated[Path, typer.Option(help="artifact file to write")] = Path(
        "out/artifact.safetensors"
    ),
    steps: Annotated[int, typer.Option(help="sampler steps")] = 50,
    sampler: Annotated[str, typer.Option(help="ddim or ddpm")] = "ddim",
    groups: Annotated[int, typer.Option(help="timestep groups")] = 8,
    images: Annotated[int, typer.Option(help="images to calibrate on")] = 32,
    report_images: Annotated[int, typer.Option(help="images of the figures, 0 for none")] = 16,
    budget: Annotated[
        float, typer.Option(help="share of extra multiplications that 12-bit inputs may cost")
    ] = 0.05,
    wide: Annotated[
        str | None,
        typer.Option(help="layers whose input has 12 bits, separated by commas; else chosen"),
    ] = None,
    rounding: Annotated[
        str, typer.Option(help="of weights: output (least output error) or nearest")
    ] = "output",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    seed: Annotated[int, typer.Option(help="seed of the images; figures use seed + 1")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here")] = None,
) -> None:
    """Quantize a trained network to integers, one set of scales a timestep group."""
    import hashlib
    import json
    import time

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn
    from rich.table import Table

    from golden.calibration.calibrate import Options
    from golden.calibration.calibrate import calibrate as run
    from golden.files import atomic_write, ensure_writable_folder
    from golden.network.checkpoint import embedded_checkpoint, load_checkpoint
    from golden.network.training import pick_device

    console = Console()
    names = None if wide is None else tuple(n.strip() for n in wide.split(",") if n.strip())
    options = Options(
        steps=steps,
        sampler=sampler,
        groups=groups,
        seed=seed,
        images=images,
        report_images=report_images,
        wide=names,
        budget=budget,
        rounding=rounding,
        device=pick_device(device).type,
    )
    network = embedded_checkpoint() if checkpoint is None else load_checkpoint(checkpoint)
    for file in (out, json_file):
        if file is not None:
            ensure_writable_folder(file.parent)
    started = time.perf_counter()
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(stage: str, share: float) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=1.0)
                if not console.is_terminal:
                    console.print(f"{stage} ...")
            bars.update(tasks[stage], completed=share)

        artifact = run(network, options, progress)
    artifact.save(out)
    seconds = time.perf_counter() - started
    figures = artifact.provenance["figures"]
    if report_images:
        table = Table(title=f"eps-SQNR, {report_images} images of seed {seed + 1}")
        for heading in ("timestep group", "steps", "mean dB", "least dB"):
            table.add_column(heading, justify="right")
        for row in figures["groups"]:
            table.add_row(
                str(row["group"]),
                f"{row['first_step']}..{row['last_step']}",
                f"{row['eps_sqnr_db_mean']:.2f}",
                f"{row['eps_sqnr_db_min']:.2f}",
            )
        table.add_section()
        table.add_row(
            "all",
            f"0..{steps - 1}",
            f"{figures['eps_sqnr_db_mean']:.2f}",
            f"{figures['eps_sqnr_db_min']:.2f}",
        )
        console.print(table)
    console.print(
        f"group error {figures['group_error']:.4g}, of uniform groups "
        f"{figures['group_error_uniform']:.4g}"
    )
    console.print(
        f"12-bit inputs: {', '.join(artifact.wide)}: "
        f"{100 * figures['extra_macs']:.2f} % extra multiplications"
    )
    digest = hashlib.sha256(out.read_bytes()).hexdigest()
    console.print(f"wrote {out} ({out.stat().st_size} bytes) in {seconds:.0f} s, sha256 {digest}")
    if json_file is not None:
        report = {
            "artifact": str(out),
            "sha256": digest,
            "bytes": out.stat().st_size,
            "seed": seed,
            "steps": steps,
            "sampler": sampler,
            "groups": groups,
            "images": images,
            "boundaries": list(artifact.boundaries),
            "wide": list(artifact.wide),
            "extra_macs": figures["extra_macs"],
            "overflow_bound": max(artifact.overflow.values()),
            "seconds": round(seconds, 2),
            "figures": figures,
        }
        with atomic_write(json_file) as temporary:
            temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
