"""The fast integer network against the blocks' plain functions, and both against float."""

import numpy as np
import pytest
import torch
from torch import Tensor

from golden import exact_float, exact_matmul, group_norm, requantizer, softmax
from golden.calibration.calibrate import Options, calibrate
from golden.calibration.quality import eps_sqnr
from golden.calibration.trajectories import run_float
from golden.integer import network as fast
from golden.integer import operations
from golden.integer.network import IntegerNetwork
from golden.integer.reference import ReferenceNetwork
from golden.network.samplers import make_sampler
from golden.sampler import sampler_step
from tests.small_network import GROUPS, STEPS, small_artifact, small_checkpoint

INTEGERS = {torch.int8, torch.int16, torch.int32, torch.int64}
T = torch.from_numpy


@pytest.fixture(scope="module")
def artifact():
    return small_artifact()


@pytest.fixture(scope="module")
def ddpm():
    return calibrate(
        small_checkpoint(),
        Options(steps=STEPS, groups=GROUPS, sampler="ddpm", images=4, report_images=0),
    )


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_whole_trajectories_are_the_same(sampler, request):
    artifact = request.getfixturevalue("artifact" if sampler == "ddim" else "ddpm")
    images = range(3, 6)
    exact = ReferenceNetwork(artifact).sample(11, images)
    assert exact.dtype == np.int16
    assert (IntegerNetwork(artifact).sample(11, images) == exact).all()


@pytest.mark.parametrize("step", range(STEPS))
def test_eps_is_the_same_at_the_limits_of_x(artifact, step):
    rng = np.random.default_rng(step)
    x = rng.choice([-32768, -1, 0, 32767], (3, 1, 8, 8)).astype(np.int16)
    assert (
        IntegerNetwork(artifact).eps(T(x), step).numpy() == ReferenceNetwork(artifact).eps(x, step)
    ).all()


def test_threads_and_batches_change_nothing(artifact):
    network = IntegerNetwork(artifact)
    x = network.start(5, range(9))
    whole = network.eps(x, 2)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert (network.eps(x, 2) == whole).all()
    finally:
        torch.set_num_threads(threads)
    assert all((network.eps(x[i : i + 1], 2)[0] == whole[i]).all() for i in range(9))


def test_teacher_forced_error_is_small(artifact):
    sampler = make_sampler("ddim", small_checkpoint().scheduler, STEPS)
    reference = run_float(small_checkpoint().unet, sampler, 21, range(4))
    # random weights, 8 and 12 channels, 8-bit edges: an error of a tenth of the amplitude
    assert eps_sqnr(IntegerNetwork(artifact), reference).min() > 20


def test_every_tensor_between_operations_is_an_integer(artifact, monkeypatch):
    """Arguments and results of every public operation; ``exact_matmul`` alone uses floats."""
    seen: set[str] = set()

    def watch(module, name):
        function = getattr(module, name)

        def wrapped(*args, **kwargs):
            result = function(*args, **kwargs)
            for value in (*args, *kwargs.values(), result):
                for tensor in value if isinstance(value, tuple) else (value,):
                    if isinstance(tensor, Tensor):
                        assert tensor.dtype in INTEGERS, name
            seen.add(name)
            return result

        monkeypatch.setattr(module, name, wrapped)

    # no tensors of elements
    inner = {"tables", "half", "rsqrt", "largest_shift"}
    public = [name for name in operations.__all__ if name not in inner]
    for name in public:
        watch(operations, name)
    for name in ("operand", "norm", "conv", "residual", "attention", "network"):
        watch(fast._Pass, name)
    watch(operations.exact_matmul, "matmul")
    IntegerNetwork(artifact, kernels=False).sample(1, range(2))
    assert seen == {
        *public,
        "matmul",
        "operand",
        "norm",
        "conv",
        "residual",
        "attention",
        "network",
    }


@pytest.mark.parametrize("floats", [True, False])
@pytest.mark.parametrize("spread", [1, 900, 40000])
def test_group_norm_equals_the_block(spread, floats):
    rng = np.random.default_rng(0)
    seeds, _ = operations.tables(torch.device("cpu"))
    x = np.clip(rng.normal(50, spread, (2, 16, 6, 6)), -32768, 32767).astype(np.int16)
    x[0, :4] = np.sign(x[0, :4]) * 32767  # the largest sums of squares
    gamma, beta = rng.integers(-32768, 32768, (2, 16))
    gamma[:6] = 0, 1, -1, 32767, -32768, 0
    beta[:6] = 32767, -32768, 32767, -32768, 32767, -32768
    E = group_norm.epsilon_constant(4 * 36, 1e-6, 9)
    assert operations.largest_shift(4 * 36, E) <= operations.SHIFT_PROVEN
    u = operations.group_norm(
        T(x).permute(0, 2, 3, 1), T(gamma), T(beta), 4, torch.tensor([E]), seeds, floats
    )
    expected = group_norm.group_norm(x, gamma, beta, 4, E)
    assert (u.permute(0, 3, 1, 2).numpy() - 2048 == expected).all()


