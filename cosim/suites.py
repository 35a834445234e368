"""Which cases a suite runs: the benches of the blocks, or layers of a real network."""

import hashlib
import importlib
import importlib.util
import inspect
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import golden
from cosim.bench import emit_verilog
from cosim.jobs import Job
from cosim.manifest import load_manifest
from golden.cycles import Case
from golden.errors import UserError
from golden.files import cache_folder

if TYPE_CHECKING:
    from cosim.accelerator_suite import AcceleratorTask
    from cosim.layer_suite import LayerTask

__all__ = [
    "ACCELERATOR_SUITES",
    "LAYER_SUITES",
    "SUITES",
    "accelerator_jobs",
    "block_jobs",
    "block_names",
    "block_parameters",
    "datapath_verilog",
    "demo_cases",
    "demo_jobs",
    "layer_jobs",
]

LAYER_SUITES = ("layers", "nightly")
ACCELERATOR_SUITES = ("unet", "image")
SUITES = ("blocks", "demo", *LAYER_SUITES, *ACCELERATOR_SUITES)
SIDE_WIDTH = 5  # opaque bits must travel with their beat, so a bench gives some

Progress = Callable[[str, int, int], None]
Named = TypeVar("Named", Case, "LayerTask", "AcceleratorTask")


def _bench_of(block: str) -> Any:
    try:
        return importlib.import_module(f"cosim.tb_{block}")
    except ModuleNotFoundError as error:
        if error.name != f"cosim.tb_{block}":
            raise
        raise UserError(
            f"block {block!r} has no bench; it must be one of {', '.join(block_names())}"
        ) from None


def block_names() -> list[str]:
    """Names of the blocks that have RTL and a bench."""
    from hdl.blocks import BLOCKS  # noqa: PLC0415 (--help needs no Amaranth)

    found = importlib.util.find_spec
    return [name for name in BLOCKS if found(f"cosim.tb_{name}") is not None]


def block_parameters(block: str, rows: int, cols: int) -> list[dict[str, Any]]:
    """Parameter sets that suite ``blocks`` runs for an array of ``rows`` x ``cols``.

    A bench chooses its own by ``configurations(rows, cols)``; otherwise the sizes are those
    parameters of the block that are called rows, cols or lanes.
    """
    bench = _bench_of(block)
    if hasattr(bench, "configurations"):
        return [dict(chosen) for chosen in bench.configurations(rows, cols)]
    sizes = {"rows": rows, "cols": cols, "lanes": cols, "side_width": SIDE_WIDTH}
    names = _defaults(block)
    return [{name: value for name, value in sizes.items() if name in names}]


def _defaults(block: str) -> dict[str, Any]:
    """Keyword parameters of a block and their defaults."""
    from hdl.blocks import BLOCKS  # noqa: PLC0415

    if block not in BLOCKS:
        raise UserError(f"block {block!r} does not exist; it must be one of {', '.join(BLOCKS)}")
    signature = inspect.signature(BLOCKS[block])
    return {name: parameter.default for name, parameter in signature.parameters.items()}


def _complete(block: str, given: Mapping[str, Any]) -> dict[str, Any]:
    defaults = _defaults(block)
    unknown = sorted(set(given) - set(defaults))
    if unknown:
        raise UserError(
            f"block {block} has no parameter {unknown[0]!r}; it has {', '.join(defaults)}"
        )
    full = {name: value for name, value in defaults.items() if value is not inspect.Parameter.empty}
    return {**full, **given}


def _select(cases: Sequence[Named], case: str | None, where: str) -> list[Named]:
    chosen = [entry for entry in cases if case is None or entry.name == case]
    if not chosen:
        names = ", ".join(entry.name for entry in cases)
        raise UserError(f"{where} has no case {case!r}; it has {names}")
    return chosen


def block_jobs(
    *,
    block: str | None,
    rows: int,
    cols: int,
    seed: int,
    parameters: Mapping[str, Any],
    rtl: Path | None = None,
    case: str | None = None,
) -> list[Job]:
    """Return the jobs of suite ``blocks``: every block, or one, or the one that ``rtl`` holds.

    ``parameters``: exactly these (others at their defaults) in place of those for rows and cols.
    """
    if rtl is not None:
        manifest = load_manifest(rtl)
        if block is not None and block != manifest.block:
            raise UserError(f"{rtl}: holds block {manifest.block!r}, not {block!r}")
        block = manifest.block
        parameters = {**manifest.parameters, **parameters}
    if parameters and block is None:
        raise UserError("--parameter needs --block")
    jobs = []
    for name in [block] if block is not None else block_names():
        bench = _bench_of(name)
        for given in [dict(parameters)] if parameters else block_parameters(name, rows, cols):
            full = _complete(name, given)
            words = ["--suite", "blocks", "--block", name]
            for key, value in given.items():
                words += ["--parameter", f"{key}={value}"]
            words += ["--seed", str(seed), *(["--rtl", str(rtl)] if rtl is not None else [])]
            try:
                cases = bench.cases(seed, full)
            except (TypeError, ValueError, KeyError) as error:
                raise UserError(f"block {name}: {error} (parameters {full})") from error
            jobs.append(Job(name, full, _select(cases, case, f"block {name}"), rtl, words, seed))
    return jobs


