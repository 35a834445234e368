"""What stops the machine: every cause, and programs that are cut short or have bits flipped."""

import struct

import numpy as np
import pytest

from cosim.accelerator_run.golden_run import image_of
from golden.accelerator.compiler import compile_artifact
from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.cycles import time_section
from golden.accelerator.executor import Executor
from golden.accelerator.instruction import (
    INSTRUCTION_BYTES,
    Cause,
    Instruction,
    MachineError,
    Opcode,
)
from golden.accelerator.operations import Section
from golden.accelerator.program import HEADER_BYTES
from tests.accelerator_runs import ROOMY, filled_data, reference_x, several_heads
from tests.small_network import small_artifact


@pytest.fixture(scope="module")
def program():
    return compile_artifact(several_heads(), ROOMY)


def stopped(program, binary=None, *, config=None, data=None, regions=None, steps=None):
    """Run one step of a changed program; return the cause that stops it."""
    found = dict(program.regions) | (regions or {})
    if binary is not None:
        found["program"] = bytes(binary)
    memory = filled_data(program, several_heads()) if data is None else data
    with pytest.raises(MachineError) as error:
        Executor(config or program.header.config, found, memory).run(
            range(1) if steps is None else steps
        )
    return error.value.cause


def replaced(program, opcode, which=0, **changes):
    """The program region with fields of the ``which``-th instruction of an opcode changed."""
    numbers = [n for n, (_, i) in enumerate(program.listed[Section.STEP]) if i.opcode is opcode]
    number = numbers[which]
    instruction = program.listed[Section.STEP][number][1].replace(**changes)
    at = program.header.sections[Section.STEP][0] + number * INSTRUCTION_BYTES
    binary = bytearray(program.regions["program"])
    binary[at : at + INSTRUCTION_BYTES] = instruction.encode()
    return binary


CASES = {
    "rows-0": (Opcode.CONV, {"rows": 0}, Cause.FIELD),
    "rows-beyond": (Opcode.CONV, {"row_first": 1}, Cause.FIELD),
    "format": (Opcode.CONV, {"format": 3}, Cause.FIELD),
    "pad-alone": (Opcode.CONV, {"pad": 1}, Cause.FIELD),
    "tile": (Opcode.CONV, {"tile_rows": 40}, Cause.FIELD),
    "conv-destination": (Opcode.CONV, {"destination": 4095}, Cause.SCRATCHPAD),
    "conv-source": (Opcode.CONV, {"source0": 8191}, Cause.SCRATCHPAD),
    "conv-crosses-banks": (Opcode.CONV, {"source0": 4090}, Cause.SCRATCHPAD),
    "conv-sums": (Opcode.CONV, {"sums0": 63}, Cause.SCRATCHPAD),
    "weights": (Opcode.CONV, {"offset": 1 << 30}, Cause.EXTERNAL),
    "wait-array": (Opcode.CONV, {"wait_array": 1}, Cause.WAIT),
    "wait-mover": (Opcode.NORM, {"wait_mover": 1}, Cause.WAIT),
    "step-cap": (Opcode.NORM, {"step_cap": 65535}, Cause.WAIT),
    "step-base": (Opcode.NORM, {"step_base": 3, "step_cap": 2}, Cause.WAIT),
    "set": (Opcode.CONV, {"table_set": 7}, Cause.TABLE_SET),
    "bank": (Opcode.NORM, {"bank": 0}, Cause.TABLE_SET),
    "one-bank": (Opcode.MATMUL, {"auxiliary": 0}, Cause.SCRATCHPAD),
    "head": (Opcode.MATMUL, {"channels": 0}, Cause.FIELD),
    "groups": (Opcode.NORM, {"group_channels": 7}, Cause.FIELD),
    "no-group": (Opcode.NORM, {"group_channels": 0}, Cause.FIELD),
    "norm-channels": (Opcode.NORM, {"channels": 17}, Cause.FIELD),
    "norm-format": (Opcode.NORM, {"format": 0}, Cause.FIELD),
    "few-lanes": (Opcode.CONV, {"chunks": 4, "sums": 0}, Cause.TABLE_SET),
    "few-norm-lanes": (Opcode.NORM, {"chunks1": 1, "channels1": 4}, Cause.TABLE_SET),
    "window": (Opcode.EDGE, {"chunks": 1}, Cause.FIELD),
    "keys": (Opcode.SOFTMAX, {"channels": 3}, Cause.FIELD),
    "image-channels": (Opcode.SAMPLE, {"channels": 9}, Cause.FIELD),
    "sample-eps": (Opcode.SAMPLE, {"auxiliary": 4090}, Cause.SCRATCHPAD),
    "table-tiles": (Opcode.TABLE, {"chunks": 33}, Cause.FIELD),
    "norm-lanes": (Opcode.TABLE, {"norm_chunks": 65}, Cause.FIELD),
    "table-offset": (Opcode.TABLE, {"step_offset": 1 << 31}, Cause.EXTERNAL),
    "table-stride": (Opcode.TABLE, {"group_stride": 1 << 31}, Cause.EXTERNAL),
    "load-words": (Opcode.LOAD, {"words": 0}, Cause.FIELD),
    "load-offset": (Opcode.LOAD, {"offset": 1 << 20}, Cause.EXTERNAL),
    "load-odd": (Opcode.LOAD, {"offset": 4}, Cause.EXTERNAL),
    "table-odd": (Opcode.TABLE, {"step_stride": 32}, Cause.EXTERNAL),
    "weights-odd": (Opcode.CONV, {"offset": 8}, Cause.EXTERNAL),
    "load-destination": (Opcode.LOAD, {"destination": 4090}, Cause.SCRATCHPAD),
}


