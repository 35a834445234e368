"""``stepscale bench``: its figures, and what it refuses."""

import json

import pytest

from cosim.cli import run
from golden.errors import UserError
from golden.evaluation.speed import golden_speed
from tests.small_network import small_artifact, small_checkpoint


def test_figures_are_consistent():
    seen = []
    figures = golden_speed(
        small_checkpoint(),
        small_artifact(),
        "cpu",
        repeats=3,
        batch_top=4,
        progress=lambda what, done, total: seen.append((done, total)),
    )
    real, ceiling = figures["float32"], figures["ceiling"]
    assert {figures["batch"], real["batch"]} <= {1, 2, 4}
    ratio = figures["images_per_second"] / real["images_per_second"]
    assert figures["ratio_to_float32"] == pytest.approx(ratio)
    rate = ceiling["float32_gmacs_per_second"] / ceiling["conv_gmacs_per_image_step"]
    assert ceiling["images_per_second"] == pytest.approx(rate / figures["steps"])
    assert 0 < ceiling["share"] < 1
    assert seen[-1] == (3, 3)


def test_artifact_of_another_checkpoint():
    other = small_artifact().replace(checkpoint_sha256="cd" * 32)
    with pytest.raises(UserError, match="artifact was made from checkpoint cdcdcdcdcdcd"):
        golden_speed(small_checkpoint(), other, "cpu")


def test_command(tmp_path, capsys):
    report = tmp_path / "bench.json"
    arguments = ["bench", "--only", "golden", "--device", "cpu", "--threads", "1"]
    arguments += ["--repeats", "3", "--batch-top", "1", "--json", str(report)]
    assert run(arguments) == 0
    figures = json.loads(report.read_text())["golden"]
    assert (figures["device"], figures["threads"], figures["batch"]) == ("cpu", 1, 1)
    shown = capsys.readouterr().out
    assert f"integer is {figures['ratio_to_float32']:.2f} of float32" in shown
    assert "threads: 1; ddim 50" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "all"], "only = 'all': nothing to time there; there is: cosim, golden"),
        (
            ["--only", "cosim", "--size", "65"],
            "size = 65 is not allowed; allowed: an integer in 1..64",
        ),
        (["--only", "cosim", "--cycles", "0"], "cycles = 0 is not allowed"),
        (["--only", "cosim", "--repeats", "2"], "repeats = 2 is not allowed"),
        (["--only", "accelerator"], "only = 'accelerator': nothing to time there"),
        (["--threads", "0"], "threads = 0 is not allowed; allowed: an integer in 1..1024"),
        (["--batch-top", "0"], "batch-top = 0 is not allowed"),
        (["--repeats", "2"], "repeats = 2 is not allowed; allowed: an integer in 3..1000"),
        (["--artifact", "/nowhere"], "--checkpoint and --artifact belong together"),
        (["--json", "/dev/null/x.json"], "output folder /dev/null: cannot be written"),
    ],
)
def test_command_refuses(arguments, message, capsys):
    assert run(["bench", "--device", "cpu", *arguments]) == 2
    assert message in capsys.readouterr().err
