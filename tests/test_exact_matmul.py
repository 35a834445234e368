import numpy as np
import pytest

from golden.exact_matmul import EXACT_LIMIT, conv2d_exact, matmul_exact


def brute_force_conv(operand, weight, stride, padding):
    """Python integers, one product at a time."""
    left, right, top, bottom = padding
    n, channels, height, width = operand.shape
    outputs, _, kh, kw = weight.shape
    ho = (height + top + bottom - kh) // stride + 1
    wo = (width + left + right - kw) // stride + 1
    result = np.zeros((n, outputs, ho, wo), dtype=object)
    for image in range(n):
        for o in range(outputs):
            for y in range(ho):
                for x in range(wo):
                    acc = 0
                    for c in range(channels):
                        for i in range(kh):
                            for j in range(kw):
                                row, col = y * stride + i - top, x * stride + j - left
                                if 0 <= row < height and 0 <= col < width:
                                    value = int(operand[image, c, row, col])
                                    acc += int(weight[o, c, i, j]) * value
                    result[image, o, y, x] = acc
    return result


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [
        pytest.param(3, 1, (1, 1, 1, 1), id="3x3"),
        pytest.param(3, 2, (1, 1, 1, 1), id="stride-2"),
        pytest.param(3, 2, (0, 1, 0, 1), id="right-and-bottom"),
        pytest.param(1, 1, (0, 0, 0, 0), id="1x1"),
        pytest.param(1, 2, (0, 0, 0, 0), id="1x1-stride-2"),
    ],
)
def test_conv_equals_brute_force(kernel, stride, padding):
    rng = np.random.default_rng(kernel * 10 + stride)
    operand = rng.integers(-2048, 2048, (2, 3, 6, 5))
    weight = rng.integers(-127, 128, (4, 3, kernel, kernel))
    got = conv2d_exact(operand, weight, stride, padding)
    assert got.dtype == np.int64
    assert (got == brute_force_conv(operand, weight, stride, padding)).all()


def test_batches_larger_than_one_piece_agree_with_single_images():
    rng = np.random.default_rng(1)
    operand = rng.integers(-128, 128, (5, 64, 16, 16))
    weight = rng.integers(-127, 128, (2, 64, 3, 3))
    whole = conv2d_exact(operand, weight, 1, (1, 1, 1, 1))
    for i in range(5):
        one = conv2d_exact(operand[i : i + 1], weight, 1, (1, 1, 1, 1))
        assert (whole[i] == one[0]).all()


def test_matmul_equals_big_integers():
    rng = np.random.default_rng(2)
    left, right = rng.integers(-(1 << 20), 1 << 20, (3, 7)), rng.integers(-(1 << 28), 1 << 28, 7)
    expected = left.astype(object) @ right[:, None].astype(object)
    assert (matmul_exact(left, right[:, None]) == expected).all()


def test_the_limit_itself_is_exact_and_one_more_is_refused():
    left = np.array([[1, 1]])
    half = EXACT_LIMIT // 2
    assert matmul_exact(left, np.array([[half], [half]]))[0, 0] == EXACT_LIMIT
    with pytest.raises(OverflowError, match=r"partial sums must be at most 2\*\*53"):
        matmul_exact(left, np.array([[half], [half + 1]]))
    with pytest.raises(OverflowError):
        conv2d_exact(np.full((1, 1, 1, 1), 2), np.full((1, 1, 1, 1), half + 1))


def test_floats_are_refused():
    with pytest.raises(TypeError, match="operand must be integers"):
        conv2d_exact(np.zeros((1, 1, 1, 1)), np.zeros((1, 1, 1, 1), dtype=np.int64))