def test_operations_equal_the_blocks():
    rng = np.random.default_rng(1)
    _, exponentials = operations.tables(torch.device("cpu"))
    q, k, v = (rng.integers(-128, 128, (2, 2, 12, 8)) for _ in range(3))
    pairs = (40000, 18), (50000, 16)
    tensors = (T(t.astype(np.int8)) for t in (q, k, v))
    logit, value = map(torch.tensor, pairs)
    q_, k_, v_ = tensors
    got = operations.attention(q_, k_, v_, logit, value, exponentials)
    assert (got.numpy() == softmax.attention(q, k, v, *pairs)).all()
    row = (165_000_000, -164_000_000, 900_000, 3, 100_000, 40_000)
    x, eps, noise = rng.integers(-32768, 32768, (3, 500)).astype(np.int16)
    got = operations.sampler_step(T(x), T(eps), row, 4096, T(noise))
    assert (got.numpy() == sampler_step(x, eps, row, 4096, noise)).all()
    with pytest.raises(ValueError, match="this step needs noise"):
        operations.sampler_step(T(x), T(eps), row, 4096, None)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("limit", [(-128, 128), (-2063, 2064)], ids=["int8", "wide"])
@pytest.mark.parametrize("merged", [False, True])
def test_requantization_equals_the_block_at_every_shift(bits, limit, merged):
    rng = np.random.default_rng(2)
    count = exact_matmul.MERGED_SHIFT_MAX + 1 if merged else 48
    M = np.where(np.arange(count) == 5, 0, rng.integers(1 << 15, 1 << 16, count))
    n, b = np.arange(count), rng.choice([-32768, -1, 0, 1, 32767], count)
    x = rng.integers(limit[0], limit[1], (2, 3, 3, count)).astype(np.int16)
    # a 1x1 conv brings each acc to its own channel
    prepared = exact_matmul.ConvWeight.prepare(
        (np.eye(count, dtype=np.int8) * 127)[:, :, None, None],
        [count],
        [2063],
        1,
        (0, 0, 0, 0),
        torch.device("cpu"),
    )
    scale = T(np.ldexp(M.astype(float), -n))
    got = exact_matmul.conv2d_requantized(
        T(x), prepared, scale, T(b.astype(float))[None], bits, merged
    )
    expected = requantizer.requantize(127 * x.astype(np.int64), M, n, b, bits)
    assert (got.numpy() == expected).all()


@pytest.mark.parametrize("merged", [False, True])
def test_requantization_at_the_border_of_the_proof(merged):
    """The largest products, just beside a tie, at the last shift where the terms merge."""
    n, M = exact_matmul.MERGED_SHIFT_MAX, 65535
    x = np.array([[[[2047]], [[-2048]], [[1]], [[-1]]]], dtype=np.int16)
    prepared = exact_matmul.ConvWeight.prepare(
        np.full((1, 1, 1, 1), 127, np.int8), [1], [2063], 1, (0, 0, 0, 0), torch.device("cpu")
    )
    scale = T(np.ldexp([float(M)], -n))
    for b in (-32768, -1, 0, 32767):
        bias = torch.tensor([[float(b)]], dtype=torch.float64)
        got = exact_matmul.conv2d_requantized(T(x), prepared, scale, bias, 16, merged)
        assert (got.numpy() == requantizer.requantize(127 * x.astype(np.int64), M, n, b, 16)).all()


@pytest.mark.parametrize("value", [0, 1, 2, 3, (1 << 53) - 1, 1 << 53, (1 << 62) - 1, 1 << 62])
def test_bit_length_is_exact(value):
    assert int(exact_float.bit_length(torch.tensor([value]))[0]) == value.bit_length()


def test_products_are_cut_where_float32_would_round():
    """Adversarial: every operand and weight at its limit, so the bound is reached exactly."""
    weight = np.full((2, 64, 3, 3), 30, dtype=np.int8)
    weight[1] = -30
    reach = 2032
    prepared = exact_matmul.ConvWeight.prepare(
        weight, [64], [reach], 1, (1, 1, 1, 1), torch.device("cpu")
    )
    assert len(prepared.parts) > 1
    for first, last, matrix in prepared.parts:
        assert matrix.dtype == torch.float32
        assert int(matrix.abs().sum(dim=0).max()) * reach <= exact_matmul.SINGLE_LIMIT
        assert 9 * (last - first) == len(matrix)
    x = torch.full((1, 4, 4, 64), reach, dtype=torch.int16)
    acc = exact_matmul.conv2d(x, prepared)
    assert int(acc[0, 1, 1, 0]) == 30 * reach * 576
    assert int(acc[0, 1, 1, 1]) == -30 * reach * 576
    # one unit off in one place must show
    x[0, 1, 1, 7] -= 1
    assert int(exact_matmul.conv2d(x, prepared)[0, 1, 1, 0]) == 30 * reach * 576 - 30
    many = exact_matmul.ConvWeight.prepare(
        np.full((1, 512, 3, 3), 127, dtype=np.int8),
        [512],
        [reach],
        1,
        (0, 0, 0, 0),
        torch.device("cpu"),
    )
    assert [part[2].dtype for part in many.parts] == [torch.float64]


def test_matmul_refuses_what_it_cannot_prove():
    x = torch.ones(2, 2, dtype=torch.int64)
    assert exact_matmul.matmul(x, x, 1 << 53).tolist() == [[2, 2], [2, 2]]
    with pytest.raises(OverflowError, match="at most"):
        exact_matmul.matmul(x, x, (1 << 53) + 1)


def test_reduced_precision_products_are_switched_off(artifact):
    before = torch.get_float32_matmul_precision()
    network = IntegerNetwork(artifact)
    x = network.start(5, range(2))
    exact = network.eps(x, 1)
    try:
        torch.set_float32_matmul_precision("medium")
        assert (network.eps(x, 1) == exact).all()
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
