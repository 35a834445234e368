"""The embedded network's own integers through the blocks: golden first, then the Verilog."""

import numpy as np
import pytest

from cosim.bench import run_cases
from cosim.network_cases import capture_steps, chosen_layers, group_steps, network_cases
from cosim.stimulus import make_case, stall_choices
from golden.calibration.artifact import embedded_artifact
from golden.network.checkpoint import embedded_checkpoint
from golden.silu_quantizer import (
    code_rank,
    cycle_model,
    ideal_code,
    ideal_wide_code,
    quantize,
)

INPUTS = np.arange(-2048, 2048)
# of all (edge, group, input) triples; measured, see docs/measurements.md
EQUAL_SHARE = 0.97


@pytest.fixture(scope="module")
def artifact():
    return embedded_artifact()


def entries(artifact):
    """(name, group, wide, M0, n0, z, k) of every post-SiLU edge and timestep group."""
    found = []
    for name in artifact.layers:
        kind = artifact.kind(name)
        if kind not in {"region", "wide_silu"}:
            continue
        for group in range(artifact.groups):

            def value(key, name=name, group=group):
                return int(artifact.tensors[f"{name}.silu.{key}"][group])

            wide = kind == "wide_silu"
            zk = (0, 1) if wide else (value("z"), value("k"))
            found.append((name, group, wide, value("M0"), value("n0"), *zk))
    return found


def test_the_artifact_is_of_the_embedded_network(artifact):
    assert artifact.checkpoint_sha256 == embedded_checkpoint().sha256
    assert (artifact.sampler, artifact.steps, artifact.groups) == ("ddim", 50, 8)


def test_every_input_of_every_group_is_within_one_step_of_the_ideal_code(artifact):
    equal = total = 0
    for name, group, wide, m0, n0, z, k in entries(artifact):
        codes = quantize(INPUTS[:, None], wide * 1, m0, n0, z, k)[:, 0]
        if wide:
            ideal = ideal_wide_code(INPUTS, m0, n0)
            distance = np.where(codes >= 2048, codes - 4096, codes) - ideal
        else:
            ideal = ideal_code(INPUTS, m0, n0, z, k)
            distance = code_rank(codes, z, k) - code_rank(ideal, z, k)
        assert np.abs(distance).max() <= 1, (name, group)
        equal += int((distance == 0).sum())
        total += len(INPUTS)
    assert total == 4096 * 8 * len({name for name, *_ in entries(artifact)})
    print(f"equal to the ideal code: {equal / total:.4%} of {total}")
    assert equal / total > EQUAL_SHARE


@pytest.mark.cosim
def test_rtl_of_every_input_of_every_group(artifact):
    table = entries(artifact)
    lanes = 64
    beats = len(INPUTS) // lanes
    columns = np.array([[wide, m0, n0, z, k] for _, _, wide, m0, n0, z, k in table]).T
    names = ("wide", "multiplier", "shift", "zero_point", "k")
    fields = {n: np.repeat(column, beats) for n, column in zip(names, columns, strict=True)}
    u = np.tile(INPUTS.reshape(beats, lanes), (len(table), 1))
    side = np.zeros(len(u), dtype=np.int64)
    payloads = {
        "i": {"u": u, **fields, "side": side},
        "o": {"codes": quantize(u, *fields.values()), "side": side},
    }
    parameters = {"lanes": lanes, "segments": 32, "side_width": 0}
    case = make_case(
        "embedded", "silu_quantizer", parameters, cycle_model(), payloads,
        stall_choices(("i", "o"), 0, 1), 1,
    )  # fmt: skip
    result = run_cases("silu_quantizer", parameters, [case], seed=1)
    assert result.passed, result.text()
    assert result.beats * lanes == 4096 * len(table)


def test_chosen_layers_are_of_every_sort(artifact):
    step = group_steps(artifact)[-1]
    captures = capture_steps(artifact, embedded_checkpoint(), [step], seed=3)[step]
    names = chosen_layers(list(captures.values()))
    assert len(names) >= 10
    chosen = [captures[name] for name in names]
    assert {layer.kind for layer in chosen} == {layer.kind for layer in captures.values()}
    assert {layer.output.shape[1:] for layer in chosen} == {(16, 16), (8, 8)}
    assert any(layer.upsample for layer in chosen)
    assert any(layer.stride == 2 for layer in chosen)
    assert any(len(layer.segments) == 2 for layer in chosen)
    assert {"conv_in", "conv_out"} <= set(names)


@pytest.mark.cosim
def test_layers_of_the_network_through_the_16x16_datapath(artifact):
    cases = network_cases(artifact, embedded_checkpoint(), 16, 16, seed=5)
    assert len(cases) >= 11
    for case in cases:
        assert case.labels["groups"] == "0,1,2,3,4,5,6,7", case.name
    result = run_cases("datapath", cases[0].parameters, cases, seed=5)
    assert result.passed, result.text()