def demo_cases(
    artifact: Path | None,
    checkpoint: Path | None,
    rows: int,
    cols: int,
    seed: int,
    progress: Progress | None = None,
) -> list[Case]:
    """Return the cases of suite ``demo``: real conv and activation tiles through the datapath.

    ``checkpoint``: None for the embedded network. ``artifact``: None for the embedded one, or for
    what ``calibrate`` makes of the checkpoint with its defaults, kept in the cache.
    """
    from cosim.network_cases import network_cases  # noqa: PLC0415 (--help needs no torch)
    from golden.calibration.artifact import Artifact, embedded_artifact  # noqa: PLC0415
    from golden.network.checkpoint import (  # noqa: PLC0415
        embedded_checkpoint,
        load_checkpoint,
    )

    network = embedded_checkpoint() if checkpoint is None else load_checkpoint(checkpoint)
    if artifact is not None:
        made = Artifact.load(artifact)
    else:
        made = embedded_artifact() if checkpoint is None else _calibrated(network, progress)
    return network_cases(made, network, rows, cols, seed, progress)


def _calibrated(network: Any, progress: Progress | None) -> Any:
    """Calibrate once for a network and a state of ``golden/``."""
    from golden.calibration.artifact import Artifact  # noqa: PLC0415
    from golden.calibration.calibrate import Options, calibrate  # noqa: PLC0415

    digest = hashlib.sha256(network.sha256.encode())
    for path in sorted(Path(golden.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    kept = cache_folder() / "artifacts" / f"{digest.hexdigest()[:20]}.safetensors"
    if kept.is_file():
        return Artifact.load(kept)

    def tell(stage: str, share: float) -> None:
        if progress is not None:
            progress(f"calibrate: {stage}", round(100 * share), 100)

    made = calibrate(network, Options(report_images=0), tell)
    made.save(kept)
    return made


def demo_jobs(
    *,
    artifact: Path | None,
    checkpoint: Path | None,
    rows: int,
    cols: int,
    seed: int,
    rtl: Path | None = None,
    case: str | None = None,
    progress: Progress | None = None,
) -> list[Job]:
    """Return the jobs of suite ``demo``, one for each set of parameters that its cases want."""
    cases = demo_cases(artifact, checkpoint, rows, cols, seed, progress)
    cases = _select(cases, case, "suite demo")
    words = ["--suite", "demo", "--rows", str(rows), "--cols", str(cols), "--seed", str(seed)]
    for option, path in (("--artifact", artifact), ("--checkpoint", checkpoint), ("--rtl", rtl)):
        words += [option, str(path)] if path is not None else []
    jobs: dict[str, Job] = {}
    for entry in cases:
        key = repr(sorted(entry.parameters.items()))
        job = jobs.get(key) or Job(entry.block, entry.parameters, [], rtl, words, seed)
        jobs[key] = replace(job, cases=[*job.cases, entry])
    return list(jobs.values())


def layer_jobs(
    suite: str,
    *,
    artifact: Path | None,
    checkpoint: Path | None,
    rows: int,
    cols: int,
    seed: int,
    rtl: Path,
    given_rtl: bool,
    case: str | None = None,
) -> "list[LayerTask]":
    """Return the tasks of suite ``layers`` or ``nightly`` on the datapath in folder ``rtl``.

    ``given_rtl``: the folder is the user's, so the line that repeats a case names it.
    """
    words = ["--suite", suite, "--rows", str(rows), "--cols", str(cols)]
    named = (("--artifact", artifact), ("--checkpoint", checkpoint))
    for option, path in (*named, ("--rtl", rtl if given_rtl else None)):
        words += [option, str(path)] if path is not None else []
    words += ["--seed", str(seed)]
    from cosim.layer_suite import layer_tasks  # noqa: PLC0415 (--help needs no torch)

    tasks = layer_tasks(
        every_step=suite == "nightly", artifact=artifact, checkpoint=checkpoint, rows=rows,
        cols=cols, seed=seed, rtl=rtl, words=words,
    )  # fmt: skip
    return _select(tasks, case, f"suite {suite}")


def accelerator_jobs(
    suite: str,
    *,
    artifact: Path | None,
    rows: int,
    cols: int,
    seed: int,
    rtl: Path | None = None,
    case: str | None = None,
) -> "list[AcceleratorTask]":
    """Return the tasks of suite ``unet`` or ``image`` on an accelerator of ``rows`` = ``cols``."""
    from cosim.accelerator_suite import accelerator_tasks  # noqa: PLC0415 (--help needs no torch)

    if rows != cols:
        raise UserError(f"--rows {rows} --cols {cols}: the accelerator's array is square")
    tasks = accelerator_tasks(suite, artifact=artifact, size=rows, seed=seed, rtl=rtl)
    return _select(tasks, case, f"suite {suite}")


@contextmanager
def datapath_verilog(artifact: Path | None, rows: int, cols: int) -> Iterator[Path]:
    """Generate the datapath that runs an artifact; the folder is gone at the end."""
    from cosim.network_cases import network_parameters  # noqa: PLC0415 (--help needs no torch)
    from golden.calibration.artifact import Artifact, embedded_artifact  # noqa: PLC0415

    made = embedded_artifact() if artifact is None else Artifact.load(artifact)
    with tempfile.TemporaryDirectory(prefix="stepscale-") as temporary:
        yield emit_verilog("datapath", network_parameters(made, rows, cols), Path(temporary))
