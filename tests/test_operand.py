"""operand: every code of every mode."""

import numpy as np
import pytest

from cosim.stimulus import make_case, stall_choices
from cosim.tb_operand import cases
from golden.operand import OperandMode, cycle_model, decoded, operand
from golden.silu_quantizer import decode_region
from hdl.operand import Operand
from tests.block_test import assert_level1, assert_level2, assert_rtl


@pytest.mark.parametrize("rows", [0, 65])
def test_rows_out_of_range(rows):
    with pytest.raises(ValueError, match=rf"rows must be in 1\.\.64, got {rows}"):
        Operand(rows=rows)


def test_rows_of_the_wrong_kind():
    with pytest.raises(TypeError, match=r"rows must be an integer in 1\.\.64, got '4'"):
        Operand(rows="4")


def every_code():
    """Every code x z x k of region codes, every int8 x k, every hi and lo: (beats,) fields."""
    region = np.stack(np.meshgrid(np.arange(256), np.arange(113), np.arange(5)), -1).reshape(-1, 3)
    int8 = np.stack(np.meshgrid(np.arange(256), [0], np.arange(5)), -1).reshape(-1, 3)
    wide = np.stack(np.meshgrid(np.arange(4096), [0], [0]), -1).reshape(-1, 3)
    modes = (OperandMode.REGION, OperandMode.INT8, OperandMode.HI, OperandMode.LO)
    parts = (region, int8, wide, wide)
    code, z, k = np.concatenate(parts).T
    mode = np.concatenate([np.full(len(p), int(m)) for p, m in zip(parts, modes, strict=True)])
    return code, z, k, mode


def test_golden_region_operand_is_the_code_decoded():
    code, z, k, mode = (field[: 256 * 113 * 5] for field in every_code())
    live = k > 0  # a region code's k is 1..4
    mantissa, flag, k_out = operand(code[:, None], 0 * code[:, None], mode, z, k)
    value = decoded(mantissa, flag, k_out)[:, 0]
    assert np.array_equal(value[live], decode_region(code[live], z[live], k[live]))


def test_golden_hi_and_lo_passes_sum_to_the_wide_code():
    code = np.arange(-2048, 2048)
    lanes = (code & 4095)[:, None]
    zero = np.zeros(4096, dtype=np.int64)
    hi, lo = (
        decoded(*operand(lanes, 0 * lanes, zero + int(mode), zero, zero))
        for mode in (OperandMode.HI, OperandMode.LO)
    )
    assert np.array_equal((hi + lo)[:, 0], code)


def test_golden_int8_is_twos_complement_shifted_by_the_segment():
    code = np.arange(-128, 128)
    lanes = (code & 255)[:, None]
    one = np.ones(256, dtype=np.int64)
    value = decoded(*operand(lanes, 0 * lanes, one * int(OperandMode.INT8), 0 * one, 3 * one))
    assert np.array_equal(value[:, 0], code * 8)


def test_pad_forces_zero_in_every_mode():
    code, z, k, mode = every_code()
    mantissa, flag, _ = operand(code[:, None], np.ones((len(code), 1), int), mode, z, k)
    assert not mantissa.any()
    assert not flag.any()


def test_level1():
    parameters = {"rows": 3, "side_width": 5}
    assert_level1("operand", parameters, cases(1, parameters)[:3])


@pytest.mark.cosim
@pytest.mark.parametrize("rows", [4, 16], ids="rows{}".format)
def test_rtl(rows):
    assert_level2("operand", {"rows": rows, "side_width": 5})


@pytest.mark.cosim
def test_rtl_on_every_code_z_and_k():
    rows = 64
    fields = every_code()
    # z, k and mode belong to the beat, so beats are cut where one of them changes
    order = np.lexsort(fields)
    code, z, k, mode = (field[order] for field in fields)
    key = (z * 8 + k) * 4 + mode
    beats = []
    for value in np.unique(key):
        index = np.flatnonzero(key == value)
        beats += np.split(np.resize(index, -(-len(index) // rows) * rows), -(-len(index) // rows))
    lanes = np.array(beats)
    first = lanes[:, 0]
    inputs = {
        "codes": code[lanes], "pad": np.zeros_like(lanes), "mode": mode[first],
        "zero_point": z[first], "k": k[first], "side": np.zeros_like(first),
    }  # fmt: skip
    mantissa, flag, k_out = operand(
        inputs["codes"], inputs["pad"], inputs["mode"], inputs["zero_point"], inputs["k"]
    )
    outputs = {"mantissa": mantissa, "flag": flag, "k": k_out, "side": inputs["side"]}
    parameters = {"rows": rows, "side_width": 0}
    case = make_case(
        "every code", "operand", parameters, cycle_model(), {"i": inputs, "o": outputs},
        stall_choices(("i", "o"), 0, 1), 1,
    )  # fmt: skip
    assert_rtl("operand", parameters, [case])
    assert len(set(zip(code[lanes].ravel(), key[lanes].ravel(), strict=True))) == len(code)
