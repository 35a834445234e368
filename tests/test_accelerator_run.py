"""The whole accelerator under Verilator: each written word, and what it must survive."""

import random
import struct

import pytest
from amaranth.hdl import Const

import hdl.axi_reader
import hdl.dispatcher
from cosim.accelerator_run.run import CONTROL, REGISTERS, START
from golden.accelerator.executor import Executor
from golden.accelerator.instruction import CHECK_SEED, INSTRUCTION_BYTES, Cause, MachineError
from golden.accelerator.operations import Section
from golden.accelerator.program import HEADER_BYTES
from golden.accelerator.synthetic import synthetic_artifact
from tests.accelerator_player import PARAMETERS, Player, at_random, simulator_of
from tests.accelerator_runs import several_heads

DONE, ERROR = 2, 4
STOP, TIMEOUT_REGISTER, STEPS = 4, REGISTERS["timeout"], REGISTERS["steps"]


@pytest.fixture(scope="module")
def simulator(tmp_path_factory):
    return simulator_of(tmp_path_factory.mktemp("rtl"))


@pytest.fixture
def player(simulator, tmp_path):
    return Player(simulator, tmp_path, several_heads())


def other_network():
    """The same shape with other weights and tables."""
    artifact = several_heads()
    return synthetic_artifact(artifact.config, artifact.wide, steps=2, groups=2, seed=9)


# Memory


@pytest.mark.parametrize(("latency", "spread"), [(0, 0), (40, 0), (200, 0), (0, 200), (7, 3)])
def test_a_step_with_any_memory(player, latency, spread):
    player.memory(latency, spread, seed=latency).load().start().wait().read("end")
    verdict = player.check()
    assert verdict.values["end.status"] == DONE
    assert verdict.values["end.cause"] == 0


def test_two_steps_of_two_groups(simulator, tmp_path):
    Player(simulator, tmp_path, several_heads(), range(2)).memory().load().start().wait().check()


def test_the_second_step_alone(simulator, tmp_path):
    Player(simulator, tmp_path, several_heads(), range(1, 2)).memory().load().start().wait().check()


@pytest.mark.long
@pytest.mark.parametrize(
    "array",
    [{"multiplier": "mult18x18d"}, {"decode": "product_shift", "pipeline": 3}],
    ids=["mult18x18d", "product_shift"],
)
def test_other_arrays(array, tmp_path):
    simulator = simulator_of(tmp_path / "rtl", {**PARAMETERS, **array})
    Player(simulator, tmp_path, several_heads(), range(2)).memory().load().start().wait().check()


@pytest.mark.long
@pytest.mark.parametrize("seed", range(30))
def test_many_memories(player, seed):
    spread = (3, 20, 90, 200)[seed % 4]
    player.memory(seed % 5 * 10, spread, seed).load().start().wait().check()


# One run after the other


def test_two_images_in_a_row(player):
    for seed in (5, 6):
        player.memory().load(seed=seed).start().wait().read(str(seed)).recover()
    player.check()


def test_two_networks_without_reset(simulator, tmp_path):
    first = Player(simulator, tmp_path, several_heads())
    first.memory().load().start().wait().recover()
    other = Player(simulator, tmp_path / "other", other_network())
    other.folder.mkdir()
    other.lines = first.lines
    other.load().start().wait().check()


def test_writes_and_start_are_refused_while_it_runs(player):
    player.memory().load().start().say("cycles 3000")
    player.say(f"refused {CONTROL:x} {START:x}").say(f"refused {STEPS:x} 0")
    player.say("refused 40 12345678").say("refused 34 3").say("write 30 3")
    player.wait().check()


def test_unknown_registers_are_refused(player):
    for line in ("refused 0 1", "refused 24 1", "refused c0 1", "refused 80 0"):
        player.say(line)
    player.memory().load().start().wait().check()


# Resets and stops


@pytest.mark.parametrize("at", at_random(3, 6, 110_000))
def test_reset_anywhere_then_a_correct_run(player, at):
    player.memory(40, 30, at).load().start().say(f"cycles {at}").say("reset 3")
    player.load().start().wait().check()


@pytest.mark.parametrize("at", at_random(4, 4, 110_000))
def test_stop_anywhere_then_a_correct_run(player, at):
    player.memory(40, 30, at).load().start().say(f"cycles {at}")
    player.say(f"write {CONTROL:x} {STOP:x}").wait(2000).read("stopped").recover()
    player.load().start().wait()
    verdict = player.check()
    assert verdict.values["stopped.status"] == ERROR
    assert verdict.values["stopped.cause"] == Cause.STOPPED


def test_timeout(player):
    player.memory().load().say(f"write {TIMEOUT_REGISTER:x} 100").start().wait(5000).read("late")
    player.recover().say(f"write {TIMEOUT_REGISTER:x} 0").load().start().wait()
    assert player.check().values["late.cause"] == Cause.TIMEOUT


# The bus


@pytest.mark.parametrize("beat", at_random(5, 8, 7500))
def test_read_error_on_any_beat_then_a_correct_run(player, beat):
    player.memory(40, 20, beat).load().say(f"fault read {beat}").start().wait().read("failed")
    player.recover().load().start().wait()
    verdict = player.check()
    assert verdict.values["failed.status"] == ERROR
    assert verdict.values["failed.cause"] == Cause.READ_ERROR


@pytest.mark.parametrize("burst", [1, 3])
def test_write_error_then_a_correct_run(player, burst):
    player.memory(40, 20, burst).load().say(f"fault write {burst}").start().wait().read("failed")
    player.recover().load().start().wait()
    assert player.check().values["failed.cause"] == Cause.WRITE_ERROR


