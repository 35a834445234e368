"""Each planted fault turns the bench of its block red; the same copy without a fault is green."""

from dataclasses import replace

import pytest

from cosim.bench import run_cases
from golden.errors import UserError
from tests.faults.faults import FAULTS, PARAMETERS
from tests.faults.plant import SEED, cases_of, generate, plant

FIRST = {fault.block: fault for fault in reversed(FAULTS)}


def run(rtl, block, level):
    return run_cases(block, PARAMETERS[block], cases_of(block), rtl=rtl, seed=SEED, level=level)


def assert_both_levels_agree(rtl, block, two):
    """Level 3 on the same cases agrees with level 2 in everything that they report."""
    three = run(rtl, block, 3)
    assert (three.level, three.passed) == (3, two.passed)
    for slow, fast in zip(two.cases, three.cases, strict=True):
        assert replace(fast, repeat=slow.repeat) == slow


def test_the_list_is_long_enough_and_has_no_twins():
    assert len(FAULTS) >= 15
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert len({(fault.file, fault.old, fault.new) for fault in FAULTS}) == len(FAULTS)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_text_of_fault_occurs_once(tmp_path, fault):
    plant(tmp_path, fault)


@pytest.mark.cosim
@pytest.mark.parametrize("block", sorted(FIRST))
def test_copy_without_a_fault_is_green(tmp_path, block):
    rtl = generate(plant(tmp_path), block)
    result = run(rtl, block, 2)
    assert result.passed, result.text()
    assert_both_levels_agree(rtl, block, result)


@pytest.mark.cosim
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault_is_found(tmp_path, fault):
    rtl = generate(plant(tmp_path, fault), fault.block)
    if fault.stops:
        with pytest.raises(UserError, match=r"Verilog \$stop"):
            run(rtl, fault.block, 2)
        return
    result = run(rtl, fault.block, 2)
    assert not result.passed, f"{fault.models}: not seen by {fault.caught_by}"
    found = result.first_mismatch()
    assert found is not None
    case, first = found
    streams = {mismatch.stream for case in result.cases for mismatch in case.mismatches}
    assert streams & set(fault.streams), result.text()
    assert first.stream in {*fault.streams, "bank_busy", "saturations"}, result.text()
    assert case.repeat.endswith("--waves")
    if fault is FIRST[fault.block]:
        assert_both_levels_agree(rtl, fault.block, result)


@pytest.mark.cosim
@pytest.mark.long
@pytest.mark.parametrize(
    "fault",
    [f for f in FAULTS if f is not FIRST[f.block] and not f.stops],
    ids=lambda fault: fault.name,
)
def test_both_levels_agree_on_the_fault(tmp_path, fault):
    rtl = generate(plant(tmp_path, fault), fault.block)
    assert_both_levels_agree(rtl, fault.block, run(rtl, fault.block, 2))
