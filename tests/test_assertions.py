"""Assertions of the RTL: a simulation stops at states that no legal use leads to."""

from typing import Any

import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator

from hdl.mac_array import MacArray
from hdl.requantizer import Requantizer
from hdl.scale_file import ScaleFile


def _stops(block, inputs):
    """Whether a simulation of ``block`` with constant ``inputs`` stops within a few cycles."""
    m = Module()
    m.submodules.block = block
    m.d.comb += [port.eq(value) for port, value in inputs]
    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    try:
        simulator.run_until(4e-6)
    except AssertionError:
        return True
    return False


@pytest.mark.parametrize(("k", "valid", "stops"), [(4, 1, False), (5, 1, True), (7, 0, False)])
def test_mac_array_takes_no_k_above_4(k, valid, stops):
    block = MacArray(rows=2, cols=1)
    inputs = [(block.i.payload.k, k), (block.i.valid, valid), (block.o.ready, 1)]
    assert _stops(block, inputs) == stops


@pytest.mark.parametrize(("n", "valid", "stops"), [(47, 1, False), (48, 1, True), (63, 0, False)])
def test_requantizer_takes_no_shift_above_47(n, valid, stops):
    block = Requantizer(lanes=2)
    inputs = [(block.i.payload.shift[1], n), (block.i.valid, valid), (block.o.ready, 1)]
    assert _stops(block, inputs) == stops


@pytest.mark.parametrize("released", [0, 1])
def test_scale_file_releases_no_tile_that_it_has_not_taken(released):
    block: Any = ScaleFile(groups=2, resident_groups=1, steps=1, channel_tiles=1, lanes=1)
    inputs = [(block.release_edge, released), (block.release_edge_bank, 1)]
    assert _stops(block, inputs) == bool(released)
