"""scale_file: constants of the tile's own step and group, whatever is written beside it."""

import numpy as np
import pytest

from cosim.scale_programs import config_of, random_set
from cosim.tb_scale_file import CASES, cases
from golden.scale_tables import ScaleFileConfig, group_of, lookup, writes
from hdl.scale_file import ScaleFile
from tests.block_test import assert_level1, assert_level2

SMALL = {"groups": 5, "resident_groups": 3, "steps": 3, "channel_tiles": 3, "lanes": 2}
SIDES = {"conv_side": 5, "activation_side": 3, "edge_side": 4, "read_side": 6}


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"groups": 0}, r"groups must be in 1\.\.16, got 0"),
        ({"groups": 4, "resident_groups": 5}, r"resident_groups must be in 1\.\.4, got 5"),
        ({"steps": 0}, r"steps must be in 1\.\.1024, got 0"),
    ],
)
def test_bad_parameters(parameters, text):
    with pytest.raises(ValueError, match=text):
        ScaleFile(**parameters)


def test_group_is_the_number_of_boundaries_reached():
    boundaries = [3, 4, 9]
    assert group_of(boundaries, np.arange(11)).tolist() == [0, 0, 0, 1, 2, 2, 2, 2, 2, 3, 3]
    assert group_of([], np.arange(3)).tolist() == [0, 0, 0]


def test_golden_lookup_equals_plain_indexing():
    rng = np.random.Generator(np.random.PCG64(7))
    config = config_of(SMALL)
    tables = random_set(rng, config, 1, 9, range(1, 3), range(4, 7))
    boundaries = [4, 6]
    tiles = {
        "bank": np.array([1, 1, 1]), "table_set": np.array([9, 9, 9]), "step": np.array([4, 5, 6]),
        "segment": np.array([0, 1, 1]), "channel_tile": np.array([2, 0, 1]),
    }  # fmt: skip
    found = lookup(config, boundaries, [tables], tiles)
    assert found["group"].tolist() == [1, 1, 2]
    for index, (step, group, tile) in enumerate([(4, 1, 2), (5, 1, 0), (6, 2, 1)]):
        lanes = slice(tile * 2, tile * 2 + 2)
        assert np.array_equal(found["multiplier"][index], tables.multiplier[group - 1, lanes])
        assert np.array_equal(found["bias"][index], tables.bias[step - 4, lanes])
        segment = tiles["segment"][index]
        assert found["operand_z"][index] == tables.operand_z[group - 1, segment]
    with pytest.raises(ValueError, match="bank 1, table set 9, step 7: 0 sets match, need 1"):
        lookup(config, boundaries, [tables], {**tiles, "step": np.array([4, 5, 7])})


def test_golden_refuses_tables_that_do_not_fit():
    rng = np.random.Generator(np.random.PCG64(7))
    config = config_of(SMALL)
    with pytest.raises(ValueError, match=r"steps must be in 1\.\.3, got 4"):
        writes(config, [1], [random_set(rng, config, 0, 0, range(1), range(4))])
    with pytest.raises(ValueError, match="boundaries must be at most 4, got 5"):
        writes(config, [1, 2, 3, 4, 5], [])


def test_tiles_of_two_groups_follow_each_other_without_a_bubble():
    parameters = {**SMALL, **SIDES}
    case = cases(3, parameters)[0]
    stream = case.trace.outputs["o_conv"]
    moved = stream.beat[stream.valid & stream.ready]
    cycle = np.flatnonzero(stream.valid & stream.ready)
    sent = case.payloads["i_conv"]
    same_set = np.diff(sent["table_set"][moved]) == 0
    step_changes = np.diff(sent["step"][moved]) != 0
    inside = same_set & step_changes
    assert inside.any()
    assert (np.diff(cycle)[inside] == 1).all()


@pytest.mark.parametrize(
    "sizes",
    [SMALL, {"groups": 1, "resident_groups": 1, "steps": 1, "channel_tiles": 1, "lanes": 1}],
    ids=["small", "single"],
)
def test_level1(sizes):
    parameters = {**sizes, **SIDES}
    assert_level1("scale_file", parameters, cases(1, parameters)[:3])


@pytest.mark.cosim
@pytest.mark.parametrize(
    "sizes",
    [{**SMALL, **SIDES}, {"lanes": 4, **SIDES}, {"lanes": 16, "groups": 16, **SIDES}],
    ids=["small", "lanes4", "lanes16"],
)
def test_rtl(sizes):
    assert_level2("scale_file", sizes)


def test_sizes_of_rows():
    config = ScaleFileConfig(groups=8, resident_groups=3, steps=5, channel_tiles=3, lanes=4)
    assert (config.group_row_bits, config.step_row_bits, config.channel_tile_bits) == (2, 3, 2)
    assert config.row_bits == 5


def test_a_stray_write_does_not_block_boundaries_written_anew():
    """Seed 6 once closed a bank in front of a tile for which new boundaries waited, for ever."""
    parameters = {"groups": 8, "resident_groups": 8, "steps": 8, "channel_tiles": 4, "lanes": 4}
    assert len(cases(6, parameters)) == CASES
