"""Suites ``unet`` and ``image``: every word that the accelerator writes in a step, or in all."""

import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cosim.accelerator_run.build import build_simulator
from cosim.accelerator_run.golden_run import GoldenRun, data_region, golden_run, image_of
from cosim.accelerator_run.run import ExternalMemory, Verdict, image_scenario, play
from cosim.bench import emit_verilog
from cosim.mismatch import Mismatch
from cosim.report import BenchResult, CaseResult
from golden.accelerator.compiler import Program, compile_artifact, compile_roomy
from golden.accelerator.cycles import time_run
from golden.calibration.artifact import Artifact, embedded_artifact
from golden.files import atomic_write, cache_folder, ensure_writable_folder

__all__ = ["AcceleratorTask", "accelerator_tasks"]

Progress = Callable[[str, int, int], None]
MEMORIES: Mapping[str, ExternalMemory] = {
    "ready": ExternalMemory(),
    "random": ExternalMemory(latency=0, spread=200),
}
CYCLES_PER_PREDICTED = 20  # before a run counts as standing still
CYCLES_PER_SECOND_AT_LEAST = 2000
NEARLY = 4  # cycles that the model is off at most where a narrow bus starves the array


@dataclass(frozen=True)
class AcceleratorTask:
    """Steps of one image on one accelerator, with one kind of memory.

    ``artifact``: None for the embedded one. ``seed``: of the memory, and of the noise where the
    artifact names none. ``image``: gets the RTL's image, (C, H, W) int16 as ``.npy``.
    """

    name: str
    artifact: Path | None
    steps: range
    parameters: Mapping[str, Any]
    memory: ExternalMemory
    seed: int
    rtl: Path | None
    words: tuple[str, ...]
    image: Path | None = None
    block: str = "accelerator"

    def run(self, waves: bool, level: int, progress: Progress | None = None) -> BenchResult:
        """Compile, run golden and RTL, compare every written word and the image.

        Also the cycles, if memory answers after a fixed latency: exactly, with 16 bytes a beat or
        more, two reads outstanding and buffers of 64 beats.
        """
        tell = progress or (lambda what, done, total: None)
        began = time.perf_counter()
        artifact = embedded_artifact() if self.artifact is None else Artifact.load(self.artifact)
        runs = ensure_writable_folder(cache_folder() / "runs")
        folder = Path(tempfile.mkdtemp(prefix="accelerator-", dir=runs))
        try:
            tell("build accelerator", 0, 1)
            rtl = self.rtl or emit_verilog("accelerator", self.parameters, folder / "rtl")
            simulator = build_simulator(rtl)
            program = compile_artifact(artifact, simulator.config)
            data = data_region(program, artifact, _noise_seed(artifact, self.seed))
            golden = golden_run(
                program, data, self.steps, folder, lambda n, of: tell("golden model", n, of)
            )
            tell(f"simulate {self.name}", 0, 1)
            latency = self.memory.latency + self.memory.spread
            predicted = time_run(
                program, self.steps, simulator.memory(latency), simulator.arithmetic
            )
            memory = replace(self.memory, seed=self.seed)
            limit = CYCLES_PER_PREDICTED * predicted
            commands = image_scenario(program, data, golden, self.steps, folder, memory, limit)
            started = time.perf_counter()
            verdict = play(simulator, commands, folder, 120 + limit / CYCLES_PER_SECOND_AT_LEAST)
            seconds = time.perf_counter() - started
            starved = simulator.axi_bytes < 16 or simulator.outstanding < 2 or simulator.buffer < 64
            within = NEARLY if starved else 0
            case = self._case(program, artifact, golden, verdict, predicted, within, seconds)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        wall = time.perf_counter() - began
        return BenchResult("accelerator", dict(self.parameters), [case], wall, seconds, level=level)

    def _case(
        self,
        program: Program,
        artifact: Artifact,
        golden: GoldenRun,
        verdict: Verdict,
        predicted: int,
        within: int,
        seconds: float,
    ) -> CaseResult:
        found = _mismatches(program, golden, verdict)
        images = (image_of(program, artifact, d, "image") for d in (golden.data, verdict.data))
        wrong = int((np.not_equal(*images)).sum()) if verdict.data else 1
        if self.image is not None and verdict.data:
            with atomic_write(self.image) as temporary, temporary.open("wb") as stream:
                np.save(stream, image_of(program, artifact, verdict.data, "image"))
        if wrong and not found:
            found.append(Mismatch("image", "data", -1, -1, "", -1, "golden's bytes",
                                  f"{wrong} other bytes", -1, {}))  # fmt: skip
        counted = verdict.values.get("cycles", verdict.raw["cycles"])
        if abs(counted - predicted) > within and not self.memory.spread and not found:
            found.append(Mismatch("cycles", "registers", -1, -1, "cycles", -1, str(predicted),
                                  str(counted), -1, {}))  # fmt: skip
        return CaseResult(
            self.name,
            "accelerator",
            self.seed,
            counted,
            predicted,
            verdict.compared,
            max(verdict.mismatches + verdict.missing + len(verdict.raw["problems"]), len(found)),
            found,
            sorted({_group(program, step) for step in self.steps}),
            {},
            shlex.join(["stepscale", "cosim", *self.words, "--case", self.name]),
            seconds=seconds,
        )


