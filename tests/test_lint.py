"""Generated Verilog is clean for three linters, and each of them sees a planted fault."""

import pytest

from cosim.generate import generate
from cosim.lint import WAIVERS, installed, lint_all
from hdl.axi_wrapper import wrap
from hdl.blocks import BLOCKS
from hdl.emit import write

FAULTY = {
    "verilator": "module small(input [3:0] a, output [2:0] b);\n  assign b = a;\nendmodule\n",
    "slang": "module small(input [3:0] a, output [3:0] b);\n  assign b = a + c;\nendmodule\n",
    "verible": "module small(input  a, output b); \n  assign b = a;\nendmodule\n",
}


def test_all_three_are_there():
    assert installed() == list(WAIVERS)


@pytest.mark.parametrize("block", BLOCKS)
def test_block_and_wrapper_are_clean(tmp_path, block):
    design = generate(block, {"size": 4} if block == "accelerator" else {})
    write(design, tmp_path)
    wrapper = wrap(design.manifest)
    (tmp_path / f"{wrapper.top}.v").write_text(wrapper.text)
    assert lint_all(tmp_path, wrapper.top, [*design.files, f"{wrapper.top}.v"]) == []


@pytest.mark.parametrize("linter", WAIVERS)
def test_a_fault_is_seen(tmp_path, linter):
    (tmp_path / "small.v").write_text(FAULTY[linter])
    found = lint_all(tmp_path, "small", ["small.v"])
    assert any(message.startswith(f"{linter}: ") for message in found), found


def test_every_waiver_has_a_reason():
    assert all(len(reason) > 10 for rules in WAIVERS.values() for reason in rules.values())
