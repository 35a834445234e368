"""AMBA ports under bus models that are not ours: cocotbext-axi."""

import pytest

from cosim.bus.bench import wrapped
from cosim.bus.suite import (
    SHARES,
    STREAM_BLOCKS,
    check_accelerator,
    check_registers,
    check_streams,
)
from golden.accelerator.compiler import compile_artifact
from golden.accelerator.configuration import AcceleratorConfig
from golden.errors import UserError
from tests.small_network import small_artifact

pytestmark = pytest.mark.cosim
SMALL = {"size": 8, "axi_bytes": 8, "segments": 16}


@pytest.fixture(scope="module")
def registers(tmp_path_factory):
    return wrapped("registers", SMALL, tmp_path_factory.mktemp("registers"))


@pytest.mark.parametrize("share", SHARES)
def test_every_field_and_every_hole(registers, share):
    verdict = check_registers(registers, seed=1, share=share)
    assert verdict.mismatches == []
    assert verdict.compared > 700


@pytest.mark.parametrize("block", STREAM_BLOCKS)
def test_beats_through_axi_streams(tmp_path, block):
    rtl = wrapped(block, STREAM_BLOCKS[block], tmp_path)
    for seed, share in enumerate(SHARES):
        verdict = check_streams(rtl, block, STREAM_BLOCKS[block], seed=seed, share=share)
        assert verdict.mismatches == []
        assert verdict.compared >= 8


def test_a_block_of_ordered_streams_is_refused(tmp_path):
    with pytest.raises(UserError, match="block must be one of operand"):
        check_streams(tmp_path, "scale_file", {}, seed=0, share=0.0)


@pytest.mark.parametrize(
    ("steps", "share"),
    [
        pytest.param(1, 0.5),
        pytest.param(5, 0.0, marks=pytest.mark.long),
        pytest.param(5, 0.7, marks=pytest.mark.long),
    ],
)
def test_noise_to_image_through_axi(tmp_path, steps, share):
    rtl = wrapped("accelerator", {"size": 8, "code_words": 8192}, tmp_path)
    artifact = small_artifact()
    program = compile_artifact(artifact, AcceleratorConfig(size=8, code_words=8192))
    verdict = check_accelerator(rtl, program, artifact, steps=range(steps), seed=3, share=share)
    assert verdict.mismatches == []
    assert verdict.compared == program.data_bytes
    assert verdict.cycles > 30_000 * steps
