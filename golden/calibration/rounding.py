"""Weight rounding that minimises the error of a layer's output, not of its weights.

Rounding one weight leaves an error on the output that the weights not yet rounded can cancel where
their inputs are correlated: ``minimise sum over o of (w - w')[o] H (w - w')[o]^T`` with H the
covariance of the layer's inputs (their mean is the bias correction's part). With ``H = U U^T``, U
upper triangular, the error is ``sum over i of U[i,i]**2 (w[i] - w'[i] + sum over j < i of
(w[j] - w'[j]) U[j,i] / U[i,i])**2``: inputs are taken one by one, and each is rounded from where
its term is 0. That is GPTQ (Frantar et al., arXiv:2210.17323) without an inverse of H, as in
QuIP (Chee et al., arXiv:2307.13304): one factorization a layer, for all its output channels.
"""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from golden.calibration.artifact import Artifact
from golden.calibration.topology import LayerSpec
from golden.exact_matmul import patches
from golden.integer.network import IntegerNetwork
from golden.threads import Turns, spread

__all__ = ["input_covariances", "round_weight"]

Float64 = npt.NDArray[np.float64]

DAMPING = 0.05  # of the mean variance, added to every input's; 0.002 to 0.2 are alike
BLOCK = 128  # inputs rounded one by one between two matrix products
ROWS_PER_CALL = 512  # windows of one layer that one evaluation of the network contributes
LEVELS = 127


class _Moments:
    """Sums and product sums of the windows that every conv of the network reads."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.count: dict[str, int] = {}
        self.total: dict[str, Tensor] = {}
        self.product: dict[str, Tensor] = {}

    def add(self, name: str, step: int, rows: Tensor) -> None:
        """Add windows (n, K) of a layer; float sums, so a step waits for those before it."""
        product, total = (rows.T @ rows).double(), rows.double().sum(dim=0)
        with self.turns.turn(name, step):
            if name not in self.product:
                self.count[name], self.total[name], self.product[name] = len(rows), total, product
                return
            self.count[name] += len(rows)
            self.total[name] += total
            self.product[name] += product


class _Windows:
    """Takes some windows of every conv at one step, drawn by (seed, step)."""

    def __init__(
        self, moments: _Moments, names: set[str], scales: Mapping[str, float], seed: int, step: int
    ) -> None:
        self.moments, self.names, self.scales, self.step = moments, names, scales, step
        self.generator = np.random.Generator(
            np.random.Philox(key=np.array([seed, step], dtype=np.uint64))
        )

    def operand(self, spec: LayerSpec, operand: Tensor) -> None:
        """Add some windows of a layer's input, in real units."""
        if spec.name not in self.names:
            return
        left, right, top, bottom = spec.padding
        padded = torch.nn.functional.pad(operand, (0, 0, left, right, top, bottom))
        rows = patches(padded.contiguous(), spec.kernel, spec.stride, torch.float32)
        if len(rows) > ROWS_PER_CALL:
            chosen = np.sort(self.generator.permutation(len(rows))[:ROWS_PER_CALL])
            rows = rows[torch.from_numpy(chosen).to(rows.device)]
        self.moments.add(spec.name, self.step, rows * self.scales[spec.name])

    def bias(self, spec: LayerSpec, acc: Tensor, steps: Tensor) -> None:
        """The artifact's own biases are used."""


def input_covariances(
    artifact: Artifact,
    operand_steps: Mapping[str, Float64],
    x: npt.NDArray[np.int16],
    names: set[str],
    seed: int,
    device: torch.device | str = "cpu",
    progress: Callable[[float], None] | None = None,
) -> dict[str, Tensor]:
    """Covariance of the windows that each of ``names`` reads, (K, K) float64, K = kh*kw*Cin.

    ``operand_steps``: by layer, (G,) real value of one operand LSB; ``x`` (T, N, C, H, W) int16:
    x_t to measure on; ``seed``: of the choice of windows.
    """
    moments, network = _Moments(), IntegerNetwork(artifact, device)

    def gather(step: int) -> None:
        group = artifact.group(step)
        scales = {name: float(operand_steps[name][group]) for name in names}
        with moments.turns.piece():
            windows = _Windows(moments, names, scales, seed, step)
            network.eps(torch.from_numpy(x[step]).to(device), step, windows)

    for step, _ in enumerate(spread(gather, range(len(x)), device)):
        if progress is not None:
            progress((step + 1) / len(x))
    result = {}
    for name in sorted(names):
        count, mean = moments.count[name], moments.total[name] / moments.count[name]
        # in place, since these are the largest tensors of a calibration
        product = moments.product.pop(name)
        result[name] = product.div_(count).sub_(torch.outer(mean, mean)).cpu()
    return result


def round_weight(weight: Float64, steps: Float64, covariance: Tensor) -> npt.NDArray[np.int8]:
    """Integers -127..127 for ``weight`` (Cout, Cin, k, k) in units of ``steps`` (Cout,).

    ``covariance`` (K, K) of the windows in the order (kh, kw, Cin). A channel of step 0 is 0.
    """
    outputs, inputs, kernel, _ = weight.shape
    # (Cout, Cin, kh, kw) -> (K, Cout), in steps
    rows = weight.transpose(2, 3, 1, 0).reshape(-1, outputs) / np.where(steps > 0, steps, 1.0)
    # inputs of large variance first: their errors are the ones worth cancelling
    order = torch.argsort(covariance.diagonal(), descending=True, stable=True)
    result = np.empty_like(rows)
    result[order] = _round_in_order(rows[order], _feedback(covariance, order))
    # (K, Cout) -> (Cout, Cin, kh, kw)
    found = result.reshape(kernel, kernel, inputs, outputs).transpose(3, 2, 0, 1).astype(np.int8)
    found[steps == 0] = 0
    return found


def _feedback(covariance: Tensor, order: Tensor) -> Tensor:
    """``U[j, i] / U[i, i]`` of the damped covariance in ``order``, (K, K), above the diagonal."""
    backwards = order.flip(0)
    damped = covariance[backwards][:, backwards]
    damped.diagonal().add_(DAMPING * float(covariance.diagonal().mean()) + 1e-12)
    # the lower factor of the reversed matrix is the upper one, reversed
    torch.linalg.cholesky(damped, out=damped)
    damped /= damped.diagonal().clone()
    return damped.flip(0, 1)


def _round_in_order(rows: Float64, feedback: Tensor) -> Float64:
    """Integers for ``rows`` (K, Cout), the first row first.

    Products are torch's, on its threads: those of numpy would be on as many as there are cores.
    """
    integers = np.empty_like(rows)
    errors = torch.empty(rows.shape, dtype=torch.float64)
    error, factor = errors.numpy(), feedback.numpy()
    for first in range(0, len(rows), BLOCK):
        last = min(first + BLOCK, len(rows))
        # what all rows before the block ask of it, as one product
        asked = torch.mm(feedback[:first, first:last].T, errors[:first]).numpy()
        target = rows[first:last] + asked
        for i in range(first, last):
            integers[i] = np.clip(np.rint(target[i - first]), -LEVELS, LEVELS)
            error[i] = rows[i] - integers[i]
            target[i - first + 1 :] += factor[i, i + 1 : last, None] * error[i]
    return integers