def _noise_seed(artifact: Artifact, otherwise: int) -> int:
    """Seed of the artifact's reference noise, if it names one."""
    return int(artifact.provenance.get("reference_noise", {}).get("seed", otherwise))


def _group(program: Program, step: int) -> int:
    return sum(boundary <= step for boundary in program.header.boundaries)


def _mismatches(program: Program, golden: GoldenRun, verdict: Verdict) -> list[Mismatch]:
    """The kept mismatches in words of the network; then what never came, then the bus."""
    found = []
    for entry in verdict.raw["first"]:
        port, word = entry["port"], entry["word"]
        got, expected = entry["got"], entry["expected"]
        if expected is None:
            kind, lane, pair = "extra", -1, (str(golden.words[port]), str(word + 1))
        else:
            kind, lane, pair = _difference(expected, got)
        labels = _labels(program, golden, port, word)
        group = _group(program, int(labels["step"])) if "step" in labels else -1
        found.append(Mismatch(kind, port, entry["cycle"], word, kind, lane, *pair, group, labels))
    for port, counts in verdict.raw["ports"].items():
        if counts["left"] and not verdict.mismatches:
            total, came = golden.words[port], counts["compared"]
            labels = _labels(program, golden, port, came)
            found.append(
                Mismatch("missing", port, -1, came, "", -1, str(total), str(came), -1, labels)
            )
    for text in verdict.raw["problems"]:
        found.append(Mismatch("bus", "m_axi", -1, -1, "", -1, "legal use", text, -1, {}))
    return found


def _difference(
    expected: Mapping[str, Any], got: Mapping[str, Any]
) -> tuple[str, int, tuple[str, str]]:
    for kind in ("address", "mask"):
        if expected[kind] != got[kind]:
            return kind, -1, (str(expected[kind]), str(got[kind]))
    pairs = zip(expected["lanes"], got["lanes"], strict=True)
    lane = next(n for n, (a, b) in enumerate(pairs) if a != b and expected["mask"] >> n & 1)
    return "word", lane, (str(expected["lanes"][lane]), str(got["lanes"][lane]))


def _labels(program: Program, golden: GoldenRun, port: str, word: int) -> dict[str, str | int]:
    origin = golden.origin(port, word)
    if origin is None:
        return {}
    operation, _ = program.listed[origin.section][origin.number]
    label = operation.label if operation is not None else ""
    return {"step": origin.step, "layer": label, "operation": origin.opcode}


def accelerator_tasks(
    suite: str,
    *,
    artifact: Path | None,
    size: int,
    seed: int,
    rtl: Path | None,
    image: Path | None = None,
) -> list[AcceleratorTask]:
    """Return the tasks of suite ``unet`` (a step, two memories) or ``image`` (all steps).

    Scratchpads are the usual ones, or larger where the network needs it.
    """
    made = embedded_artifact() if artifact is None else Artifact.load(artifact)
    words = ["--suite", suite, "--rows", str(size), "--cols", str(size), "--seed", str(seed)]
    for option, path in (("--artifact", artifact), ("--rtl", rtl)):
        words += [option, str(path)] if path is not None else []
    parameters = {**asdict(compile_roomy(made, size).header.config), "trace": 1}
    steps = range(made.steps) if suite == "image" else range(made.steps // 2, made.steps // 2 + 1)
    memories = ("ready",) if suite == "image" else ("ready", "random")
    return [
        AcceleratorTask(f"{suite} {name}", artifact, steps, parameters, MEMORIES[name], seed, rtl,
                        tuple(words), image)
        for name in memories
    ]  # fmt: skip
