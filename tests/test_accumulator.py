"""accumulator: no hazard at any distance, one bank drains while the other fills."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.tb_accumulator import cases
from golden.accumulator import AccumulatorModel, accumulator
from golden.cycles import simulate, stall_pattern
from hdl.accumulator import Accumulator
from tests.block_test import assert_level1, assert_level2


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"depth": 0}, r"depth must be in 1\.\.4096, got 0"),
        ({"sum_width": 40}, r"sum_width must be in 2\.\.32, got 40"),
    ],
)
def test_bad_parameters(parameters, text):
    with pytest.raises(ValueError, match=text):
        Accumulator(**parameters)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4)), min_size=1, max_size=5))
def test_golden_equals_sums_over_passes(tiles):
    rng = np.random.Generator(np.random.PCG64(len(tiles)))
    fields: dict[str, list[int]] = {"pixel": [], "first": [], "last": [], "end": []}
    sums, expected = [], []
    for pixels, passes in tiles:
        values = rng.integers(-1000, 1000, size=(passes, pixels, 2))
        sums.append(values.reshape(-1, 2))
        expected.append(values.sum(axis=0))
        for number in range(passes):
            fields["pixel"] += range(pixels)
            fields["first"] += [number == 0] * pixels
            fields["last"] += [number == passes - 1] * pixels
            fields["end"] += [place == pixels - 1 for place in range(pixels)]
    pixel_in, first, last, end_in = (np.array(values, int) for values in fields.values())
    acc, pixel, end = accumulator(np.concatenate(sums), pixel_in, first, last, end_in)
    assert np.array_equal(acc, np.concatenate(expected))
    assert pixel.tolist() == [place for pixels, _ in tiles for place in range(pixels)]
    assert end.sum() == len(tiles)


def test_golden_refuses_an_overflow_and_a_missing_pixel():
    one = np.ones(1, int)
    with pytest.raises(ValueError, match="sum of beat 0 must fit 8 bits signed"):
        accumulator(np.array([[128]]), 0 * one, one, one, one, acc_width=8)
    with pytest.raises(ValueError, match=r"tile must write pixels 0\.\.2, pixel 0 is missing"):
        accumulator(np.array([[1]]), 2 * one, one, one, one)


def test_tiles_of_several_passes_never_stall_the_input():
    pixels, passes, tiles = 16, 2, 5
    beats = pixels * passes * tiles
    pixel = np.arange(beats) % pixels
    last = (np.arange(beats) // pixels % passes == passes - 1).astype(int)
    model = AccumulatorModel(pixel, last, (pixel == pixels - 1).astype(int))
    trace = simulate(
        model,
        sent={"i": beats},
        delivered={"o": pixels * tiles},
        stalls={name: stall_pattern("never", 0) for name in ("i", "o")},
    )
    assert trace.inputs["i"].ready.all()


def test_a_simulation_that_stands_still_says_what_is_missing():
    one = np.array([1])
    with pytest.raises(RuntimeError, match=r"beats left: \{'i': 0, 'o': 1\}"):
        simulate(
            AccumulatorModel(one - 1, one, one),
            sent={"i": 1},
            delivered={"o": 2},
            stalls={name: stall_pattern("never", 0) for name in ("i", "o")},
        )


@pytest.mark.parametrize(("depth", "cols"), [(1, 1), (5, 2), (8, 3)])
def test_level1(depth, cols):
    parameters = {"depth": depth, "cols": cols, "sum_width": 20, "side_width": 5}
    assert_level1("accumulator", parameters, cases(1, parameters)[:4])


@pytest.mark.cosim
@pytest.mark.parametrize(("depth", "cols"), [(1, 1), (16, 4), (100, 3), (256, 16)])
def test_rtl(depth, cols):
    assert_level2("accumulator", {"depth": depth, "cols": cols, "sum_width": 24, "side_width": 5})
