"""Mutation score of a block's bench: of small random faults in the netlist, how many turn it red.

yosys chooses the mutants (a bit of a cell's port inverted, stuck, or following another bit) and
puts all of them into one netlist, each behind a value of an extra input ``mutation``. That netlist
is built once; the trace of the bench's cases is replayed once a mutant, up to its first mismatch.
A survivor that yosys proves equal to the original is no fault and is not counted.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from cosim.bench import emit_verilog
from cosim.manifest import load_manifest
from cosim.mutation_proof import is_equivalent
from cosim.trace_checker.build import Program, build_program
from cosim.trace_checker.run import run_trace, trace_of
from cosim.yosys import run_yosys
from golden.cycles import Case
from golden.errors import UserError

__all__ = ["PARAMETERS", "Mutant", "MutationResult", "mutate_block", "planted"]

CONTROL = "mutation"

PARAMETERS: Mapping[str, Mapping[str, Any]] = {
    "operand": {"rows": 2, "side_width": 2},
    "mac_array": {"rows": 2, "cols": 2, "side_width": 2},
    "accumulator": {"depth": 8, "cols": 2, "sum_width": 20, "side_width": 2},
    "scale_file": {"lanes": 2},
    "requantizer": {"lanes": 1, "side_width": 2, "count_width": 8},
    "silu_quantizer": {"lanes": 1, "side_width": 2},
    "group_norm": {"lanes": 2},
    "residual": {"lanes": 1},
    "sampler": {"lanes": 1},
    "softmax": {"lanes": 2, "keys_max": 16, "ahead": 2},
    "datapath": {"rows": 2, "cols": 2, "depth": 8},
}

_PREPARE = """
read_verilog -sv {files}
hierarchy -check -top {top}
proc
flatten
memory_collect
opt -full
wreduce
splitcells
opt -full -purge
write_rtlil base.il
mutate -list {count} -seed {seed} -o mutants.txt
"""
_COMBINE = """
read_rtlil base.il
{mutations}
opt_clean
write_verilog -noattr -noparallelcase {top}.v
"""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Mutant:
    """One fault. ``number``: value of the control input; ``command``: of yosys, makes it again."""

    number: int
    command: str

    def __str__(self) -> str:
        words = dict(re.findall(r"-(mode|wire|wirebit|port|portbit|ctrlbit) (\S+)", self.command))
        source = re.findall(r"-src (\S+)", self.command)
        place = source[0].split("/")[-1] if source else "?"
        net = words.get("wire", words.get("port", "?"))
        return f"{self.number}: {words.get('mode')} {net}[{words.get('wirebit', '0')}] at {place}"


@dataclass(frozen=True)
class MutationResult:
    """What became of a block's mutants. ``killed``: mutant -> case that found it."""

    block: str
    parameters: Mapping[str, Any]
    seed: int
    killed: Mapping[int, str]
    equivalent: Sequence[Mutant]
    survivors: Sequence[Mutant]

    @property
    def score(self) -> float:
        """Killed of those that are not proven equivalent."""
        faults = len(self.killed) + len(self.survivors)
        return len(self.killed) / faults if faults else 0.0


def mutate_block(
    block: str,
    *,
    count: int = 200,
    seed: int = 1,
    bench_seed: int = 1,
    progress: Progress | None = None,
) -> MutationResult:
    """Plant ``count`` mutants in ``block`` and run its bench's cases of ``bench_seed`` on each.

    ``UserError`` for an unknown block or a bench that is red without a mutant.
    """
    if block not in PARAMETERS:
        raise UserError(
            f"block {block!r} has no mutants; it must be one of {', '.join(PARAMETERS)}"
        )
    if not 1 <= count <= 10_000:
        raise UserError(f"count = {count} is not allowed; allowed: an integer in 1..10000")
    tell = progress or (lambda what, done, total: None)
    parameters = PARAMETERS[block]
    bench = import_module(f"cosim.tb_{block}")
    cases = [_with_control(case) for case in bench.cases(bench_seed, parameters)]
    with tempfile.TemporaryDirectory(prefix="stepscale-") as temporary:
        folder = Path(temporary)
        tell(f"mutate {block}", 0, count)
        rtl, mutants = planted(block, parameters, folder, count, seed)
        tell(f"build {block}", 0, count)
        program = build_program(rtl)
        killed: dict[int, str] = {}
        alive: list[Mutant] = []
        with trace_of(program, cases) as trace:
            if (found := _finder(program, trace, cases, 0)) is not None:
                raise UserError(f"block {block}: case {found} is red without a mutant")
            for done, mutant in enumerate(mutants):
                tell(f"run {block}", done, count)
                found = _finder(program, trace, cases, mutant.number)
                if found is None:
                    alive.append(mutant)
                else:
                    killed[mutant.number] = found
        equivalent: list[Mutant] = []
        survivors: list[Mutant] = []
        for done, mutant in enumerate(alive):
            tell(f"prove {block}", done, len(alive))
            (equivalent if is_equivalent(folder, mutant.command) else survivors).append(mutant)
    return MutationResult(block, parameters, seed, killed, equivalent, survivors)


def _with_control(case: Case) -> Case:
    """Return ``case`` with the control input at 0: no mutant."""
    plain = {**case.trace.plain_in, CONTROL: np.zeros(case.trace.cycles, dtype=np.int64)}
    return replace(case, trace=replace(case.trace, plain_in=plain))


def planted(
    block: str, parameters: Mapping[str, Any], folder: Path, count: int, seed: int
) -> tuple[Path, list[Mutant]]:
    """Write the netlist with all mutants and its manifest; return folder and list."""
    manifest = load_manifest(emit_verilog(block, parameters, folder / "rtl"))
    files = " ".join(f"rtl/{name}" for name in manifest.files)
    run_yosys(_PREPARE.format(files=files, top=manifest.top, count=count, seed=seed), folder)
    commands = (folder / "mutants.txt").read_text().splitlines()
    mutants = [Mutant(number, command) for number, command in enumerate(commands, start=1)]
    width = len(mutants).bit_length()
    lines = [
        m.command.replace("mutate ", f"mutate -ctrl {CONTROL} {width} {m.number} ", 1)
        for m in mutants
    ]
    run_yosys(_COMBINE.format(mutations="\n".join(lines), top=manifest.top), folder)
    mutated = folder / "mutated"
    mutated.mkdir()
    shutil.move(folder / f"{manifest.top}.v", mutated)
    data = json.loads((folder / "rtl" / "manifest.json").read_text())
    data["files"] = [f"{manifest.top}.v"]
    port = {"name": CONTROL, "kind": "plain", "direction": "in", "width": width, "signed": False}
    data["ports"].append(port)
    (mutated / "manifest.json").write_text(json.dumps(data))
    return mutated, mutants


def _finder(program: Program, trace: Path, cases: Sequence[Case], mutant: int) -> str | None:
    """Name of the first case that is red with ``mutant``, None if all are green."""
    names = [case.name for case in cases]
    options = ["--value", CONTROL, str(mutant)]
    run = run_trace(program, trace, names, stop=True, options=options)
    return next((verdict.name for verdict in run.verdicts if verdict.mismatches), None)
