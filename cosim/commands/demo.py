"""``stepscale demo``: the main job, on the embedded network, from checkpoint to proven Verilog."""

import json
from pathlib import Path
from typing import Annotated

import typer

from golden.errors import UserError

__all__ = ["demo"]


def demo(
    out: Annotated[Path, typer.Option(help="folder for all results")] = Path("out"),
    checkpoint: Annotated[
        Path | None, typer.Option(help="checkpoint folder; the embedded network if left out")
    ] = None,
    rows: Annotated[int, typer.Option(help="rows of the array")] = 16,
    cols: Annotated[int, typer.Option(help="columns of the array")] = 16,
    steps: Annotated[int, typer.Option(help="sampler steps")] = 50,
    groups: Annotated[int, typer.Option(help="timestep groups")] = 8,
    samples: Annotated[int, typer.Option(help="images in the picture, 0 for none")] = 16,
    image: Annotated[
        bool, typer.Option("--image/--no-image", help="a whole image on the accelerator")
    ] = True,
    seed: Annotated[int, typer.Option(help="seed of trajectories and stalls")] = 1,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="write the report here, too")
    ] = None,
) -> None:
    """Calibrate, generate Verilog, prove its datapath, then draw an image on the accelerator."""
    import time
    from dataclasses import replace

    import numpy as np
    from rich.console import Console

    from cosim import suites
    from cosim.accelerator_suite import accelerator_tasks
    from cosim.bench import emit_verilog
    from cosim.commands._progress import shown
    from cosim.jobs import run_jobs
    from cosim.pictures import write_image, write_samples
    from cosim.report import describe, report_json
    from cosim.report_table import report_table
    from golden.accelerator.configuration import SIZES
    from golden.calibration.calibrate import Options, calibrate
    from golden.files import atomic_write, ensure_writable_folder
    from golden.network.checkpoint import embedded_checkpoint, load_checkpoint
    from golden.network.samplers import make_sampler

    accelerates = rows == cols and rows in SIZES
    for name, size in (("rows", rows), ("cols", cols)):
        if not 1 <= size <= 64:
            raise UserError(f"--{name} must be in 1..64, got {size}")
    if not 0 <= samples <= 4096 or seed < 0:
        raise UserError(f"--samples must be in 0..4096 and --seed 0 or more: {samples}, {seed}")
    ensure_writable_folder(out)
    if json_file is not None:
        ensure_writable_folder(json_file.parent)
    console = Console()
    began = last = time.perf_counter()
    seconds: dict[str, float] = {}

    def done(what: str, text: str) -> None:
        nonlocal last
        now = time.perf_counter()
        seconds[what] = round(now - last, 1)
        last = now
        console.print(f"{what}: {text} ({seconds[what]} s)", soft_wrap=True, highlight=False)

    artifact, rtl = out / "artifact.safetensors", out / "verilog"
    with shown() as progress:
        progress("load the network", 0, 1)
        network = embedded_checkpoint() if checkpoint is None else load_checkpoint(checkpoint)
        done("network", f"sha256 {network.sha256[:16]}")
        made = calibrate(
            network,
            # not the images that are shown and compared
            Options(steps=steps, groups=groups, seed=seed + 1000),
            lambda stage, share: progress(f"calibrate: {stage}", round(100 * share), 100),
        )
        made.save(artifact)
        figures = made.provenance["figures"]
        done(
            "calibration",
            f"{artifact}, groups begin at {', '.join(map(str, (0, *made.boundaries)))}, "
            f"eps-SQNR {figures['eps_sqnr_db_mean']:.1f} dB mean, "
            f"{figures['eps_sqnr_db_min']:.1f} dB least",
        )
        jobs = suites.demo_jobs(
            artifact=artifact,
            checkpoint=checkpoint,
            rows=rows,
            cols=cols,
            seed=seed,
            rtl=rtl,
            progress=progress,
        )
        cases = sum(len(job.cases) for job in jobs)
        done("golden model", f"{cases} cases of the network's own tiles")
        progress("generate the Verilog", 0, 1)
        emit_verilog(jobs[0].block, jobs[0].parameters, rtl)
        done("Verilog", f"{rows} x {cols} {jobs[0].block} in {rtl}")
        results = run_jobs(jobs, waves=False, level=2, progress=progress)
        speed = sum(result.cycles_per_second for result in results) / len(results)
        done("co-simulation", f"build and run, {speed:,.0f} cycles/s")
        picture = None
        if samples:
            picture = write_samples(
                out / "samples.png",
                network,
                make_sampler(made.sampler, network.scheduler, made.steps),
                made,
                seed=seed,
                count=samples,
                progress=progress,
            )
            done("picture", f"{picture['out']}, left float, right integers, "
                 f"PSNR {picture['psnr_db']} dB")  # fmt: skip
        drawn = None
        if image and not accelerates:
            sizes = ", ".join(map(str, SIZES))
            done("accelerator", f"none of {rows} x {cols}; it has as many rows as columns: {sizes}")
        elif image:
            (task,) = accelerator_tasks(
                "image", artifact=artifact, size=rows, seed=seed, rtl=None,
                image=out / "image.npy",
            )  # fmt: skip
            progress("generate the accelerator", 0, 1)
            emit_verilog(task.block, task.parameters, out / "accelerator")
            result = replace(task, rtl=out / "accelerator").run(False, 3, progress)
            results = [*results, result]
            (case,) = result.cases
            speed = result.cycles_per_second
            done("accelerator", f"{rows} x {cols}, {made.steps} steps in {case.cycles:,} cycles, "
                 f"{case.beats:,} words compared, {speed:,.0f} cycles/s")  # fmt: skip
            if (out / "image.npy").is_file():
                psnr = write_image(
                    out / "image.png",
                    network,
                    make_sampler(made.sampler, network.scheduler, made.steps),
                    np.load(out / "image.npy"),
                    seed=made.provenance["reference_noise"]["seed"],
                    progress=progress,
                )
                drawn = {"out": str(out / "image.png"), "psnr_db": round(psnr, 2)}
                done("image", f"{drawn['out']}, left float, right the Verilog's own, "
                     f"PSNR {drawn['psnr_db']} dB")  # fmt: skip
    report = report_json(results, suite="demo", seed=seed, by="layer")
    report |= {
        "rows": rows,
        "cols": cols,
        "artifact": str(artifact),
        "verilog": str(rtl),
        "picture": picture,
        "image": drawn,
        "figures": figures,
        "boundaries": list(made.boundaries),
        "seconds": {**seconds, "all": round(time.perf_counter() - began, 1)},
    }
    for path in [out / "report.json", *([json_file] if json_file is not None else [])]:
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(report, indent=2) + "\n")
    console.print(report_table(results, suite="demo", seed=seed, by="layer"))
    for result in results:
        for failed in result.cases:
            if failed.mismatches:
                console.print(describe(failed), soft_wrap=True, markup=False, highlight=False)
    console.print(f"report: {out / 'report.json'}; all in {report['seconds']['all']:.0f} s")
    if not report["passed"]:
        raise typer.Exit(1)
