"""Float samples beside integer ones, through the function and through ``stepscale sample``."""

import json

import matplotlib.image
import numpy as np
import pytest

from cosim.cli import run
from cosim.pictures import draw, draw_integer, write_samples
from golden.errors import UserError
from golden.network.samplers import make_sampler
from tests.small_network import STEPS, small_artifact, small_checkpoint

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def sampler():
    return make_sampler("ddim", small_checkpoint().scheduler, STEPS)


def test_both_kinds_in_one_picture(tmp_path, sampler):
    out = tmp_path / "both.png"
    figures = write_samples(
        out, small_checkpoint(), sampler, small_artifact(), seed=4, count=3, scale=2
    )
    # three images of 16 pixels with gaps of 2, twice, and a gutter of 8
    assert matplotlib.image.imread(out).shape[:2] == (20, 2 * (3 * 18 + 2) + 8)
    float_images = draw(small_checkpoint().unet, sampler, 4, 3, SHAPE)
    codes = draw_integer(small_artifact(), 4, 3)
    error = np.mean((float_images - codes / np.float32(4096)) ** 2)
    assert figures["psnr_db"] == round(10 * float(np.log10(4 / error)), 2)
    assert figures["psnr_db"] > 15  # random weights: their noise would give 6 dB
    assert (figures["samples"], figures["seed"], figures["steps"]) == (3, 4, STEPS)


def test_an_integer_image_does_not_depend_on_its_batch():
    artifact = small_artifact()
    assert np.array_equal(draw_integer(artifact, 4, 2)[:1], draw_integer(artifact, 4, 1))


def test_artifact_of_another_sampler_or_checkpoint(tmp_path, sampler):
    scheduler = small_checkpoint().scheduler
    out = tmp_path / "x.png"
    for name, steps, text in (("ddim", STEPS + 1, "for 5"), ("ddpm", STEPS, "for 'ddim'")):
        other_sampler = make_sampler(name, scheduler, steps)
        with pytest.raises(UserError, match=f"was calibrated {text}"):
            write_samples(out, small_checkpoint(), other_sampler, small_artifact())
    other = small_artifact().replace(checkpoint_sha256="cd" * 32)
    with pytest.raises(UserError, match=r"artifact was made from checkpoint cdcdcdcdcdcd\.\.\."):
        write_samples(tmp_path / "x.png", small_checkpoint(), sampler, other)
    assert not (tmp_path / "x.png").exists()


def test_command(tmp_path, capsys):
    out, report = tmp_path / "a.png", tmp_path / "a.json"
    arguments = ["sample", "--samples", "2", "--steps", "3", "--seed", "9", "--device", "cpu"]
    assert run([*arguments, "--out", str(out), "--json", str(report)]) == 0
    assert "2 float images, ddim 3, seed 9" in " ".join(capsys.readouterr().out.split())
    figures = json.loads(report.read_text())
    assert (figures["samples"], figures["seed"], figures["psnr_db"]) == (2, 9, None)
    first = out.read_bytes()
    assert run([*arguments, "--out", str(out)]) == 0
    assert out.read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--samples", "0"], "samples = 0 is not allowed"),
        (["--steps", "2000"], "steps = 2000 is not supported; allowed: an integer in 1..1000"),
        (["--sampler", "euler"], "sampler 'euler' is not known; allowed: ddim, ddpm"),
        (["--checkpoint", "/nowhere"], "checkpoint /nowhere: no such folder"),
        (["--artifact", "/nowhere"], "artifact /nowhere: cannot be read"),
        (["--out", "/dev/null/x.png"], "output folder /dev/null: cannot be written"),
        (["--device", "abacus"], "device 'abacus' is not known; allowed: auto, cpu, cuda"),
    ],
)
def test_command_refuses(arguments, message, capsys):
    assert run(["sample", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_train_command_refuses(tmp_path, capsys):
    assert run(["train", "--data", str(tmp_path), "--out", str(tmp_path / "net")]) == 2
    assert "apt install dataset-fashion-mnist" in capsys.readouterr().err
    assert run(["train", "--preset", "cats", "--out", str(tmp_path / "net")]) == 2
    assert "preset 'cats' is not known" in capsys.readouterr().err
