"""Each planted fault turns the bench of its block red; the same copy without a fault is green."""

from dataclasses import replace

import pytest

from cosim.bench import run_cases
from tests.faults.faults import FAULTS, PARAMETERS
from tests.faults.plant import SEED, cases_of, generate, plant


def bench(tmp_path, block, fault=None):
    """Run level 2, and level 3 on the same cases: the two must agree in everything they report."""
    rtl = generate(plant(tmp_path, fault), block)
    two, three = (
        run_cases(block, PARAMETERS[block], cases_of(block), rtl=rtl, seed=SEED, level=level)
        for level in (2, 3)
    )
    assert (three.level, three.passed) == (3, two.passed)
    for slow, fast in zip(two.cases, three.cases, strict=True):
        assert replace(fast, repeat=slow.repeat) == slow
    return two


def test_the_list_is_long_enough_and_has_no_twins():
    assert len(FAULTS) >= 15
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert len({(fault.file, fault.old, fault.new) for fault in FAULTS}) == len(FAULTS)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_text_of_fault_occurs_once(tmp_path, fault):
    plant(tmp_path, fault)


@pytest.mark.cosim
@pytest.mark.parametrize("block", sorted({fault.block for fault in FAULTS}))
def test_copy_without_a_fault_is_green(tmp_path, block):
    result = bench(tmp_path, block)
    assert result.passed, result.text()


@pytest.mark.cosim
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault_is_found(tmp_path, fault):
    result = bench(tmp_path, fault.block, fault)
    assert not result.passed, f"{fault.models}: not seen by {fault.caught_by}"
    found = result.first_mismatch()
    assert found is not None
    case, first = found
    streams = {mismatch.stream for case in result.cases for mismatch in case.mismatches}
    assert streams & set(fault.streams), result.text()
    assert first.stream in {*fault.streams, "bank_busy", "saturations"}, result.text()
    assert case.repeat.endswith("--waves")
