"""``stepscale bench``: its figures, and what it refuses."""

import json

import pytest

from cosim.cli import run
from golden.accelerator.timing.latencies import Timeline
from golden.accelerator.timing.step_report import read_share
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
        (["--only", "chip"], "only = 'chip': nothing to time there"),
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


def test_accelerator(tmp_path, capsys):
    report, picture = tmp_path / "bench.json", tmp_path / "timeline.png"
    arguments = ["bench", "--only", "accelerator", "--latency", "7"]
    assert run([*arguments, "--json", str(report), "--timeline", str(picture)]) == 0
    figures = json.loads(report.read_text())["accelerator"]
    rows = figures["instructions"]
    array = [row for row in rows if row["unit"] == "array"]
    assert sum(row["beats"] for row in array) == figures["array_beats"] == 279_040
    # every cycle from the first array instruction to the last one's end is a beat or idle
    assert array[0]["start"] + sum(row["beats"] + row["idle"] for row in array) == array[-1]["end"]
    assert all(row["dispatch"] <= row["start"] <= row["end"] <= figures["cycles"] for row in rows)
    assert figures["memory"] == {"latency": 7, "bytes_per_cycle": 16}
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "16x16" in capsys.readouterr().out


def test_accelerator_of_no_such_size(capsys):
    assert run(["bench", "--only", "accelerator", "--size", "5"]) != 0
    assert "size = 5 is not allowed; allowed: 4, 8, 16, 32" in capsys.readouterr().err


def test_share_of_reads():
    timeline = Timeline([], 100, 0, [(10, 20), (80, 10)])
    assert read_share(timeline, 10).tolist() == [0, 1, 1, 0, 0, 0, 0, 0, 1, 0]
