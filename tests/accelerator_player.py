"""A small network on a small accelerator, and scenarios that go wrong on the way."""

import random
from dataclasses import dataclass
from pathlib import Path

from cosim.accelerator_run.build import Simulator, build_simulator
from cosim.accelerator_run.golden_run import GoldenRun, data_region, golden_run
from cosim.accelerator_run.run import (
    CLEAR,
    CONTROL,
    INTERRUPT,
    REGISTERS,
    START,
    Verdict,
    load_lines,
    play,
    register_lines,
)
from cosim.bench import emit_verilog
from golden.accelerator.compiler import Program, compile_artifact
from golden.accelerator.writes import PORTS
from golden.calibration.artifact import Artifact
from tests.accelerator_runs import SEED

__all__ = ["PARAMETERS", "Player", "at_random", "simulator_of"]

PARAMETERS = {"size": 8, "code_words": 8192, "trace": 1}
CYCLES = 400_000  # a step takes 120,000
STATUS, CAUSE, ADDRESS = (REGISTERS[name] for name in ("status", "cause", "address"))


def simulator_of(folder, parameters=None):
    """Generate and build."""
    return build_simulator(emit_verilog("accelerator", parameters or PARAMETERS, folder))


@dataclass
class Player:
    """Commands of one simulation, put together call by call, and what must come of it."""

    simulator: Simulator
    folder: Path
    artifact: Artifact
    steps: range = range(1)

    def __post_init__(self):
        self.program: Program = compile_artifact(self.artifact, self.simulator.config)
        self.lines: list[str] = []
        self.runs = 0
        self.golden: GoldenRun | None = None

    def memory(self, latency=40, spread=0, seed=1):
        """How external memory answers from now on."""
        self.lines.append(f"memory {latency} {spread} {seed}")
        return self

    def load(self, *, seed=SEED, regions=None, program=None):
        """Fill memory and set the registers; what golden writes is expected."""
        self.runs += 1
        folder = self.folder / str(self.runs)
        folder.mkdir()
        self.program = program or self.program
        data = data_region(self.program, self.artifact, seed)
        self.golden = golden_run(self.program, data, self.steps, folder)
        self.lines += load_lines(self.program, data, folder)
        for name, content in (regions or {}).items():
            path = folder / f"{name}.changed"
            path.write_bytes(content)
            base = next(line.split()[1] for line in self.lines[::-1] if f"/{name}.bin" in line)
            self.lines.append(f"load {base} {path}")
        self.expect()
        self.lines += register_lines(self.program, self.steps, len(data))
        return self

    def expect(self):
        """Every word of a run, from the first one on."""
        assert self.golden is not None
        self.lines += [f"expect {port} {self.golden.folder / port}.words" for port in PORTS]
        return self

    def start(self):
        self.lines.append(f"write {CONTROL:x} {START:x}")
        return self

    def wait(self, cycles=CYCLES):
        self.lines.append(f"wait {cycles}")
        return self

    def say(self, line):
        self.lines.append(line)
        return self

    def read(self, name):
        """Status, cause and address as ``<name>.status`` and so on."""
        for part, at in (("status", STATUS), ("cause", CAUSE), ("address", ADDRESS)):
            self.lines.append(f"read {at:x} {name}.{part}")
        return self

    def recover(self):
        """Forget the error and the interrupt; memory is as it was before the run."""
        self.lines += [f"write {CONTROL:x} {CLEAR:x}", f"write {INTERRUPT:x} 3"]
        return self

    def run(self) -> Verdict:
        """Play it all."""
        base = 0x4000_0000
        assert self.golden is not None
        size = len(self.golden.data)
        dump = f"dump {base:x} {size:x} {self.folder / 'data.out'}"
        return play(self.simulator, [*self.lines, dump], self.folder, 600)

    def check(self):
        """Play it all; the last run must have given every word and the image."""
        verdict = self.run()
        assert verdict.passed, verdict.summary()
        assert verdict.compared
        assert self.golden is not None
        assert verdict.data == self.golden.data
        return verdict


def at_random(seed, count, top):
    """Numbers of cycles, beats or bits, from the first to the last."""
    rng = random.Random(seed)
    return [1 + rng.randrange(top // count) + n * (top // count) for n in range(count)]
