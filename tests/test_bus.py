"""AMBA ports under bus models that are not ours: cocotbext-axi."""

from dataclasses import replace
from itertools import product

import pytest

from cosim.bus.bench import wrapped
from cosim.bus.suite import SHARES, check_accelerator, check_registers, check_streams
from cosim.bus.traffic import REFUSED, STREAM_BLOCKS, traffic
from golden.accelerator.compiler import compile_artifact
from golden.accelerator.configuration import AcceleratorConfig
from golden.errors import UserError
from hdl.blocks import BLOCKS
from tests.small_network import small_artifact

pytestmark = pytest.mark.cosim
IN_STEP = {"sampler": "stalls2", "scale_file": "stalls2", "datapath": "stalls2"}
"""Blocks with streams in step; a case with rows that no beat uses, with boundaries written anew."""
SMALL = {"size": 8, "axi_bytes": 8, "segments": 16}


@pytest.fixture(scope="module")
def registers(tmp_path_factory):
    return wrapped("registers", SMALL, tmp_path_factory.mktemp("registers"))


@pytest.mark.parametrize("share", SHARES)
def test_every_field_and_every_hole(registers, share):
    verdict = check_registers(registers, seed=1, share=share)
    assert verdict.mismatches == []
    assert verdict.compared > 700


def _checked(rtl, runs):
    for seed, (sent, share) in enumerate(runs):
        verdict = check_streams(rtl, sent, seed=seed, share=share)
        assert verdict.mismatches == [], (sent.name, share)
        assert verdict.compared >= 8


def _wrong(rtl, sent):
    """What is found; an assertion of the RTL ends a run."""
    try:
        return check_streams(rtl, sent, seed=0, share=0.3).mismatches
    except UserError as error:
        assert "Verilog $stop" in str(error)
        return [str(error)]


def _chosen(block, name=None):
    """The block's case ``name``, or its first."""
    return next(sent for sent in traffic(block, 0) if name in (None, sent.name))


@pytest.mark.parametrize("block", STREAM_BLOCKS)
def test_beats_through_axi_streams(tmp_path, block):
    rtl = wrapped(block, STREAM_BLOCKS[block], tmp_path)
    _checked(rtl, [(_chosen(block, IN_STEP.get(block)), share) for share in SHARES])


@pytest.mark.long
@pytest.mark.parametrize("block", STREAM_BLOCKS)
def test_every_case_through_axi_streams(tmp_path, block):
    rtl = wrapped(block, STREAM_BLOCKS[block], tmp_path)
    _checked(rtl, product(traffic(block, 1), SHARES))


@pytest.mark.parametrize("block", IN_STEP)
def test_streams_out_of_step_are_seen(tmp_path, block):
    rtl = wrapped(block, STREAM_BLOCKS[block], tmp_path)
    free = replace(_chosen(block, IN_STEP[block]), order={})
    assert _wrong(rtl, free)


@pytest.mark.parametrize(
    ("block", "old", "new", "seen"),
    [
        pytest.param(
            "sampler", "s_axis_tdata[98:0]",
            "{s_axis_tdata[98:96], s_axis_tdata[63:32], s_axis_tdata[95:64], s_axis_tdata[31:0]}",
            "m_axis, beat", id="eps and noise swapped",
        ),
        pytest.param(
            "sampler", ".o__ready(m_axis_tready)", ".o__ready(1'b1)", "m_axis: ",
            id="beats lost in a pause of the sink",
        ),
        pytest.param(
            "scale_file", ".release_edge_bank(release_edge_bank)",
            ".release_edge_bank(!release_edge_bank)", "Verilog $stop", id="other bank released",
        ),
        pytest.param(
            "datapath", ".i_edge__valid(s_axis_edge_tvalid)",
            ".i_edge__valid(s_axis_activation_tvalid)", "Verilog $stop",
            id="valid of another stream",
        ),
        pytest.param(
            "axi_writer", ".m_axi_wstrb(m_axi_wstrb)", ".m_axi_wstrb()", "byte 0x",
            id="strobes not connected",
        ),
    ],
)  # fmt: skip
def test_faults_of_a_wrapper_are_seen(tmp_path, block, old, new, seen):
    rtl = wrapped(block, STREAM_BLOCKS[block], tmp_path)
    file = rtl / f"{block}_axi.v"
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))
    wrong = _wrong(rtl, _chosen(block, IN_STEP.get(block)))
    assert any(seen in line for line in wrong), wrong


def test_every_block_is_checked_or_refused():
    assert sorted([*STREAM_BLOCKS, *REFUSED]) == sorted(BLOCKS)
    for block, why in REFUSED.items():
        with pytest.raises(UserError, match=f"{block}.*{why}"):
            traffic(block, 0)


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
