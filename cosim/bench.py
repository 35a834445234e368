"""Runs golden cases on generated Verilog and returns what was compared.

``run_cases`` emits (or takes) the Verilog, builds it through the cache, hands the packed cases to
one simulator process and reads its verdicts. A case whose verdict is missing is an error, so a
simulation that ends early, or a test that never ran, cannot look green.
"""

import json
import pickle
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cosim.build import Model, VerilatorRunner, build_model
from cosim.checker import CaseVerdict, Difference
from cosim.icarus import IcarusRunner, build_icarus
from cosim.manifest import Manifest, load_manifest, same_parameters
from cosim.mismatch import locate
from cosim.report import BenchResult, CaseResult, repeat_command
from cosim.script import compile_case
from cosim.timing import timing_of
from cosim.trace_checker.run import replay
from golden.cycles import Case
from golden.errors import UserError
from golden.files import cache_folder, ensure_writable_folder

__all__ = ["LEVELS", "SIMULATORS", "emit_verilog", "run_cases", "run_model"]

LEVELS = (2, 3)
SIMULATORS = ("verilator", "icarus")

_SECONDS_AT_LEAST = 120
_CYCLES_PER_SECOND_AT_LEAST = 500
_WATCH_SECONDS = 0.5


def emit_verilog(block: str, parameters: Mapping[str, Any], folder: Path) -> Path:
    """Generate the Verilog and manifest of ``block`` into ``folder``."""
    from cosim.generate import block_names, generate  # noqa: PLC0415 (not needed with given rtl)
    from hdl.emit import write  # noqa: PLC0415

    block_names(block)
    write(generate(block, parameters), folder)
    return folder


def run_cases(
    block: str,
    parameters: Mapping[str, Any],
    cases: Sequence[Case],
    *,
    rtl: Path | None = None,
    waves: bool = False,
    seed: int = 0,
    level: int = 2,
    simulator: str = "verilator",
    repeat: Sequence[str] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> BenchResult:
    """Run ``cases`` on ``block`` and compare every cycle.

    ``level``: 2, cocotb drives and compares; 3, the native trace checker does. ``simulator``: of
    level 2, "verilator" or "icarus", which keeps no waveform. ``rtl``: folder with
    ``manifest.json`` and Verilog to use in place of a fresh one. ``repeat``: words of the command
    line that makes the same cases again; by default those of ``stepscale cosim --suite blocks``.
    ``progress``: called with what runs, done, total.
    """
    tell = progress or (lambda what, done, total: None)
    if not cases:
        raise UserError(f"block {block}: there is no case to run")
    if level not in LEVELS:
        raise UserError(f"level must be one of {', '.join(map(str, LEVELS))}, got {level}")
    if simulator not in SIMULATORS:
        raise UserError(f"simulator must be one of {', '.join(SIMULATORS)}, got {simulator!r}")
    icarus = simulator == "icarus"
    if icarus and (level != 2 or waves):
        raise UserError("simulator icarus runs at level 2, without waves")
    words = [*(repeat or _block_words(block, parameters, seed)), "--level", str(level)]
    words += ["--simulator", simulator] * icarus
    if rtl is not None and repeat is None:
        words += ["--rtl", str(rtl)]
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="stepscale-") as temporary:
        if rtl is None:
            tell("generate", 0, 1)
            rtl = emit_verilog(block, parameters, Path(temporary) / "rtl")
        else:
            same_parameters(load_manifest(rtl), block, parameters)
        if level == 2:
            tell("build", 0, 1)
            model = build_icarus(rtl) if icarus else build_model(rtl, waves=waves)
            result = run_model(model, cases, words=words, seed=seed, progress=tell)
        else:
            result = _level3(rtl, cases, words, waves=waves, progress=tell)
    return replace(
        result,
        block=block,
        parameters=dict(parameters),
        wall_seconds=time.perf_counter() - began,
        level=level,
    )


def _level3(
    rtl: Path,
    cases: Sequence[Case],
    words: Sequence[str],
    *,
    waves: bool,
    progress: Callable[[str, int, int], None],
) -> BenchResult:
    run = replay(rtl, cases, waves=waves, progress=progress)
    manifest = load_manifest(rtl)
    return _result(manifest, cases, run.verdicts, run.seconds, run.waves, words)


def _block_words(block: str, parameters: Mapping[str, Any], seed: int) -> list[str]:
    words = ["--suite", "blocks", "--block", block]
    for name, value in parameters.items():
        words += ["--parameter", f"{name}={value}"]
    return [*words, "--seed", str(seed)]


