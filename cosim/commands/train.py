"""``stepscale train``: train a preset network on Fashion-MNIST."""

import sys
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["train"]


def train(
    preset: Annotated[str, typer.Option(help="fashion16 or fashion32")] = "fashion16",
    data: Annotated[Path | None, typer.Option(help="folder of the Fashion-MNIST files")] = None,
    out: Annotated[Path, typer.Option(help="folder for the checkpoint")] = Path("out/train"),
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    steps: Annotated[int, typer.Option(help="gradient steps")] = 60000,
    batch: Annotated[int, typer.Option(help="images a step")] = 512,
    learning_rate: Annotated[float, typer.Option(help="peak learning rate of Adam")] = 1e-3,
    warmup: Annotated[int, typer.Option(help="steps of linear warm-up")] = 1000,
    ema_decay: Annotated[
        float, typer.Option(help="largest decay of the averaged weights")
    ] = 0.9999,
    precision: Annotated[str, typer.Option(help="float32 or bf16 (autocast)")] = "float32",
    compile_model: Annotated[bool, typer.Option("--compile", help="use torch.compile")] = False,
    minutes: Annotated[float | None, typer.Option(help="stop and save after this time")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="continue an unfinished run")] = False,
    start: Annotated[
        Path | None, typer.Option(help="checkpoint folder whose weights to begin from")
    ] = None,
    seed: Annotated[int, typer.Option(help="seed of weights, batches and noise")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the record here")] = None,
) -> None:
    """Train a DDPM UNet on Fashion-MNIST and write its averaged weights."""
    import json

    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from golden.files import atomic_write, ensure_writable_folder
    from golden.network import presets, training
    from golden.network.checkpoint import load_checkpoint
    from golden.network.dataset import DEFAULT_FOLDER, load_images

    console = Console()
    config = presets.preset(preset)
    options = training.TrainingOptions(
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        warmup=warmup,
        ema_decay=ema_decay,
        precision=precision,
        compile=compile_model,
        seed=seed,
    )
    target = training.pick_device(device)
    ensure_writable_folder(out)
    images = load_images(data or DEFAULT_FOLDER, config.sample_size[0])
    console.print(f"{preset}: {len(images)} images, {target}, seed {seed}, to {out}")
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("train", total=steps, text="")

        def report(step: int, loss: float, rate: float) -> None:
            text = f"loss {loss:.5f}, {rate:,.0f} images/s"
            progress.update(task, completed=step, text=text)
            if not console.is_terminal:
                console.print(f"step {step} of {steps}: {text}")

        record = training.train(
            config,
            images,
            options,
            out,
            target,
            minutes=minutes,
            resume=resume,
            start=None if start is None else load_checkpoint(start),
            command="stepscale " + " ".join(sys.argv[1:]),
            report=report,
        )
    if json_file is not None:
        with atomic_write(json_file) as temporary:
            temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    state = "finished" if record["finished"] else "stopped, continue with --resume"
    step, loss = record["losses"][-1]
    console.print(f"{state}: step {step}, loss {loss:.5f}, {record['seconds']:.0f} s, wrote {out}")
