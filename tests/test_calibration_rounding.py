"""Weight rounding for least output error: against nearest rounding, brute force and covariances."""

from itertools import product

import numpy as np
import pytest
import torch

from golden.calibration import rounding
from golden.calibration.rounding import input_covariances, round_weight
from golden.integer.reference import ReferenceNetwork
from golden.network.samplers import noise_q12
from tests.small_network import STEPS, small_artifact


def weights(outputs: int, inputs: int, kernel: int, seed: int):
    return np.random.default_rng(seed).normal(0, 1, (outputs, inputs, kernel, kernel))


def steps_of(weight):
    return np.abs(weight.reshape(len(weight), -1)).max(axis=1) / 127


def covariance(size: int, correlation: float) -> torch.Tensor:
    exponent = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    return torch.from_numpy(correlation**exponent)


def output_error(weight, integers, steps, matrix) -> float:
    difference = integers * steps[:, None, None, None] - weight
    # (Cout, Cin, kh, kw) -> (Cout, kh*kw*Cin), the order of the windows
    rows = difference.transpose(0, 2, 3, 1).reshape(len(weight), -1)
    return float(np.einsum("ok,kl,ol->", rows, matrix.numpy(), rows))


def test_uncorrelated_inputs_round_to_nearest():
    weight = weights(5, 4, 3, 0)
    steps = steps_of(weight)
    found = round_weight(weight, steps, torch.eye(36, dtype=torch.float64))
    assert (found == np.rint(weight / steps[:, None, None, None])).all()


@pytest.mark.parametrize("correlation", [0.5, 0.9, 0.99])
def test_correlated_inputs_cancel_errors(correlation):
    weight = weights(16, 10, 3, 1)
    steps, matrix = steps_of(weight), covariance(90, correlation)
    found = round_weight(weight, steps, matrix)
    nearest = np.rint(weight / steps[:, None, None, None])
    assert np.abs(found).max() <= 127
    ratio = output_error(weight, found, steps, matrix) / output_error(
        weight, nearest, steps, matrix
    )
    assert ratio < 1 - correlation / 2


def test_close_to_the_best_of_all_roundings():
    """Six weights, each rounded down or up: all 64 ways, for every channel."""
    weight = weights(8, 6, 1, 2)
    steps, matrix = np.full(8, 0.5), covariance(6, 0.9)
    found = round_weight(weight, steps, matrix)
    low = np.floor(weight / 0.5)
    for o in range(8):
        row, integer = weight[o : o + 1], found[o : o + 1].astype(float)
        every = [
            output_error(row, low[o : o + 1] + np.reshape(up, (1, 6, 1, 1)), steps[:1], matrix)
            for up in product((0, 1), repeat=6)
        ]
        assert output_error(row, integer, steps[:1], matrix) <= 2.5 * min(every)


def one_by_one(row, matrix):
    """Each integer in turn from where all that is not yet rounded would leave the least error."""
    order = np.argsort(-np.diag(matrix), kind="stable")
    matrix, row = matrix[order][:, order], row[order]
    errors = np.zeros(len(row))
    for i in range(len(row)):
        # the rest r of least e H e: H[r, r] e[r] = -H[r, done] e[done]; the next one stands first
        wanted = np.linalg.solve(matrix[i:, i:], -matrix[i:, :i] @ errors[:i])
        errors[i] = row[i] - np.clip(np.rint(row[i] - wanted[0]), -127, 127)
    integers = np.empty(len(row))
    integers[order] = row - errors
    return np.rint(integers)


@pytest.mark.parametrize("inputs", [5, 128, 150, 300])
def test_equals_the_definition(inputs):
    rng = np.random.default_rng(inputs)
    values = rng.normal(size=(inputs // 2, inputs)) * rng.uniform(0.1, 3, inputs)
    matrix = values.T @ values / len(values)  # of half rank: only the damping makes it regular
    damped = matrix + rounding.DAMPING * np.diag(matrix).mean() * np.eye(inputs)
    weight = weights(2, inputs, 1, 4)
    steps = steps_of(weight)
    found = round_weight(weight, steps, torch.from_numpy(matrix))
    for o in range(2):
        expected = one_by_one(weight[o].ravel() / steps[o], damped)
        assert (found[o].ravel() == expected).all()


def test_a_dead_channel_stays_dead():
    weight = weights(2, 3, 1, 3)
    weight[1] = 0
    found = round_weight(weight, steps_of(weight), covariance(3, 0.5))
    assert (found[1] == 0).all()


def test_covariances_are_those_of_the_windows(monkeypatch):
    monkeypatch.setattr(rounding, "ROWS_PER_CALL", 1 << 20)  # no choice among the windows
    artifact = small_artifact()
    name = "mid_block.resnets.0.conv1"
    x = np.stack(
        [np.stack([noise_q12(1, i, t, (1, 8, 8)) for i in range(2)]) for t in range(STEPS)]
    )
    scale = {layer: np.full(artifact.groups, 0.25) for layer in artifact.layers}
    found = input_covariances(artifact, scale, x, {name}, seed=0)
    windows = []
    for step in range(STEPS):
        for image in x[step]:
            captured = {c.name: c for c in ReferenceNetwork(artifact).capture(step, image)}[name]
            k = captured.constants
            code = captured.codes.astype(np.int64)
            operand = np.where(code > 127, (code & 127) << k.k[0], (code & 127) - k.z) * 0.25
            padded = np.pad(operand, ((0, 0), (1, 1), (1, 1)))
            for y in range(operand.shape[1]):
                for column in range(operand.shape[2]):
                    window = padded[:, y : y + 3, column : column + 3]
                    windows.append(window.transpose(1, 2, 0).ravel())
    expected = np.cov(np.array(windows).T, bias=True)
    assert found[name].numpy() == pytest.approx(expected, abs=1e-4)
