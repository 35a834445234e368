"""Float64 functions on integers against Python integers, at the ends of what is proven."""

import pytest
import torch

from golden.exact_float import moments, power, rounded_shift, scaled_floor
from golden.integer.slices import over_images


@pytest.mark.parametrize("shift", [0, 1, 15, 16, 30, 31, 32, 46, 47])
@pytest.mark.parametrize("multiplier", [0, 1 << 15, 65535])
def test_rounded_shift_is_round_half_up(shift, multiplier):
    x = [-32768, -32767, -1, 0, 1, 2, 3, 32766, 32767]
    got = rounded_shift(
        torch.tensor(x, dtype=torch.int16),
        torch.tensor([multiplier]),
        torch.tensor([shift]),
        -2048,
        2047,
        torch.int16,
    )
    half = (1 << shift) >> 1
    expected = [max(-2048, min(2047, (v * multiplier + half) >> shift)) for v in x]
    assert got.tolist() == expected


def test_ties_round_up():
    x = torch.tensor([-3, -1, 1, 3], dtype=torch.int16)
    got = rounded_shift(x, torch.tensor([1 << 15]), torch.tensor([16]), -128, 127, torch.int16)
    assert got.tolist() == [-1, 0, 1, 2]


def test_floor_of_the_last_of_53_bits():
    x = torch.tensor([1 << 30, (1 << 30) - 1], dtype=torch.int32)
    # (2**30 * 2**22 - 1) * 2**-40: one less than a whole number in the last place
    offset = torch.tensor([-1.0], dtype=torch.float64) * power(torch.tensor([-40]))
    scale = power(torch.tensor([-18]))
    got = scaled_floor(x, scale, offset, 0, 4095, torch.int32)
    assert got.tolist() == [4095, 4095]
    assert scaled_floor(x, scale, offset, -4096, 8191, torch.int32).tolist() == [4095, 4095]
    assert scaled_floor(x, scale, -offset, 0, 4096, torch.int32).tolist() == [4096, 4095]


def test_moments_at_the_limits_of_int16():
    x = torch.full((1, 4096, 2), -32768, dtype=torch.int16)
    x[0, 0, 1] = 32767
    first, second = moments(x)
    assert first.tolist() == [[-32768 * 4096, -32768 * 4095 + 32767]]
    assert second.tolist() == [[1 << 42, 4095 * (1 << 30) + 32767**2]]
    with pytest.raises(OverflowError, match=r"pass 2\*\*53"):
        moments(torch.zeros(1, (1 << 23) + 1, 1, dtype=torch.int16))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("images", [0, 1, 2, 5, 8])
@pytest.mark.parametrize("most", [1, 3, 100])
def test_slices_cover_every_image_once(threads, images, most):
    values, seen = torch.arange(images), []

    def work(part: slice) -> torch.Tensor:
        seen.append((part.stop - part.start, torch.get_num_threads()))
        return values[part] * 2

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        assert over_images(work, images, most).tolist() == (values * 2).tolist()
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert all(size <= most for size, _ in seen)
    if min(threads, images) > 1:
        assert {number for _, number in seen} == {1}
        assert len(seen) >= min(threads, images)


def test_an_error_in_a_slice_is_raised_and_the_threads_stay():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with pytest.raises(ZeroDivisionError):
            over_images(lambda part: torch.ones(1) * (1 // part.start), 4, 1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
