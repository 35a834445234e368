"""The cycle model beside the RTL: start and end of every instruction of a step, and whole runs."""

from dataclasses import asdict

import pytest

from cosim import accelerator_suite
from cosim.accelerator_suite import accelerator_tasks
from golden.accelerator.compiler import compile_roomy
from golden.accelerator.configuration import SIZES
from golden.accelerator.cycles import time_run, time_section
from golden.accelerator.instruction import Unit
from golden.accelerator.operations import Section
from golden.accelerator.timing.latencies import Place
from golden.calibration.artifact import embedded_artifact
from tests.accelerator_player import Player, simulator_of
from tests.accelerator_runs import several_heads

UNITS = {Unit.ARRAY: "array", Unit.VECTOR: "vector", Unit.MOVER: "mover", Unit.LOADER: "loader"}


def differences(program, verdict, steps, memory, arithmetic):
    """(section, operation, start and end counted minus predicted) where they differ."""
    header, place = program.header, dict.fromkeys(UNITS.values(), 0)
    runs = [(Section.START, steps.start), *((Section.STEP, step) for step in steps),
            (Section.FINISH, steps.stop - 1)]  # fmt: skip
    found = []
    for section, step in runs:
        group = sum(boundary <= step for boundary in header.boundaries)
        where = Place(header.steps, len(header.boundaries) + 1, step, group)
        listed = program.listed[section]
        instructions = [i for _, i in listed]
        lines = time_section(header.config, instructions, memory, where, arithmetic).lines
        base = None
        for (operation, i), line in zip(listed, lines, strict=True):
            name = UNITS.get(i.unit)
            if name is None:
                continue
            counted = [
                verdict.raw["units"][name][kind][place[name]] for kind in ("start", "finish")
            ]
            place[name] += 1
            base = counted[0] - line.start if base is None else base
            difference = (counted[0] - base - line.start, counted[1] - base - line.end)
            if difference != (0, 0):
                label = i.opcode.name if operation is None else operation.label
                found.append((section, i.unit, label, *difference))
    return found


def compare(player, latency, within=0):
    """Play it; every start and end, and the cycles of the whole run, to ``within`` cycles."""
    memory, arithmetic = player.simulator.memory(latency), player.simulator.arithmetic
    predicted = time_run(player.program, player.steps, memory, arithmetic)
    play = player.memory(latency).load().start().wait(2 * predicted).say("read 80 cycles")
    verdict = play.check()
    found = differences(player.program, verdict, player.steps, memory, arithmetic)
    assert [d for d in found if max(abs(d[-2]), abs(d[-1])) > within] == []
    assert abs(verdict.values["cycles"] - predicted) <= within


@pytest.mark.cosim
@pytest.mark.parametrize("latency", [0, 40, 200])
def test_small_network(latency, tmp_path):
    """Heads that share chunks, three channels, concatenations, two steps and groups; size 8."""
    compare(Player(simulator_of(tmp_path / "rtl"), tmp_path, several_heads(), range(2)), latency)


@pytest.mark.cosim
@pytest.mark.long
@pytest.mark.parametrize(
    "arithmetic",
    [
        {"multiplier": "mult18x18d"},
        {"decode": "product_shift", "pipeline": 3},
        {"decode": "product_shift", "multiplier": "mult18x18d"},
        {"size": 16, "multiplier": "mult18x18d"},
        {"size": 4, "pipeline": 2},
    ],
    ids=lambda a: "-".join(map(str, a.values())),
)
def test_other_arithmetic(arithmetic, tmp_path):
    """Arrays and SiLU of another latency."""
    artifact = several_heads()
    size = arithmetic.get("size", 8)
    config = asdict(compile_roomy(artifact, size).header.config)
    simulator = simulator_of(tmp_path / "rtl", {**config, **arithmetic, "trace": 1})
    for latency in (0, 40):
        folder = tmp_path / str(latency)
        folder.mkdir()
        compare(Player(simulator, folder, artifact, range(2)), latency)


@pytest.mark.cosim
@pytest.mark.long
@pytest.mark.parametrize("latency", [0, 40, 200])
def test_step_of_the_embedded_network(latency, tmp_path):
    """All 145 instructions of 285,000 cycles."""
    task, _ = accelerator_tasks("unet", artifact=None, size=16, seed=1, rtl=None)
    simulator = simulator_of(tmp_path / "rtl", task.parameters)
    compare(Player(simulator, tmp_path, embedded_artifact()), latency)


@pytest.mark.cosim
@pytest.mark.long
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("axi_bytes", "outstanding", "buffer"),
    [(8, 8, 64), (32, 4, 64), (16, 1, 64), (16, 16, 256), (16, 8, 16)],
)
def test_any_shape_and_bus(size, axi_bytes, outstanding, buffer, tmp_path):
    """Every written word, every start and end; a bus that starves units may be 4 cycles off."""
    within = 0 if axi_bytes > 8 and outstanding > 1 and buffer > 16 else 4
    artifact = several_heads()
    config = asdict(compile_roomy(artifact, size).header.config)
    bus = {"axi_bytes": axi_bytes, "outstanding": outstanding, "buffer": buffer}
    simulator = simulator_of(tmp_path / "rtl", {**config, **bus, "trace": 1})
    for latency in (0, 15, 100):
        folder = tmp_path / str(latency)
        folder.mkdir()
        compare(Player(simulator, folder, artifact), latency, within)


@pytest.mark.cosim
@pytest.mark.long
@pytest.mark.parametrize("latency", [0, 40, 200])
def test_spilled_tensor(latency, tmp_path):
    """A STORE and a LOAD in each step, and banks that several units want."""
    parameters = {"size": 16, "stream_words": 2304, "trace": 1}
    simulator = simulator_of(tmp_path / "rtl", parameters)
    compare(Player(simulator, tmp_path, embedded_artifact(), range(24, 26)), latency)


@pytest.mark.cosim
def test_the_suite_checks_the_cycles_of_its_run(monkeypatch, tmp_path):
    path = tmp_path / "artifact.safetensors"
    several_heads().save(path)
    task, _ = accelerator_tasks("unet", artifact=path, size=8, seed=1, rtl=None)
    (case,) = task.run(False, 3).cases
    assert case.mismatch_count == 0
    assert case.cycles == case.predicted_cycles
    monkeypatch.setattr(accelerator_suite, "time_run", lambda *_: case.cycles + 1)
    (late,) = task.run(False, 3).cases
    assert late.mismatch_count == 1
    text = f"stream registers, field cycles: cycles expected {case.cycles + 1}, got {case.cycles}"
    assert str(late.mismatches[0]) == text
