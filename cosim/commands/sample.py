"""``stepscale sample``: draw images from the float network and from its integer model."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["sample"]


def sample(
    checkpoint: Annotated[
        Path | None, typer.Option(help="checkpoint folder; the embedded network if left out")
    ] = None,
    artifact: Annotated[
        Path | None, typer.Option(help="artifact: add images of its integer model")
    ] = None,
    samples: Annotated[int, typer.Option(help="number of images")] = 16,
    steps: Annotated[int, typer.Option(help="sampler steps")] = 50,
    sampler: Annotated[str, typer.Option(help="ddim or ddpm")] = "ddim",
    seed: Annotated[int, typer.Option(help="seed of the noise")] = 0,
    out: Annotated[Path, typer.Option(help="PNG file to write")] = Path("out/samples.png"),
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    workers: Annotated[
        int | None, typer.Option(help="processes; all CUDA devices, or 1 on a CPU, if left out")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="address of a running Dask scheduler to draw on instead")
    ] = None,
    scale: Annotated[int, typer.Option(help="size of a pixel in the picture")] = 4,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here")] = None,
) -> None:
    """Draw images; with an artifact the integer ones stand right of the float ones."""
    import json

    from rich.console import Console

    from cosim.commands._progress import shown
    from cosim.pictures import Spread, write_samples
    from golden.calibration.artifact import Artifact
    from golden.errors import UserError
    from golden.evaluation.worker_pool import worker_count
    from golden.files import atomic_write, ensure_writable_folder
    from golden.network.checkpoint import load_checkpoint
    from golden.network.presets import EMBEDDED
    from golden.network.samplers import make_sampler
    from golden.network.training import pick_device

    for name, value, top in (("samples", samples, 65536), ("scale", scale, 64)):
        if not 1 <= value <= top:
            raise UserError(f"{name} = {value} is not allowed; allowed: an integer in 1..{top}")
    target = pick_device(device)
    if scheduler is None:
        worker_count(target, workers)
    elif workers is not None:
        raise UserError("workers and scheduler: give one; a running cluster has its own workers")
    folder = (checkpoint or EMBEDDED).resolve()
    loaded = load_checkpoint(checkpoint or EMBEDDED)
    chosen = make_sampler(sampler, loaded.scheduler, steps)
    tables = None if artifact is None else Artifact.load(artifact)
    ensure_writable_folder(out.parent)
    with shown() as progress:
        figures = write_samples(
            out,
            loaded,
            chosen,
            tables,
            seed=seed,
            count=samples,
            device=target,
            scale=scale,
            progress=progress,
            spread=Spread(
                folder, None if artifact is None else artifact.resolve(), workers, scheduler
            ),
        )
    if json_file is not None:
        with atomic_write(json_file) as temporary:
            temporary.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    kinds = "float" if tables is None else "float and integer"
    psnr = "" if tables is None else f", {figures['psnr_db']} dB to the float images"
    Console().print(f"{samples} {kinds} images, {sampler} {steps}, seed {seed}{psnr}: {out}")
