"""``stepscale cosim``: run a suite on Verilog and compare every cycle with the golden model."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from golden.errors import UserError

if TYPE_CHECKING:
    from cosim.report import BenchResult

__all__ = ["cosim"]


def cosim(
    suite: Annotated[
        str,
        typer.Option(
            help="blocks; demo (some tiles of a network), layers (every conv and edge, a step a "
            "group), nightly (all steps); unet (a step on the accelerator) or image (all steps)"
        ),
    ] = "blocks",
    block: Annotated[str | None, typer.Option(help="only this block")] = None,
    rows: Annotated[
        int | None, typer.Option(help="rows of the array; if left out 4 for blocks, 16 for demo")
    ] = None,
    cols: Annotated[int | None, typer.Option(help="columns of the array; likewise")] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "--parameter",
            "--set",
            help="NAME=VALUE of the block, in place of --rows and --cols; repeatable",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="seed of the cases")] = 1,
    case: Annotated[str | None, typer.Option(help="only the case of this name")] = None,
    level: Annotated[
        int | None,
        typer.Option(
            help="2: cocotb drives and compares; 3: the native trace checker, much faster; if left "
            "out 2 for blocks and demo, 3 for the others"
        ),
    ] = None,
    simulator: Annotated[
        str,
        typer.Option(help="verilator, or icarus for suite blocks at level 2"),
    ] = "verilator",
    workers: Annotated[int, typer.Option(help="processes that share the cases")] = 1,
    scheduler: Annotated[
        str | None, typer.Option(help="address of a running Dask scheduler to run on instead")
    ] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="only the cases that failed in this suite's last run")
    ] = False,
    waves: Annotated[bool, typer.Option("--waves", help="keep a waveform (FST)")] = False,
    rtl: Annotated[
        Path | None, typer.Option(help="folder with manifest.json and Verilog to use instead")
    ] = None,
    artifact: Annotated[
        Path | None, typer.Option(help="artifact of suite demo; the embedded one if left out")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="network of suite demo; the embedded one if left out")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the report here")] = None,
    junit: Annotated[Path | None, typer.Option(help="write a JUnit XML report here")] = None,
    html: Annotated[Path | None, typer.Option(help="write a page for a browser here")] = None,
) -> None:
    """Run a suite; exit 0 only if something was compared and all of it agreed."""
    from cosim import suites
    from cosim.commands._progress import shown
    from cosim.jobs import only_cases, run_jobs
    from cosim.last_run import last_failed, remember
    from cosim.report import report_json
    from golden.evaluation.worker_pool import pool
    from golden.files import ensure_writable_folder

    usual = 4 if suite == "blocks" else 16
    rows, cols = (usual if size is None else size for size in (rows, cols))
    _check(suite, rows, cols, seed, simulator, blocks_only=block is not None or bool(parameter))
    for path in (json_file, junit, html):
        if path is not None:
            ensure_writable_folder(path.parent)
    if level is None:
        level = 2 if suite in ("blocks", "demo") else 3
    only = last_failed(suite) if failed else None
    on_network: dict[str, Any] = {
        "artifact": artifact, "checkpoint": checkpoint, "rows": rows, "cols": cols, "seed": seed,
        "case": case,
    }  # fmt: skip
    with shown() as progress, ExitStack() as stack:
        progress("prepare cases", 0, 1)
        jobs: Any
        if suite == "blocks":
            jobs = suites.block_jobs(
                block=block,
                rows=rows,
                cols=cols,
                seed=seed,
                parameters=_parse(parameter or []),
                rtl=rtl,
                case=case,
            )
            jobs = [replace(job, simulator=simulator) for job in jobs]
        elif suite == "demo":
            jobs = suites.demo_jobs(**on_network, rtl=rtl, progress=progress)
        elif suite in suites.ACCELERATOR_SUITES:
            _accelerator_only(level, waves, checkpoint)
            jobs = suites.accelerator_jobs(
                suite, artifact=artifact, rows=rows, cols=cols, seed=seed, rtl=rtl, case=case
            )
        else:
            folder = rtl or stack.enter_context(suites.datapath_verilog(artifact, rows, cols))
            jobs = suites.layer_jobs(suite, **on_network, rtl=folder, given_rtl=rtl is not None)
        if only is not None:
            jobs = only_cases(jobs, only)
        using = stack.enter_context(pool(workers, scheduler))
        results = run_jobs(jobs, waves=waves, level=level, using=using, progress=progress)
        remember(suite, results)
    by = "block" if suite == "blocks" else "layer"
    report = report_json(results, suite=suite, seed=seed, by=by, simulator=simulator)
    _write(report, results, json_file, junit, html)
    _show(report, results, by)
    if not report["passed"]:
        raise typer.Exit(1)


def _check(
    suite: str, rows: int, cols: int, seed: int, simulator: str, *, blocks_only: bool
) -> None:
    from cosim.suites import SUITES

    if suite not in SUITES:
        raise UserError(f"--suite must be one of {', '.join(SUITES)}, got {suite!r}")
    for name, size in (("rows", rows), ("cols", cols)):
        if not 1 <= size <= 64:
            raise UserError(f"--{name} must be in 1..64, got {size}")
    if seed < 0:
        raise UserError(f"--seed must be 0 or more, got {seed}")
    if suite != "blocks" and blocks_only:
        raise UserError("--block and --parameter belong to --suite blocks")
    if suite != "blocks" and simulator != "verilator":
        raise UserError("--simulator belongs to --suite blocks")


def _accelerator_only(level: int, waves: bool, checkpoint: Path | None) -> None:
    """The accelerator runs natively, from an artifact alone."""
    if level != 3 or waves:
        raise UserError("suites unet and image run at level 3, without --waves")
    if checkpoint is not None:
        raise UserError("suites unet and image take --artifact alone, without --checkpoint")


def _write(
    report: dict[str, Any],
    results: "Sequence[BenchResult]",
    json_file: Path | None,
    junit: Path | None,
    html: Path | None,
) -> None:
    from golden.files import atomic_write

    if json_file is not None:
        with atomic_write(json_file) as temporary:
            temporary.write_text(json.dumps(report, indent=2) + "\n")
    if junit is not None:
        from cosim.junit import write_junit

        known = {name: report[name] for name in ("suite", "seed", "simulator")}
        write_junit(results, junit, **known)
    if html is not None:
        from cosim.html.page import write_page

        write_page([report], html)


def _show(report: dict[str, Any], results: "Sequence[BenchResult]", by: str) -> None:
    from rich.console import Console

    from cosim.report import describe
    from cosim.report_table import report_table

    console = Console()
    console.print(report_table(results, suite=report["suite"], seed=report["seed"], by=by))
    for result in results:
        if result.waves is not None:
            console.print(f"waves: {result.waves}", soft_wrap=True)
        for entry in result.cases:
            if entry.mismatches:
                console.print(describe(entry), soft_wrap=True, markup=False, highlight=False)
    if not report["passed"] and not report["mismatches"]:
        console.print("nothing was compared", style="red")


def _parse(words: list[str]) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals and value):
            raise UserError(f"--parameter must be NAME=VALUE, got {word!r}")
        parameters[name] = int(value) if value.lstrip("-").isdigit() else value
    return parameters
