"""The embedded network's own integers through the blocks: golden first, then the Verilog."""

import pytest

from cosim.bench import run_cases
from cosim.network_cases import capture_steps, chosen_layers, group_steps, network_cases
from golden.calibration.artifact import embedded_artifact
from golden.network.checkpoint import embedded_checkpoint


@pytest.fixture(scope="module")
def artifact():
    return embedded_artifact()


def test_the_artifact_is_of_the_embedded_network(artifact):
    assert artifact.checkpoint_sha256 == embedded_checkpoint().sha256
    assert (artifact.sampler, artifact.steps, artifact.groups) == ("ddim", 50, 8)


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
