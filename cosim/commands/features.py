"""``stepscale features``: train the feature networks again, with their reference statistics."""

import sys
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["features"]


def features(
    data: Annotated[Path | None, typer.Option(help="folder of the Fashion-MNIST files")] = None,
    out: Annotated[Path, typer.Option(help="folder for the files")] = Path("out/features"),
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    epochs: Annotated[int, typer.Option(help="passes over the training images", min=1)] = 20,
    seed: Annotated[int, typer.Option(help="seed of weights, order and shifts", min=0)] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the record here")] = None,
) -> None:
    """Train the classifiers whose features measure the Fréchet distance (FID)."""
    import json

    import numpy as np
    import torch
    from rich.console import Console

    from golden.evaluation.feature_training import make_features
    from golden.files import atomic_write, ensure_writable_folder
    from golden.network.dataset import DEFAULT_FOLDER, load_bytes, load_labels
    from golden.network.training import pick_device

    console = Console()
    target, folder = pick_device(device), data or DEFAULT_FOLDER
    ensure_writable_folder(out)
    records = {}
    for size in (16, 32):
        train, test = (
            (
                torch.from_numpy(load_bytes(folder, size, split)),
                torch.from_numpy(load_labels(folder, split).astype(np.int64)),
            )
            for split in ("train", "test")
        )
        console.print(f"{size}x{size}: {len(train[0])} images, {target}, seed {seed}, to {out}")
        record = make_features(
            size,
            train,
            test,
            out,
            target,
            seed=seed,
            epochs=epochs,
            command="stepscale " + " ".join(sys.argv[1:]),
            report=lambda epoch, loss: console.print(f"epoch {epoch + 1}: loss {loss:.4f}"),
        )
        text = f"accuracy {record['accuracy']:.4f}, FID(train, test) {record['floor']:.4f}"
        console.print(f"{size}x{size}: {text}")
        records[f"fashion{size}"] = record
    if json_file is not None:
        with atomic_write(json_file) as temporary:
            temporary.write_text(json.dumps(records, indent=2) + "\n", encoding="utf-8")