def run_model(
    model: Model,
    cases: Sequence[Case],
    *,
    words: Sequence[str] = (),
    seed: int = 0,
    plusargs: Sequence[str] = (),
    progress: Callable[[str, int, int], None] | None = None,
) -> BenchResult:
    """Run ``cases`` on a built simulator program, in one process, with a reset before each.

    ``plusargs``: for the program, ``+name+value``.
    """
    manifest = model.manifest
    ports = {port.name: port for port in manifest.ports}
    scripts = [compile_case(case, manifest) for case in cases]
    cycles = sum(script.cycles for script in scripts)
    limit = _SECONDS_AT_LEAST + cycles / _CYCLES_PER_SECOND_AT_LEAST
    runs = ensure_writable_folder(cache_folder() / "runs")
    folder = Path(tempfile.mkdtemp(prefix=f"{manifest.block}-", dir=runs))
    waves = None
    try:
        (folder / "script.pickle").write_bytes(pickle.dumps((ports, scripts)))
        _simulate(
            model,
            folder,
            seed=seed,
            limit=limit,
            plusargs=plusargs,
            progress=progress,
            total=len(cases),
        )
        verdict = _read_verdict(folder, cases)
        if model.waves:
            waves = str(_keep_waves(folder, model, cases))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    verdicts = [
        CaseVerdict(**{**seen, "differences": [Difference(**d) for d in seen["differences"]]})
        for seen in verdict["verdicts"]
    ]
    return _result(manifest, cases, verdicts, verdict["seconds"], waves, words)


def _result(
    manifest: Manifest,
    cases: Sequence[Case],
    verdicts: Sequence[CaseVerdict],
    seconds: float,
    waves: str | None,
    words: Sequence[str],
) -> BenchResult:
    """Put numbers, lanes and places to what a run found."""
    ports = {port.name: port for port in manifest.ports}
    results = []
    for case, seen in zip(cases, verdicts, strict=True):
        found = [locate(difference, ports, case) for difference in seen.differences]
        results.append(
            CaseResult(
                case.name,
                case.block,
                case.seed,
                seen.cycles,
                case.trace.cycles,
                seen.beats,
                seen.mismatches,
                found,
                [] if case.groups is None else np.unique(case.groups).tolist(),
                case.labels,
                repeat_command(words, case.name),
                timing_of(seen, found[0], ports, case) if found else None,
                seen.seconds,
            )
        )
    parameters = manifest.parameters
    return BenchResult(manifest.block, parameters, results, seconds, seconds, waves)


def _simulate(
    model: Model,
    folder: Path,
    *,
    seed: int,
    limit: float,
    plusargs: Sequence[str],
    progress: Callable[[str, int, int], None] | None,
    total: int,
) -> None:
    kind = IcarusRunner if model.simulator == "icarus" else VerilatorRunner
    runner: IcarusRunner | VerilatorRunner = kind(timeout_seconds=limit)
    if progress is not None:
        progress("simulate", 0, total)

        def watch() -> None:
            try:
                progress("simulate", int((folder / "progress").read_text()), total)
            except (OSError, ValueError):
                return

        runner.watch = watch
        runner.watch_seconds = _WATCH_SECONDS
    log = folder / "simulation.log"
    try:
        runner.test(
            test_module="cosim.simulation",
            hdl_toplevel=model.manifest.top,
            hdl_toplevel_lang="verilog",
            build_dir=model.folder,
            test_dir=folder,
            results_xml=str(folder / "results.xml"),
            seed=seed,
            plusargs=list(plusargs),
            waves=model.waves,
            extra_env={"STEPSCALE_RUN": str(folder)},
            log_file=str(log),
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"simulation of {model.manifest.block} did not end within {limit:.0f} s"
        ) from error
    except (RuntimeError, SystemExit) as error:
        _no_verdict(folder, str(error), error)


def _no_verdict(folder: Path, reason: str, error: BaseException | None = None) -> None:
    kept = cache_folder() / "failed-simulation.log"
    log = folder / "simulation.log"
    text = log.read_text(errors="replace") if log.is_file() else ""
    kept.write_text(text)
    lines = [line.strip() for line in text.splitlines() if "Error" in line or "%Error" in line]
    last = lines[-1] if lines else "it wrote no verdict"
    raise UserError(f"simulation failed: {reason}: {last} (log: {kept})") from error


def _read_verdict(folder: Path, cases: Sequence[Case]) -> dict[str, Any]:
    path = folder / "verdict.json"
    if not path.is_file():
        _no_verdict(folder, "no test ran to its end")
    verdict: dict[str, Any] = json.loads(path.read_text())
    names = [seen["name"] for seen in verdict["verdicts"]]
    if names != [case.name for case in cases]:
        _no_verdict(folder, f"{len(names)} of {len(cases)} cases have a verdict")
    return verdict


def _keep_waves(folder: Path, model: Model, cases: Sequence[Case]) -> Path:
    waves = ensure_writable_folder(cache_folder() / "waves")
    kept = waves / f"{model.manifest.block}-{cases[0].name}.fst"
    kept = kept.with_name(kept.name.replace("/", "-").replace(" ", "_"))
    shutil.move(folder / "dump.fst", kept)
    return kept
