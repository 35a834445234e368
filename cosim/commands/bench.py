"""``stepscale bench``: speed of the integer network beside the float one, and the ceiling."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["bench"]

PARTS = ("golden",)


def bench(
    only: Annotated[str, typer.Option(help="part to time; there is: golden")] = "golden",
    checkpoint: Annotated[
        Path | None, typer.Option(help="checkpoint folder; the embedded network if left out")
    ] = None,
    artifact: Annotated[
        Path | None, typer.Option(help="its artifact; the embedded network's if left out")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    threads: Annotated[
        int | None, typer.Option(help="of torch; its own choice if left out")
    ] = None,
    repeats: Annotated[int, typer.Option(help="of each network, in turn")] = 15,
    batch_top: Annotated[int | None, typer.Option(help="largest batch to try")] = None,
    compiled: Annotated[
        bool, typer.Option("--compiled", help="fuse operations first (takes minutes)")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here")] = None,
) -> None:
    """Images per second in integers, in float32, and of the machine's matrix product."""
    import json

    import torch
    from rich.console import Console

    from cosim.commands._progress import shown
    from golden.calibration.artifact import Artifact, embedded_artifact
    from golden.errors import UserError
    from golden.evaluation.speed import golden_speed
    from golden.files import atomic_write, ensure_writable_folder
    from golden.network.checkpoint import embedded_checkpoint, load_checkpoint
    from golden.network.training import pick_device

    if only not in PARTS:
        raise UserError(f"only = {only!r}: nothing to time there; there is: {', '.join(PARTS)}")
    for name, value, top in (("threads", threads, 1024), ("batch-top", batch_top, 65536)):
        if value is not None and not 1 <= value <= top:
            raise UserError(f"{name} = {value} is not allowed; allowed: an integer in 1..{top}")
    target = pick_device(device)
    if (checkpoint is None) != (artifact is None):
        raise UserError("--checkpoint and --artifact belong together: give both or neither")
    network = embedded_checkpoint() if checkpoint is None else load_checkpoint(checkpoint)
    tables = embedded_artifact() if artifact is None else Artifact.load(artifact)
    if json_file is not None:
        ensure_writable_folder(json_file.parent)
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        with shown() as progress:
            figures = golden_speed(
                network,
                tables,
                target,
                repeats=repeats,
                compiled=compiled,
                batch_top=batch_top,
                progress=progress,
            )
    finally:
        torch.set_num_threads(before)
    if json_file is not None:
        with atomic_write(json_file) as temporary:
            text = json.dumps({"golden": figures}, indent=2)
            temporary.write_text(text + "\n", encoding="utf-8")
    real, ceiling = figures["float32"], figures["ceiling"]
    where = figures["device_name"]
    if target.type == "cpu":
        where += f", threads: {figures['threads']}"
    console = Console()
    console.print(f"{where}; {figures['sampler']} {figures['steps']}", highlight=False)
    for what, rate, note in (
        ("integer", figures["images_per_second"], f"batch {figures['batch']}"),
        ("float32", real["images_per_second"], f"batch {real['batch']}"),
        ("ceiling", ceiling["images_per_second"], "the convs as one float32 matrix product"),
    ):
        console.print(f"{what:8} {rate:10.2f} images/s  {note}", highlight=False)
    console.print(f"integer is {figures['ratio_to_float32']:.2f} of float32", highlight=False)
