"""Plays scenarios on a simulator, and the one that matters: start, run, image."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cosim.accelerator_run.build import Simulator
from cosim.accelerator_run.golden_run import GoldenRun
from cosim.process_group import run_group
from golden.accelerator.compiler import Program
from golden.accelerator.writes import PORTS
from golden.errors import UserError
from hdl.register_map import addresses

__all__ = ["BASES", "ExternalMemory", "Verdict", "image_scenario", "play"]

BASES: Mapping[str, int] = {
    "program": 0x1000_0000,
    "weights": 0x2000_0000,
    "tables": 0x1_3000_0000,
    "data": 0x4000_0000,
}
"""Where the regions lie in the bus's address space."""
REGISTERS = addresses()
CONTROL, MASK, INTERRUPT, STEPS = (
    REGISTERS[name] for name in ("control", "mask", "interrupt", "steps")
)
READ_BACK = {name: REGISTERS[name] for name in ("status", "cause", "address", "step")} | {
    name: REGISTERS[f"{name}_low"] for name in ("cycles", "array_beats", "vector_beats")
}
START, CLEAR = 1, 2


@dataclass(frozen=True)
class ExternalMemory:
    """First data ``latency`` cycles after a request, ``spread`` more at most, from ``seed``."""

    latency: int = 40
    spread: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Verdict:
    """What a simulation saw; ``raw`` is the program's own report."""

    raw: Mapping[str, Any] = field(repr=False)
    data: bytes = field(repr=False)

    @property
    def values(self) -> Mapping[str, int]:
        """Registers that the scenario read."""
        return self.raw["values"]

    @property
    def mismatches(self) -> int:
        """Words that differ, and words that should not have been written."""
        return self.raw["mismatches"]

    @property
    def missing(self) -> int:
        """Words that were never written."""
        return sum(port["left"] for port in self.raw["ports"].values())

    @property
    def compared(self) -> int:
        """Words that were written and compared."""
        return sum(port["compared"] for port in self.raw["ports"].values())

    @property
    def passed(self) -> bool:
        """Whether every word came, was right, and the bus was used as it may be."""
        return not (self.mismatches or self.missing or self.raw["problems"])

    def summary(self) -> str:
        """One line, or the first thing that is wrong."""
        if self.raw["problems"]:
            return str(self.raw["problems"][0])
        if self.mismatches:
            first = self.raw["first"][0]
            return f"{self.mismatches} mismatches, first: {json.dumps(first)}"
        return (
            f"{self.compared} words compared, {self.missing} missing, {self.raw['cycles']} cycles"
        )


def load_lines(program: Program, data: bytes, folder: Path) -> list[str]:
    """Commands that fill external memory; the files are written into ``folder``."""
    lines = []
    for name, content in (*program.regions.items(), ("data", data)):
        (folder / f"{name}.bin").write_bytes(content)
        lines.append(f"load {BASES[name]:x} {folder / name}.bin")
    return lines


def register_lines(program: Program, steps: range, data_bytes: int) -> list[str]:
    """Commands that set the registers of a run."""
    sizes = {name: len(content) for name, content in program.regions.items()}
    sizes["data"] = data_bytes
    lines = [f"write {STEPS:x} {steps.start | (steps.stop - 1) << 16:x}", f"write {MASK:x} 3"]
    for name, base in BASES.items():
        words = {"base_low": base & 0xFFFF_FFFF, "base_high": base >> 32, "size": sizes[name]}
        lines += [f"write {REGISTERS[f'{name}_{k}']:x} {value:x}" for k, value in words.items()]
    return lines


def image_scenario(
    program: Program,
    data: bytes,
    golden: GoldenRun,
    steps: range,
    folder: Path,
    memory: ExternalMemory,
    cycles_max: int,
) -> list[str]:
    """Commands of one run from the noise in ``data`` to the bytes of ``golden``."""
    return [
        f"memory {memory.latency} {memory.spread} {memory.seed}",
        *load_lines(program, data, folder),
        *(f"expect {port} {golden.folder / port}.words" for port in PORTS),
        *register_lines(program, steps, len(data)),
        f"write {CONTROL:x} {START:x}",
        f"wait {cycles_max}",
        *(f"read {at:x} {name}" for name, at in READ_BACK.items()),
        f"dump {BASES['data']:x} {len(data):x} {folder / 'data.out'}",
    ]


def play(
    simulator: Simulator, commands: Sequence[str], folder: Path, seconds: float = 3600
) -> Verdict:
    """Play ``commands``; ``UserError`` if the program ends without a verdict."""
    scenario, verdict, log = (folder / name for name in ("scenario", "verdict.json", "log"))
    scenario.write_text("\n".join(commands) + "\n")
    verdict.unlink(missing_ok=True)
    with log.open("w") as stream:
        status = run_group(
            [str(simulator.path), str(scenario), str(verdict)],
            cwd=folder, env={}, stdout=stream, timeout_seconds=seconds,
        )  # fmt: skip
    if status or not verdict.is_file():
        lines = log.read_text(errors="replace").splitlines()
        raise UserError(
            f"simulation of the accelerator: status {status}: {lines[-1] if lines else 'no output'}"
        )
    found = folder / "data.out"
    data = found.read_bytes() if found.is_file() else b""
    return Verdict(json.loads(verdict.read_text()), data)
