"""Compiled programs, run from their bytes alone, give the integers of the network."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from cosim.accelerator_run.golden_run import image_of
from golden.accelerator.compiler import compile_artifact
from golden.accelerator.configuration import AcceleratorConfig, SizeError
from golden.accelerator.instruction import Opcode
from golden.accelerator.lowering.bands import bands
from golden.accelerator.operations import Section, Space
from golden.calibration.artifact import embedded_artifact
from golden.calibration.topology import layers
from golden.errors import UserError
from golden.integer.network import IntegerNetwork
from golden.network.presets import preset
from golden.network.samplers import START, noise_q12
from golden.sampler import image_byte
from tests.accelerator_runs import ROOMY, SEED, reference_x, run, several_heads
from tests.small_network import STEPS, small_artifact


def check(artifact, config, steps):
    program = compile_artifact(artifact, config)
    data = run(program, artifact, range(steps))
    expected = reference_x(artifact, steps)
    assert len(np.unique(expected)) > 20
    assert np.array_equal(image_of(program, artifact, data, "x0"), expected)
    assert np.array_equal(image_of(program, artifact, data, "image"), image_byte(expected))
    return program


@pytest.mark.parametrize("size", [4, 8, 16, 32])
def test_a_trajectory_of_the_small_network(size):
    check(small_artifact(), AcceleratorConfig(size=size), STEPS)


@pytest.mark.parametrize("size", [4, 32])
def test_heads_inside_a_chunk_and_noise(size):
    program = check(several_heads(), AcceleratorConfig(size=size, code_words=8192), 2)
    assert "noise" in program.data


def test_a_step_of_the_embedded_network():
    artifact, step = embedded_artifact(), 24  # first of its group
    program = compile_artifact(artifact, AcceleratorConfig())
    assert program.bands == 0
    seen = {}

    def observe(section, number, instruction, state):
        if instruction.opcode is Opcode.SAMPLE and section is Section.STEP:
            start, words = instruction["auxiliary"], 256
            seen["eps"] = state.stream[start : start + words, 0].reshape(16, 16).copy()

    data = run(program, artifact, range(step, step + 1), observe)
    x = noise_q12(SEED, 0, START, (1, 16, 16))
    eps = IntegerNetwork(artifact).eps(torch.from_numpy(x[None]), step)
    assert np.array_equal(seen["eps"], eps[0, 0])
    assert image_of(program, artifact, data, "x0").any()


@pytest.mark.long
def test_a_whole_trajectory_of_the_embedded_network():
    artifact = embedded_artifact()
    program = compile_artifact(artifact, AcceleratorConfig())
    data = run(program, artifact, range(artifact.steps))
    x0 = IntegerNetwork(artifact).sample(SEED, range(1))
    assert np.array_equal(image_of(program, artifact, data, "x0"), x0[0])
    assert np.array_equal(image_of(program, artifact, data, "image"), image_byte(x0[0]))


def test_convs_in_bands_where_their_codes_do_not_fit():
    program = check(small_artifact(), AcceleratorConfig(size=4, code_words=512), 1)
    assert program.bands > 0
    assert program.plan.peak(Space.CODES) <= 512


def test_streams_that_do_not_fit_wait_in_memory():
    program = check(small_artifact(), AcceleratorConfig(size=4, stream_words=512), 2)
    assert program.plan.peak(Space.STREAM) <= 512
    assert [name for name in program.data if name.startswith("spill")] == ["spill conv_in"]
    step = [instruction.opcode for _, instruction in program.listed[Section.STEP]]
    assert step.index(Opcode.STORE) < step.index(Opcode.LOAD)


def test_spilled_tensors_lie_behind_the_noise_of_all_steps():
    sizes = AcceleratorConfig(size=8, stream_words=1152, code_words=4096)
    program = check(several_heads(), sizes, 2)
    blocks = sorted(program.data.values(), key=lambda block: block.offset)
    for a, b in pairwise(blocks):
        assert a.offset + a.stride * (program.header.steps - 1) + a.size <= b.offset
    assert program.data_bytes == blocks[-1].offset + blocks[-1].size
    assert any(name.startswith("spill") for name in program.data)


@pytest.mark.parametrize(
    "sizes",
    [{"stream_words": 128}, {"code_words": 128}, {"sum_chunks": 2},
     {"stream_words": 128, "sum_chunks": 2}],
    ids="-".join,
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_what_would(sizes):
    artifact = small_artifact()
    with pytest.raises(SizeError, match="does not fit") as refused:
        compile_artifact(artifact, AcceleratorConfig(size=4, **sizes))
    assert set(refused.value.needed) == set(sizes)
    for name, value in refused.value.needed.items():
        assert f"{name} = {value}" in str(refused.value)
    fits = AcceleratorConfig(size=4, **refused.value.needed)
    compile_artifact(artifact, fits)


@pytest.mark.parametrize(
    ("sizes", "text"),
    [
        ({"size": 12}, "size = 12 is not allowed; allowed: 4, 8, 16, 32"),
        ({"stream_words": 4095}, "stream_words = 4095 is not allowed; allowed: a multiple of 2"),
        ({"depth": 0}, "depth = 0 is not allowed; allowed: an integer in 1..4096"),
        ({"stream_banks": 3}, "stream_banks = 3"),
    ],
)
def test_sizes_that_are_not_allowed(sizes, text):
    with pytest.raises(UserError, match=text):
        AcceleratorConfig(**sizes)


def test_an_accumulator_below_a_row_is_refused():
    with pytest.raises(UserError, match="depth = 4 is below a row of 8 pixels"):
        compile_artifact(small_artifact(), AcceleratorConfig(size=4, depth=4))


@pytest.mark.parametrize("name", ["fashion16", "fashion32"])
def test_bands_cover_every_output_row_and_hold_what_it_reads(name):
    for spec in layers(preset(name)).values():
        if spec.source not in {"stream", "silu"}:
            continue
        rows, scale = 32, 2 if spec.upsample else 1
        parts = bands(spec, (rows, 32), (2, 0), AcceleratorConfig(code_words=4096), 800)
        assert [row for b in parts for row in range(b.first_row, b.first_row + b.rows)] == list(
            range(rows)
        )
        height = rows * spec.stride // scale
        for band in parts:
            for y in range(band.first_row, band.first_row + band.rows):
                for tap in range(spec.kernel):
                    row = y * spec.stride - spec.padding[2] + tap
                    if 0 <= row < height * scale:
                        assert 0 <= row // scale - band.source_first < band.source_rows


def test_tensors_that_live_together_share_no_words():
    program = compile_artifact(several_heads(), ROOMY)
    lives, address = program.plan.lives, program.plan.address
    for number, a in enumerate(lives):
        for b in lives[:number]:
            if a.tensor.space is b.tensor.space and a.first <= b.last and b.first <= a.last:
                low, high = sorted((a.tensor, b.tensor), key=address.__getitem__)
                assert address[low] + low.words <= address[high], (a, b)
    for tensor, at in address.items():
        if tensor.space is Space.CODES:
            bank = at // ROOMY.code_bank_words
            assert (at + tensor.words - 1) // ROOMY.code_bank_words == bank
            assert tensor.bank in (None, bank)


def test_the_same_bytes_every_time():
    first, second = (compile_artifact(small_artifact(), ROOMY).regions for _ in range(2))
    assert first == second
