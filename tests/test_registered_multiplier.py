"""registered_multiplier: its two bodies are equal, and a wrong pin is found."""

import pytest

from cosim.generate import generate
from cosim.primitive_proof import prove_primitives
from cosim.proof import prove
from cosim.synth import synthesize
from hdl.registered_multiplier import RegisteredMultiplier

pytestmark = pytest.mark.block
FILE = "registered_multiplier.v"


@pytest.fixture(scope="module", params=["edge", "product_shift"])
def cell(request):
    return generate("processing_element", {"multiplier": "mult18x18d", "decode": request.param})


def test_bad_widths():
    with pytest.raises(ValueError, match=r"a_width must be in 1\.\.18, got 19"):
        RegisteredMultiplier(a_width=19)
    with pytest.raises(TypeError, match=r"b_width must be an integer in 1\.\.18, got '8'"):
        RegisteredMultiplier(b_width="8")


def test_the_behavioural_body_is_the_rtlil(cell):
    assert prove(cell) > 0


def test_the_primitive_is_the_behavioural_body(cell):
    operand = 8 if cell.manifest["parameters"]["decode"] == "product_shift" else 12
    assert prove_primitives(cell.files) == 2 * (8 + operand)  # operands and their product


@pytest.mark.parametrize(
    ("block", "parameters", "bits"),
    [
        ("mac_array", {"rows": 2, "cols": 2}, 2 * (8 + 12)),
        ("requantizer", {"lanes": 1}, 2 * (15 + 16) + 2 * (17 + 16) + 3),
        ("requantizer", {"lanes": 2, "acc_width": 16}, 2 * (16 + 16) + 1),
        ("silu_quantizer", {"lanes": 2}, 2 * (12 + 12) + 2 * (16 + 16) + 2),
    ],
)
def test_each_block_has_primitives_that_are_equal(block, parameters, bits):
    files = generate(block, {**parameters, "multiplier": "mult18x18d"}).files
    found = [text for name, text in files.items() if name.startswith("registered_multiplier")]
    assert sum(text.count("`endif") for text in found) == len(found)
    assert prove_primitives(files) == bits  # of operands and products, their constants left out


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("{{10{a_operand[7]}}, a_operand}", "{10'd0, a_operand}"),
        (".SIGNEDA(1'b1)", ".SIGNEDA(1'b0)"),
        (".CE0(enable)", ".CE0(1'b1)"),
        (".RST0(1'b0)", ".RST0(rst)"),
        (".A3(a_wide[3])", ".A3(a_wide[2])"),
        ('.REG_INPUTB_CLK("CLK0"), ', ""),
        ('.REG_OUTPUT_CLK("CLK0"), ', ""),
        ("whole[19:0]", "whole[20:1]"),
    ],
)
def test_a_wrong_primitive_is_found(right, wrong):
    text = generate("processing_element", {"multiplier": "mult18x18d"}).files[FILE]
    assert right in text
    with pytest.raises(RuntimeError, match="unproven"):
        prove_primitives({FILE: text.replace(right, wrong)})


def test_without_a_primitive_nothing_is_proven():
    with pytest.raises(RuntimeError, match="no module has a primitive"):
        prove_primitives(generate("processing_element", {}).files)


def test_registers_lie_in_the_multiplier():
    inferred = synthesize(generate("processing_element", {}), []).cells
    registered = synthesize(generate("processing_element", {"multiplier": "mult18x18d"}), []).cells
    assert inferred.mult18 == registered.mult18 == 1
    assert inferred.ff - registered.ff == 20  # the product
    assert registered.lut_eq == 0
