"""The cycle model beside the RTL: start and end of every instruction of a step, and whole runs."""

import json

import pytest

from cosim.accelerator_run.run import ExternalMemory
from cosim.accelerator_suite import accelerator_tasks
from golden.accelerator.cycles import time_section
from golden.accelerator.instruction import Unit
from golden.accelerator.operations import Section
from golden.accelerator.timing.latencies import Memory, Place
from golden.calibration.artifact import embedded_artifact
from tests.accelerator_player import Player, simulator_of
from tests.accelerator_runs import several_heads

UNITS = {Unit.ARRAY: "array", Unit.VECTOR: "vector", Unit.MOVER: "mover", Unit.LOADER: "loader"}
MOVER_CYCLES = 1200  # LOAD and STORE of an image: room in the reader's buffer is not modelled


def differences(program, verdict, steps, memory):
    """(section, operation, start and end counted minus predicted) where they differ."""
    header, place = program.header, dict.fromkeys(UNITS.values(), 0)
    runs = [(Section.START, steps.start), *((Section.STEP, step) for step in steps),
            (Section.FINISH, steps.stop - 1)]  # fmt: skip
    found = []
    for section, step in runs:
        group = sum(boundary <= step for boundary in header.boundaries)
        where = Place(header.steps, len(header.boundaries) + 1, step, group)
        listed = program.listed[section]
        lines = time_section(header.config, [i for _, i in listed], memory, place=where).lines
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


@pytest.mark.cosim
@pytest.mark.parametrize("latency", [0, 40, 200])
def test_small_network(latency, tmp_path):
    """Heads that share chunks at size 8: the model is not exact here, and stays close."""
    player = Player(simulator_of(tmp_path / "rtl"), tmp_path, several_heads())
    verdict = player.memory(latency).load().start().wait().check()
    found = differences(player.program, verdict, player.steps, Memory(latency, 16))
    step = [entry for entry in found if entry[0] is Section.STEP]
    assert max(abs(n) for entry in step for n in entry[3:]) <= 200


@pytest.mark.cosim
@pytest.mark.parametrize("latency", [0, 40, 200])
def test_step_of_the_embedded_network(latency, tmp_path):
    """Every start and end but that of the sampler's row, of 142 instructions in 283,000 cycles."""
    task, _ = accelerator_tasks("unet", artifact=None, size=16, seed=1, rtl=None)
    player = Player(simulator_of(tmp_path / "rtl", task.parameters), tmp_path, embedded_artifact())
    verdict = player.memory(latency).load(seed=1).start().wait().check()
    found = differences(player.program, verdict, player.steps, Memory(latency, 16))
    step = [entry for entry in found if entry[0] is Section.STEP]
    assert len(step) <= 2, step
    assert max(abs(n) for entry in step for n in entry[3:]) <= 1
    moves = [entry for entry in found if entry[0] is not Section.STEP]
    assert {entry[1] for entry in moves} <= {Unit.MOVER}
    assert max(abs(n) for entry in moves for n in entry[3:]) <= MOVER_CYCLES


@pytest.mark.cosim
def test_a_run_is_predicted_to_a_thousandth(tmp_path):
    task, _ = accelerator_tasks("unet", artifact=None, size=16, seed=1, rtl=None)
    assert task.memory == ExternalMemory()
    (case,) = task.run(False, 3).cases
    assert case.mismatch_count == 0
    assert abs(case.cycles - case.predicted_cycles) < case.cycles * 3e-3, json.dumps(case.cycles)
