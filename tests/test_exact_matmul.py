import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from golden.exact_matmul import (
    EXACT_LIMIT,
    SINGLE_LIMIT,
    ConvWeight,
    conv2d,
    conv2d_exact,
    matmul_exact,
)


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


def prepared(weight, reach, stride=1, padding=(1, 1, 1, 1), least=None):
    return ConvWeight.prepare(
        weight.astype(np.int8), [weight.shape[1]], [reach], stride, padding,
        torch.device("cpu"), None if least is None else [least],
    )  # fmt: skip


@pytest.mark.parametrize("path", ["direct", "patches"])
@pytest.mark.parametrize("channels", [3, 40])
@pytest.mark.parametrize(
    ("stride", "padding"), [(1, (1, 1, 1, 1)), (2, (1, 1, 1, 1)), (2, (0, 1, 0, 1))]
)
def test_both_ways_to_a_conv_equal_brute_force(path, channels, stride, padding):
    rng = np.random.default_rng(channels)
    operand = rng.integers(-2048, 2048, (2, channels, 6, 6))
    weight = rng.integers(-127, 128, (4, channels, 3, 3))
    ready = prepared(weight, 2048, stride, padding)
    assert len(ready.parts) == (1 if channels == 3 else 4)
    if path == "patches":
        ready = ConvWeight(ready.kernel, stride, padding, ready.parts, ())
    elif not ready.direct:
        pytest.skip("no oneDNN here")
    x = torch.from_numpy(operand.astype(np.int16)).permute(0, 2, 3, 1)
    got = conv2d(x, ready).permute(0, 3, 1, 2)
    assert (got.numpy() == brute_force_conv(operand, weight, stride, padding)).all()


def test_one_sided_operands_need_fewer_products():
    """What counts is the largest partial sum: weights of both signs on operands of -100..2032."""
    weight = np.full((1, 16, 3, 3), 100)
    weight[:, ::2] = -100
    reach, least = 2032, -100
    symmetric, sided = prepared(weight, reach), prepared(weight, reach, least=least)
    assert (len(symmetric.parts), len(sided.parts)) == (2, 1)
    largest = 9 * 100 * (8 * reach + 8 * -least)
    assert largest <= SINGLE_LIMIT < 9 * 100 * 16 * reach
    # all products of one sign at their largest: the bound itself
    operand = np.where(np.arange(16) % 2, reach, least)[None, :, None, None].repeat(3, 2)
    x = torch.from_numpy(operand.repeat(3, 3).astype(np.int16)).permute(0, 2, 3, 1)
    assert int(conv2d(x, sided)[0, 1, 1, 0]) == largest


def test_onednn_takes_its_direct_algorithm():
    """Winograd, or operands of fewer bits, would round."""
    code = """
import numpy as np, torch
from golden.exact_matmul import ConvWeight, conv2d
for channels, stride in ((1, 1), (32, 1), (64, 2)):
    weight = np.ones((64, channels, 3, 3), np.int8)
    cpu = torch.device("cpu")
    ready = ConvWeight.prepare(weight, [channels], [127], stride, (1, 1, 1, 1), cpu)
    conv2d(torch.ones(2, 16, 16, channels, dtype=torch.int16), ready)
print("direct" if ready.direct else "none")
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "ONEDNN_VERBOSE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    if result.stdout.rstrip().endswith("none"):
        pytest.skip("no oneDNN here")
    lines = [line for line in result.stdout.splitlines() if ",exec,cpu,convolution," in line]
    assert len(lines) == 3
    for line in lines:
        assert "alg:convolution_direct" in line
        assert "src:f32" in line
        assert "wei:f32" in line
        assert "bf16" not in line
