"""``stepscale evaluate``: how close the integer model stays to the float one, and the ablation."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["evaluate"]

FEW = 2000


def evaluate(
    checkpoint: Annotated[
        Path | None, typer.Option(help="checkpoint folder; the embedded network if left out")
    ] = None,
    artifact: Annotated[
        Path | None, typer.Option(help="artifact; the embedded network's if left out")
    ] = None,
    samples: Annotated[int, typer.Option(help="images of each model from the same noise")] = 64,
    sqnr_images: Annotated[int, typer.Option(help="images of the float trajectories")] = 8,
    images: Annotated[int, typer.Option(help="images the ablation's ranges come from")] = 16,
    batch: Annotated[int, typer.Option(help="images at a time, and of one worker's task")] = 32,
    features: Annotated[
        Path | None, typer.Option(help="TorchScript feature network; ours if left out and it fits")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="reference statistics of those features")
    ] = None,
    ablation: Annotated[bool, typer.Option("--ablation", help="add the table of variants")] = False,
    bits: Annotated[str, typer.Option(help="of the variants, separated by commas")] = "8,7,6",
    variants: Annotated[
        str | None, typer.Option(help="parts of the names of variants, separated by commas")
    ] = None,
    rows: Annotated[
        Path | None, typer.Option(help="folder of finished rows: an interrupted run goes on there")
    ] = None,
    figures: Annotated[Path | None, typer.Option(help="folder for the pictures")] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="page whose generated table is to be renewed")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="let that table go even if it is of more images")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    workers: Annotated[
        int | None, typer.Option(help="processes; all CUDA devices, or 1 on a CPU, if left out")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="address of a running Dask scheduler to draw on instead")
    ] = None,
    seed: Annotated[int, typer.Option(help="of the measured images; ranges come from seed 0")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here")] = None,
) -> None:
    """Measure eps-SQNR, image PSNR and FID of the integer model; optionally of its rivals."""
    import json

    from rich.console import Console
    from rich.table import Table

    from cosim.commands._progress import shown
    from golden.calibration.artifact import Artifact, embedded_artifact
    from golden.errors import UserError
    from golden.evaluation.ablation import Evaluation, Settings
    from golden.evaluation.report import (
        COLUMNS,
        cells,
        check_markdown,
        measures,
        parse_bits,
        summary,
        write_markdown,
    )
    from golden.evaluation.shards import useful
    from golden.evaluation.variants import chosen
    from golden.evaluation.worker_pool import pool
    from golden.files import atomic_write, ensure_writable_folder
    from golden.network.checkpoint import embedded_checkpoint, load_checkpoint
    from golden.network.training import pick_device

    widths, picked = parse_bits(bits), chosen(variants)
    settings = Settings(
        samples=samples,
        seed=seed,
        sqnr_images=sqnr_images,
        images=images,
        batch=batch,
        device=str(pick_device(device)),
    )
    if scheduler is None:
        count = useful(samples, settings.device, workers, batch)
    elif workers is None:
        count = None
    else:
        raise UserError("workers and scheduler: give one; a running cluster has its own workers")
    if checkpoint is not None and artifact is None:
        raise UserError("--checkpoint needs its --artifact; make one with `stepscale calibrate`")
    network = embedded_checkpoint() if checkpoint is None else load_checkpoint(checkpoint)
    tables = embedded_artifact() if artifact is None else Artifact.load(artifact)
    feature_network, statistics = measures(network.config, features, reference, settings.device)
    if markdown is not None:
        check_markdown(markdown, "x".join(map(str, network.config.sample_size)), samples, replace)
    for folder in (rows, figures, None if json_file is None else json_file.parent):
        if folder is not None:
            ensure_writable_folder(folder)
    with shown() as progress, pool(count, scheduler, settings.device) as using:
        evaluation = Evaluation(
            network,
            tables,
            settings,
            feature_network,
            statistics,
            rows,
            lambda what, share: progress(what, round(100 * share), 100),
            using,
        )
        found = [evaluation.float_row()]
        if ablation:
            found += [evaluation.simulated_row(v, b) for b in widths for v in picked]
        found.append(evaluation.integer_row())
        if figures is not None:
            from cosim.figures import write_figures

            paths = write_figures(figures, evaluation, found)
    console = Console()
    table = Table(title=f"{samples} images of seed {seed}, {settings.device}", padding=(0, 0, 0, 1))
    shown_columns = [i for i, name in enumerate(COLUMNS) if not name.startswith("95")]
    for i in shown_columns:
        heading = COLUMNS[i].replace(" ", "\n", 1)
        table.add_column(heading, justify="left" if i == 0 else "right", no_wrap=i > 0)
    for row in found:
        texts = cells(row)
        texts[6] = texts[6].replace("(not resolved)", "n.r.")
        table.add_row(*(texts[i] for i in shown_columns))
    console.print(table)
    if ablation or statistics is not None:
        console.print("n.r.: not resolved, the interval of the change holds 0")
    if statistics is not None and statistics.floor is not None:
        console.print(f"FID of training to test images (the floor): {statistics.floor:.4f}")
        if samples < FEW:
            console.print(f"FID of fewer than {FEW} images is too large: read the change alone")
    report = summary(evaluation, found)
    if json_file is not None:
        with atomic_write(json_file) as temporary:
            temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if markdown is not None:
        write_markdown(markdown, report, replace)
    if figures is not None:
        console.print("pictures: " + ", ".join(str(path) for path in paths))
