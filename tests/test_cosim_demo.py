"""The main job in small: network -> artifact -> Verilog -> every cycle compared -> picture."""

import json

import pytest

from cosim import cli, suites
from cosim.manifest import load_manifest
from golden.calibration.artifact import Artifact


@pytest.mark.cosim
@pytest.mark.long
def test_demo_writes_everything_and_agrees(tmp_path, capsys):
    out = tmp_path / "out"
    words = ["--rows", "8", "--cols", "8", "--steps", "3", "--groups", "2", "--samples", "2"]
    assert cli.run(["demo", "--out", str(out), *words]) == 0, capsys.readouterr().out
    names = {path.name for path in out.iterdir()}
    assert names == {"artifact.safetensors", "verilog", "accelerator", "report.json",
                     "samples.png", "image.png", "image.npy"}  # fmt: skip
    assert Artifact.load(out / "artifact.safetensors").groups == 2
    assert load_manifest(out / "verilog").block == "datapath"
    report = json.loads((out / "report.json").read_text())
    assert report["passed"]
    assert report["mismatches"] == 0
    assert len(report["items"]) >= 10
    for item in report["items"]:
        assert item["beats"] > 0
        assert item["timestep_groups"] == [0, 1], item["name"]
    assert any(item["name"] == "group crossing" for item in report["items"])
    shown = capsys.readouterr().out
    for word in ("conv_in", "conv_out", "mismatches", "samples.png"):
        assert word in shown
    words = ["--artifact", str(out / "artifact.safetensors"), "--rtl", str(out / "verilog")]
    words += ["--rows", "8", "--cols", "8", "--case", "conv_in", "--waves"]
    assert cli.run(["cosim", "--suite", "demo", *words]) == 0
    assert "waves:" in capsys.readouterr().out


def test_sizes_of_a_block_come_from_its_parameters():
    assert suites.block_parameters("operand", 3, 5) == [{"rows": 3, "side_width": 5}]
    assert suites.block_parameters("mac_array", 3, 5) == [{"rows": 3, "cols": 5, "side_width": 5}]
    assert suites.block_parameters("requantizer", 3, 5) == [{"lanes": 5, "side_width": 5}]


def test_a_bench_may_choose_its_own_sizes(monkeypatch):
    from cosim import tb_operand

    chosen = [{"rows": 1}, {"rows": 64}]
    monkeypatch.setattr(tb_operand, "configurations", lambda rows, cols: chosen, raising=False)
    assert suites.block_parameters("operand", 3, 5) == chosen
    jobs = suites.block_jobs(block="operand", rows=3, cols=5, seed=1, parameters={}, case="stalls0")
    assert [job.parameters["rows"] for job in jobs] == [1, 64]
    assert jobs[1].words == [
        *("--suite", "blocks", "--block", "operand", "--parameter", "rows=64", "--seed", "1")
    ]
