"""datapath: three paths at once, and the network's own layers through it."""

import numpy as np
import pytest

from cosim.tb_datapath import cases
from hdl.datapath import Datapath
from tests.block_test import assert_level1, assert_level2

ODD: dict[str, int | str] = {
    "rows": 3, "cols": 2, "vector_lanes": 1, "depth": 5, "steps": 2, "channel_tiles": 1,
    "groups": 3, "resident_groups": 2, "decode": "product_shift",
}  # fmt: skip


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"rows": 0}, r"rows must be in 1\.\.64, got 0"),
        ({"cols": 100}, r"cols must be in 1\.\.64, got 100"),
        ({"segments": 5}, "segments must be"),
    ],
)
def test_bad_parameters(parameters, text):
    with pytest.raises(ValueError, match=text):
        Datapath(**parameters)


def test_level1():
    assert_level1("datapath", ODD, cases(1, ODD)[:2])


def test_paths_do_not_wait_for_each_other():
    case = cases(1, {"rows": 4, "cols": 4, "depth": 16})[0]
    busy = {name: stream.valid & stream.ready for name, stream in case.trace.inputs.items()}
    assert (busy["i_conv"] & busy["i_activation"]).any()
    assert (busy["i_conv"] & busy["i_edge"]).any()
    assert (busy["i_conv"] & busy["i_write"]).any()


@pytest.mark.cosim
@pytest.mark.parametrize(
    "parameters",
    [
        ODD,
        {"rows": 4, "cols": 4, "depth": 16},
        {"rows": 8, "cols": 8, "depth": 64},
        {"rows": 6, "cols": 10, "depth": 20, "segments": 16},
        {"rows": 16, "cols": 16},
        {"rows": 4, "cols": 4, "depth": 16, "multiplier": "mult18x18d"},
    ],
    ids=["odd", "4x4", "8x8", "6x10", "16x16", "mult18x18d"],
)
def test_rtl(parameters):
    assert_level2("datapath", parameters)


def test_golden_counts_saturations_of_both_requantizers():
    case = cases(2, {"rows": 4, "cols": 4, "depth": 16})[0]
    for name in ("conv_saturations", "edge_saturations"):
        counts, clear = case.trace.plain_out[name], case.trace.plain_in["clear"]
        assert counts.max() > 0
        falls = np.flatnonzero(np.diff(counts) < 0)
        assert len(falls)
        assert (clear[falls] == 1).all()
        assert (counts[falls + 1] == 0).all()