@pytest.mark.parametrize("name", CASES)
def test_every_cause(program, name):
    opcode, changes, cause = CASES[name]
    assert stopped(program, replaced(program, opcode, **changes)) is cause


def test_a_program_without_end(program):
    binary = bytearray(program.regions["program"])
    offset, size = program.header.sections[Section.STEP]
    load = Instruction(Opcode.TABLE, {"sampler_row": 1}).encode()
    binary[offset + size - INSTRUCTION_BYTES : offset + size] = load
    assert stopped(program, binary) is Cause.END


def test_another_configuration_and_steps_outside(program):
    other = AcceleratorConfig(size=16, code_words=8192)
    assert stopped(program, config=other) is Cause.CONFIGURATION
    assert stopped(program, steps=range(1, 3)) is Cause.CONFIGURATION
    assert stopped(program, steps=range(0)) is Cause.CONFIGURATION


@pytest.mark.parametrize("kept", [0, 255, 256, 300, 384, 1000, 5000])
def test_truncated_programs(program, kept):
    cause = stopped(program, program.regions["program"][:kept])
    assert cause in (Cause.CONFIGURATION, Cause.EXTERNAL)


@pytest.mark.parametrize("name", ["weights", "tables"])
def test_truncated_images(program, name):
    half = program.regions[name][: len(program.regions[name]) // 2]
    assert stopped(program, regions={name: half}) is Cause.EXTERNAL


@pytest.mark.parametrize(
    ("field", "at", "value"),
    [("group_offset", 0, 113), ("group_offset", 4, 5 << 7), ("group_offset", 8, 48 << 16),
     ("group_offset", 16, 7 << 28), ("group_offset", 32, 63 << 16), ("norm_offset", 0, 0),
     ("norm_offset", 4, 1 << 31), ("norm_offset", 8, 0), ("norm_offset", 8, 1 << 20)],
)  # fmt: skip
def test_table_values_that_no_artifact_has(program, field, at, value):
    table = program.listed[Section.STEP][3][1]
    assert table.opcode is Opcode.TABLE
    assert table["norm_chunks"]
    tables = bytearray(program.regions["tables"])
    struct.pack_into("<I", tables, table[field] + at, value)
    if (field, at, value) == ("norm_offset", 0, 0):
        struct.pack_into("<I", tables, table[field] + 4, 0)
    assert stopped(program, regions={"tables": bytes(tables)}) is Cause.TABLE_VALUE


def test_a_short_data_region(program):
    assert stopped(program, data=bytearray(64)) is Cause.EXTERNAL


@pytest.mark.parametrize("seed", range(12))
def test_flipped_bits_of_the_instructions(program, seed):
    draw = np.random.Generator(np.random.PCG64(seed))
    binary = bytearray(program.regions["program"])
    bit = int(draw.integers(8 * HEADER_BYTES, 8 * len(binary)))
    binary[bit // 8] ^= 1 << bit % 8
    with pytest.raises(MachineError) as error:
        data = filled_data(program, several_heads())
        Executor(ROOMY, {**program.regions, "program": bytes(binary)}, data).run(range(1))
    assert error.value.cause is Cause.CHECK


@pytest.mark.parametrize("seed", range(24))
def test_random_fields_stop_the_machine_or_do_no_harm(program, seed):
    """Fields of any value with a right check: a cause, or a run to the end; never an exception."""
    draw = np.random.Generator(np.random.PCG64(seed))
    offset, size = program.header.sections[Section.STEP]
    at = offset + INSTRUCTION_BYTES * int(draw.integers(0, size // INSTRUCTION_BYTES))
    binary = bytearray(program.regions["program"])
    words = list(struct.unpack_from("<16I", binary, at))
    word, bit = int(draw.integers(0, 15)), int(draw.integers(0, 32))
    words[word] ^= 1 << bit
    words[15] ^= 1 << bit
    struct.pack_into("<16I", binary, at, *words)
    data = filled_data(program, several_heads())
    try:
        Executor(ROOMY, {**program.regions, "program": bytes(binary)}, data).run(range(1))
    except MachineError as error:
        assert error.cause in Cause
        return
    # what is legal also comes to its end, whatever it waits for
    starts = range(offset, offset + size, INSTRUCTION_BYTES)
    legal = [Instruction.decode(bytes(binary[at : at + INSTRUCTION_BYTES])) for at in starts]
    assert time_section(ROOMY, legal).cycles > 0


def test_a_run_after_a_fault_is_right(program):
    """The state that a stopped run leaves behind changes nothing."""
    artifact = several_heads()
    data = filled_data(program, artifact)
    machine = Executor(ROOMY, program.regions, data)
    generator = np.random.Generator(np.random.PCG64(1))
    machine.state.stream[:] = generator.integers(-32768, 32768, machine.state.stream.shape)
    machine.state.codes[:] = generator.integers(0, 4096, machine.state.codes.shape)
    machine.state.S1[:] = machine.state.S2[:] = 12345
    machine.run(range(2))
    assert np.array_equal(image_of(program, artifact, data, "x0"), reference_x(artifact, 2))


def test_two_programs_one_after_the_other_do_not_mix():
    small = compile_artifact(small_artifact(), ROOMY)
    data = filled_data(small, small_artifact())
    Executor(ROOMY, small.regions, data).run(range(1))
    expected = reference_x(small_artifact(), 1)
    assert np.array_equal(image_of(small, small_artifact(), data, "x0"), expected)
