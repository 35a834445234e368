"""``stepscale sample``: draw images from the float network and from its quantized edges."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    pass

__all__ = ["sample"]

BATCH = 64
"""Images denoised together; the result of an image does not depend on its batch."""


def sample(
    checkpoint: Annotated[
        Path | None, typer.Option(help="checkpoint folder; the embedded network if left out")
    ] = None,
    artifact: Annotated[
        Path | None, typer.Option(help="artifact: add images of its quantized edges")
    ] = None,
    samples: Annotated[int, typer.Option(help="number of images")] = 16,
    steps: Annotated[int, typer.Option(help="sampler steps")] = 50,
    sampler: Annotated[str, typer.Option(help="ddim or ddpm")] = "ddim",
    seed: Annotated[int, typer.Option(help="seed of the noise")] = 0,
    out: Annotated[Path, typer.Option(help="PNG file to write")] = Path("out/samples.png"),
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    scale: Annotated[int, typer.Option(help="size of a pixel in the picture")] = 4,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here")] = None,
) -> None:
    """Draw images; with an artifact the quantized ones stand right of the float ones."""
    import json

    import numpy as np
    import torch
    from rich.console import Console

    from golden.errors import UserError
    from golden.files import atomic_write, ensure_writable_folder
    from golden.network import checkpoint as checkpoints
    from golden.network import image, samplers, training

    for name, value, top in (("samples", samples, 65536), ("scale", scale, 64)):
        if not 1 <= value <= top:
            raise UserError(f"{name} = {value} is not allowed; allowed: an integer in 1..{top}")
    target = training.pick_device(device)
    loaded = checkpoints.load_checkpoint(checkpoint or checkpoints.EMBEDDED)
    chosen = samplers.make_sampler(sampler, loaded.scheduler, steps)
    ensure_writable_folder(out.parent)
    shape = (loaded.config.in_channels, *loaded.config.sample_size)
    Model = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

    def draw(model: Model, where: torch.device) -> Any:
        parts = [
            samplers.sample(
                model, chosen, seed, range(i, min(i + BATCH, samples)), shape, device=where
            )
            for i in range(0, samples, BATCH)
        ]
        return torch.cat(parts).cpu().numpy()

    pictures = {"float": draw(loaded.unet.to(target), target)}
    figures: dict[str, Any] = {
        "samples": samples,
        "seed": seed,
        "steps": steps,
        "sampler": sampler,
        "checkpoint": loaded.sha256,
        "out": str(out),
        "psnr_db": None,
    }
    if artifact is not None:
        pictures["quantized"] = draw(quantized_model(artifact, chosen, loaded.sha256), target)
        error = np.mean((pictures["float"] - pictures["quantized"]) ** 2)
        figures["psnr_db"] = round(float(10 * np.log10(4 / max(error, 1e-12))), 2)
    columns = min(8, samples)
    sheets = [
        image.grid(image.to_bytes(picture), columns, scale, gap=2) for picture in pictures.values()
    ]
    gutter = np.full((sheets[0].shape[0], 4 * scale, sheets[0].shape[2]), 255, np.uint8)
    joined = [part for sheet in sheets for part in (sheet, gutter)][:-1]
    image.write_png(out, np.concatenate(joined, axis=1))
    if json_file is not None:
        with atomic_write(json_file) as temporary:
            temporary.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    kinds = " and ".join(pictures)
    psnr = "" if figures["psnr_db"] is None else f", {figures['psnr_db']} dB to the float images"
    Console().print(f"{samples} {kinds} images, {sampler} {steps}, seed {seed}{psnr}: {out}")


def quantized_model(path: Path, sampler: Any, checkpoint_sha256: str) -> Any:
    """Return a noise predictor of the artifact's integer convs, checked against the request."""
    raise NotImplementedError
