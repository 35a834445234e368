"""Integer sampler step, residual sum and image byte against big integers and the float sampler."""

import dataclasses

import numpy as np
import pytest
import torch

from golden.errors import UserError
from golden.network.image import to_bytes
from golden.network.samplers import SchedulerConfig, make_sampler
from golden.residual import residual_sum
from golden.sampler import coefficient_table, image_byte, sampler_step

LIMITS = [-32768, -32767, -4097, -4096, -1, 0, 1, 4095, 4096, 32766, 32767]


def brute(x, eps, row, reach, noise):
    p, q, a, b, d, c = (int(v) for v in row)
    half = 1 << 19
    x0 = min(max((p * x + q * eps + half) >> 20, -reach), reach)
    return min(max((a * x0 + b * x + d * eps + c * noise + half) >> 20, -32768), 32767)


@pytest.mark.parametrize("name", ["ddim", "ddpm"])
@pytest.mark.parametrize("clip", [True, False])
def test_step_equals_big_integers_and_the_float_sampler(name, clip):
    sampler = make_sampler(name, SchedulerConfig(clip_sample=clip), 50)
    table = coefficient_table(sampler)
    assert table.shape == (50, 6)
    rng = np.random.default_rng(7)
    for step, row in enumerate(table):
        x, eps, noise = (
            np.clip(np.rint(rng.normal(0, 4096, 64)), -32768, 32767).astype(int) for _ in range(3)
        )
        corners = np.array([(a, b) for a in LIMITS for b in LIMITS])
        x, eps = np.concatenate([x, corners[:, 0]]), np.concatenate([eps, corners[:, 1]])
        noise = np.concatenate([noise, np.resize(LIMITS, len(corners))])
        got = sampler_step(x, eps, row, 4096, noise)
        triples = zip(x.tolist(), eps.tolist(), noise.tolist(), strict=True)
        assert got.tolist() == [brute(a, b, row, 4096, c) for a, b, c in triples]
        real = sampler.step(step, *(torch.from_numpy(v / 4096.0) for v in (x, eps, noise))).numpy()
        # the coefficients are rounded to 2**-21; p and q act on up to 16 in magnitude
        bound = 1.1 + 16 * 4096 * 2.0**-20 * (1 + abs(row[2]) / 2**20)
        inside = np.abs(real * 4096) < 32700
        assert np.abs(got - real * 4096)[inside].max() < bound


def test_a_coefficient_out_of_range_is_refused():
    sampler = make_sampler("ddim", SchedulerConfig(), 2)
    sampler.table[1] = dataclasses.replace(sampler.table[1], q=-2048.0)
    with pytest.raises(UserError, match="sampler ddim: step 1 needs a coefficient of 2048 or more"):
        coefficient_table(sampler)


def test_image_byte_of_every_value():
    x = np.arange(-32768, 32768)
    exact = [min(max(((v + 4096) * 255 + 4096) >> 13, 0), 255) for v in range(-32768, 32768)]
    assert image_byte(x).tolist() == exact
    assert (image_byte(x) == to_bytes(x / 4096)).all()


def test_residual_sum_saturates():
    a = np.array([32767, -32768, 100, 32767])
    b = np.array([1, -1, -200, -32768])
    assert residual_sum(a, b).tolist() == [32767, -32768, -100, -1]
    with pytest.raises(ValueError, match="b must be in"):
        residual_sum(a, b + 40000)
