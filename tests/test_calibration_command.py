import json

import pytest
from typer.testing import CliRunner

from cosim.cli import app
from golden.calibration.artifact import Artifact
from golden.network.checkpoint import save_checkpoint
from tests.small_network import small_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint")
    checkpoint = small_checkpoint()
    save_checkpoint(path, checkpoint.config, checkpoint.scheduler, checkpoint.unet.state_dict())
    return path


def run(folder, *options):
    small = ["--steps", "3", "--groups", "2", "--images", "2", "--report-images", "1"]
    return CliRunner().invoke(app, ["calibrate", "--checkpoint", str(folder), *small, *options])


def test_command_writes_artifact_and_figures(folder, tmp_path):
    out, figures = tmp_path / "new" / "a.safetensors", tmp_path / "f.json"
    result = run(folder, "--out", str(out), "--json", str(figures), "--seed", "7")
    assert result.exit_code == 0, result.output
    artifact = Artifact.load(out)
    assert (artifact.steps, artifact.groups, artifact.sampler) == (3, 2, "ddim")
    report = json.loads(figures.read_text())
    assert report["seed"] == 7
    assert report["boundaries"] == list(artifact.boundaries)
    assert report["figures"] == artifact.provenance["figures"]
    assert "eps-SQNR" in result.output
    again = run(folder, "--out", str(tmp_path / "b.safetensors"), "--seed", "7")
    assert again.exit_code == 0
    assert (tmp_path / "b.safetensors").read_bytes() == out.read_bytes()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--groups", "4"], "groups: 4 is not possible with 3 steps"),
        (["--sampler", "heun"], "sampler 'heun' is not known"),
        (["--wide", "conv_in,nothing"], "wide edge nothing: no such layer"),
    ],
)
def test_bad_options_leave_nothing(folder, tmp_path, options, text):
    out = tmp_path / "a.safetensors"
    result = run(folder, "--out", str(out), *options)
    assert result.exit_code != 0
    assert text in f"{result.output}{result.exception}"
    assert list(tmp_path.iterdir()) == []
