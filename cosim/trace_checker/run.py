"""Runs traces on a native checker and reads its verdicts.

The regression starts the program in a group of its own, reads its progress from a pipe, and takes
the verdict from a file that appears whole or not at all: a program that ends early never looks
green.
"""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cosim.checker import CaseVerdict, Difference
from cosim.process_group import run_group
from cosim.trace_checker.build import Program, build_program
from cosim.trace_checker.trace import TraceWriter
from golden.cycles import Case
from golden.errors import UserError
from golden.files import cache_folder, ensure_writable_folder

__all__ = ["TraceRun", "replay", "run_trace", "trace_of"]

SECONDS_AT_LEAST = 120
CYCLES_PER_SECOND_AT_LEAST = 1000
WATCH_SECONDS = 0.25
WAVES_BEFORE = 64
WAVES_AFTER = 16

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class TraceRun:
    """Verdicts of a trace's cases, seconds spent in the simulation loop, a waveform or None."""

    verdicts: Sequence[CaseVerdict]
    seconds: float
    waves: str | None = None


@contextmanager
def trace_of(program: Program, cases: Sequence[Case], mode: str = "cycles") -> Iterator[Path]:
    """Write ``cases`` as a trace into a folder that is gone at the end."""
    runs = ensure_writable_folder(cache_folder() / "runs")
    folder = Path(tempfile.mkdtemp(prefix=f"{program.manifest.block}-", dir=runs))
    try:
        with TraceWriter(folder / "trace", program.manifest) as writer:
            for case in cases:
                writer.add(case, mode)
        yield folder / "trace"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_trace(
    program: Program,
    trace: Path,
    names: Sequence[str],
    *,
    bare: bool = False,
    stop: bool = False,
    options: Sequence[str] = (),
    cycles: int = 0,
    progress: Progress | None = None,
) -> TraceRun:
    """Replay ``trace``, whose cases are called ``names``.

    ``bare``: drive and compare nothing. ``stop``: end a case at its first mismatch. ``options``:
    further words for the program. ``cycles``: of all cases, for the time limit. ``progress``:
    called with the number of the case and the cycle in it. ``UserError`` if no verdict comes.
    """
    verdict = trace.parent / "verdict.json"
    log = trace.parent / "simulation.log"
    verdict.unlink(missing_ok=True)
    command = [str(program.path), str(trace), str(verdict), *options]
    command += ["--bare"] * bare + ["--stop"] * stop
    limit = SECONDS_AT_LEAST + cycles / CYCLES_PER_SECOND_AT_LEAST

    def watch() -> None:
        lines = log.read_text(errors="replace").split("\n")
        words = lines[-2].split() if len(lines) > 1 else []
        if progress is not None and len(words) == 2 and all(word.isdigit() for word in words):
            progress(int(words[0]), int(words[1]))

    try:
        with log.open("w") as stream:
            status = run_group(
                command, cwd=trace.parent, env={}, stdout=stream, timeout_seconds=limit,
                watch=watch, watch_seconds=WATCH_SECONDS,
            )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"simulation of {program.manifest.block} did not end within {limit:.0f} s"
        ) from error
    if status or not verdict.is_file():
        raise _no_verdict(program, log, f"status {status}")
    found = json.loads(verdict.read_text())["verdicts"]
    if len(found) != len(names):
        raise _no_verdict(program, log, f"{len(found)} of {len(names)} cases have a verdict")
    verdicts = [
        CaseVerdict(
            name,
            seen["cycles"],
            seen["beats"],
            seen["mismatches"],
            [Difference(**difference) for difference in seen["differences"]],
            seen["seconds"],
        )
        for name, seen in zip(names, found, strict=True)
    ]
    return TraceRun(verdicts, sum(seen["seconds"] for seen in found))


def _no_verdict(program: Program, log: Path, reason: str) -> UserError:
    kept = cache_folder() / "failed-simulation.log"
    shutil.copyfile(log, kept)
    lines = [line for line in log.read_text(errors="replace").splitlines() if "rror" in line]
    what = lines[-1] if lines else "it wrote no verdict"
    return UserError(
        f"simulation of {program.manifest.block} failed: {reason}: {what} (log: {kept})"
    )


def replay(
    rtl: Path,
    cases: Sequence[Case],
    *,
    mode: str = "cycles",
    stop: bool = False,
    waves: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> TraceRun:
    """Build the checker of folder ``rtl``, replay ``cases`` on it and return what it found.

    At a mismatch a second run, of a program built for that, writes the waveform of the cycles
    round the first one; with ``waves`` a run without a mismatch leaves the waveform of its first
    case. ``mode``: as ``TraceWriter.add`` takes it.
    """
    tell = progress or (lambda what, done, total: None)
    tell("build", 0, 1)
    program = build_program(rtl)
    names = [case.name for case in cases]
    lengths = [case.trace.cycles for case in cases]
    total = sum(lengths)
    tell("trace", 0, total)

    def advance(case: int, cycle: int) -> None:
        tell("simulate", sum(lengths[:case]) + cycle, total)

    with trace_of(program, cases, mode) as trace:
        tell("simulate", 0, total)
        run = run_trace(program, trace, names, stop=stop, cycles=total, progress=advance)
        failed = [n for n, verdict in enumerate(run.verdicts) if verdict.differences]
        if not failed and not waves:
            return run
        tell("waves", 0, 1)
        case = failed[0] if failed else 0
        cycle = run.verdicts[case].differences[0].cycle if failed else None
        kept = _waves(rtl, program, trace, names[: case + 1], cycle)
    return TraceRun(run.verdicts, run.seconds, str(kept))


def _waves(
    rtl: Path, program: Program, trace: Path, names: Sequence[str], cycle: int | None
) -> Path:
    """Write the waveform round ``cycle`` of the last of the cases ``names``, or of all of it.

    Those before it are played too: a fault may need the state that they leave.
    """
    drawing = build_program(rtl, waves=True)
    window = (
        (0, (1 << 62)) if cycle is None else (max(0, cycle - WAVES_BEFORE), cycle + WAVES_AFTER)
    )
    file = trace.parent / "dump.fst"
    words = ["--case", str(len(names) - 1), "--waves", str(file), *map(str, window)]
    run_trace(drawing, trace, names, options=words)
    folder = ensure_writable_folder(cache_folder() / "waves")
    kept = folder / f"{program.manifest.block}-{names[-1]}.fst".replace("/", "-").replace(" ", "_")
    shutil.move(file, kept)
    return kept