# Programs


def golden_cause(player, region):
    """Cause with which golden stops at a changed program, 0 for none."""
    data = bytearray(player.program.data_bytes)
    try:
        executor = Executor(
            player.simulator.config, {**player.program.regions, "program": region}, data
        )
        executor.run(player.steps)
    except MachineError as error:
        return int(error.cause)
    return 0


def play_changed(player, region):
    """Run a changed program, then the right one; return what the first one ended with."""
    player.memory().load(regions={"program": region})
    player.lines = [line for line in player.lines if not line.startswith("expect")]
    player.start().wait(2_000_000).read("changed")
    player.recover().load().start().wait()
    verdict = player.run()
    assert verdict.data == player.golden.data
    assert not verdict.missing
    assert not verdict.raw["problems"], verdict.raw["problems"]
    return verdict.values["changed.status"], verdict.values["changed.cause"]


def flipped(region, rng, *, fixed):
    """One bit of an instruction changed; ``fixed``: with a check word that agrees."""
    changed = bytearray(region)
    count = (len(region) - HEADER_BYTES) // INSTRUCTION_BYTES
    at = HEADER_BYTES + INSTRUCTION_BYTES * rng.randrange(count)
    changed[at + rng.randrange(INSTRUCTION_BYTES - 4 * fixed)] ^= 1 << rng.randrange(8)
    if fixed:
        check = CHECK_SEED
        for word in struct.unpack_from("<15I", changed, at):
            check ^= word
        struct.pack_into("<I", changed, at + 60, check)
    return bytes(changed)


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bit_is_a_wrong_check(player, seed):
    region = flipped(player.program.regions["program"], random.Random(seed), fixed=False)
    assert play_changed(player, region) == (ERROR, Cause.CHECK)


@pytest.mark.parametrize("seed", range(12))
def test_flipped_bit_behind_a_right_check_never_hangs(player, seed):
    """The cause is golden's; where golden goes on, so does the accelerator."""
    region = flipped(player.program.regions["program"], random.Random(seed), fixed=True)
    cause = golden_cause(player, region)
    status, found = play_changed(player, region)
    assert (status, found) == ((ERROR, cause) if cause else (DONE, 0))


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 220))
def test_many_flipped_bits(player, seed):
    region = flipped(player.program.regions["program"], random.Random(seed), fixed=True)
    cause = golden_cause(player, region)
    status, found = play_changed(player, region)
    assert (status, found) == ((ERROR, cause) if cause else (DONE, 0))


@pytest.mark.parametrize("seed", range(4))
def test_header_bit(player, seed):
    rng = random.Random(seed)
    changed = bytearray(player.program.regions["program"])
    changed[rng.randrange(48)] ^= 1 << rng.randrange(8)
    cause = golden_cause(player, bytes(changed))
    status, found = play_changed(player, bytes(changed))
    assert (status, found) == ((ERROR, cause) if cause else (DONE, 0))


@pytest.mark.parametrize("lost", [1, 5, 20])
def test_section_cut_short(player, lost):
    """The header says that the step section has fewer instructions."""
    header = player.program.header
    offset, size = header.sections[Section.STEP]
    sections = {**header.sections, Section.STEP: (offset, size - lost * INSTRUCTION_BYTES + 8)}
    shorter = type(header)(header.config, header.steps, header.boundaries, sections).encode()
    region = shorter + player.program.regions["program"][HEADER_BYTES:]
    assert golden_cause(player, region) == Cause.END
    assert play_changed(player, region) == (ERROR, Cause.END)


def test_table_value_that_no_artifact_has(player):
    tables = bytearray(player.program.regions["tables"])
    first = next(i for _, i in player.program.listed[Section.STEP] if i.opcode.name == "TABLE"
                 and not i["sampler_row"])  # fmt: skip
    tables[first["group_offset"]] |= 0x7F  # z of operand 0
    player.memory().load(regions={"tables": bytes(tables)}).start().wait().read("failed")
    player.recover().load().start().wait()
    assert player.check().values["failed.cause"] == Cause.TABLE_VALUE


# The harness sees faults


def no_waits(monkeypatch):
    """Units start as soon as an instruction is in their queue."""
    monkeypatch.setattr(hdl.dispatcher.Dispatcher, "_may_start", lambda *_: Const(1))


def long_pages(monkeypatch):
    """Bursts may cross 4 KB."""
    monkeypatch.setattr(hdl.axi_reader, "PAGE_BITS", 13)


@pytest.mark.parametrize(
    "fault", [no_waits, pytest.param(long_pages, marks=pytest.mark.long)], ids=lambda f: f.__name__
)
def test_planted_fault_is_red(fault, monkeypatch, tmp_path):
    fault(monkeypatch)
    player = Player(simulator_of(tmp_path / "rtl"), tmp_path, several_heads())
    verdict = player.memory().load().start().wait().run()
    assert not verdict.passed


def test_wrong_word_is_red(player):
    """One bit of one expected word."""
    player.memory().load()
    path = player.golden.folder / "vector_codes.words"
    content = bytearray(path.read_bytes())
    content[len(content) // 2 | 8] ^= 1
    path.write_bytes(bytes(content))
    verdict = player.start().wait().run()
    assert verdict.mismatches == 1
    assert not verdict.passed


def test_wrong_step_is_red(player):
    """The registers ask for another step than golden's."""
    player.memory().load().say(f"write {STEPS:x} 10001")
    verdict = player.start().wait().run()
    assert verdict.mismatches > 1000
    assert PARAMETERS["size"] == len(verdict.raw["first"][0]["got"]["lanes"])
