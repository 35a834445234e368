"""Bias tables: ``b[i, oc] = round((bias + time[i]) / lsb + correction[i, oc])``.

Rounded weights and coded activations shift the mean of every conv's output. The correction of a
channel at a step is ``mean(float conv - bias) / lsb - mean(acc * M * 2**-n)``, over images and
pixels, both on the same x_t. Layers are corrected in execution order within one run: each is
measured on inputs that its predecessors, already corrected, have produced.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import local
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from golden.calibration.artifact import Artifact
from golden.calibration.topology import LayerSpec, layers
from golden.calibration.trajectories import X_FRACTION
from golden.errors import UserError
from golden.integer.network import IntegerNetwork
from golden.network.unet import UNet
from golden.threads import spread, torch_threads

__all__ = ["base_biases", "corrections", "round_biases"]

Float64 = npt.NDArray[np.float64]


def base_biases(
    unet: UNet, timesteps: list[int], output_steps: dict[str, Float64], group_of_step: list[int]
) -> dict[str, Float64]:
    """Bias plus time embedding in output LSBs, (T, Cout) float64 by layer.

    ``output_steps``: by layer, (G,) real value of one output LSB.
    """
    biases = {}
    with torch.no_grad(), torch_threads(1):
        steps = torch.tensor(timesteps, dtype=torch.int64, device=next(unet.parameters()).device)
        embedding = unet.embed(steps)
        for name, spec in layers(unet.config).items():
            bias = unet.get_parameter(f"{name}.bias").detach().double()
            real = bias.expand(len(timesteps), -1)
            if spec.time_projection is not None:
                real = real + unet.get_submodule(spec.time_projection)(embedding).double()
            biases[name] = real.cpu().numpy() / output_steps[name][group_of_step][:, None]
    return biases


def round_biases(
    base: dict[str, Float64], correction: dict[str, Float64]
) -> dict[str, npt.NDArray[Any]]:
    """The tables ``<layer>.b`` int16 (T, Cout); ``UserError`` if one does not fit.

    ``correction``: (T, Cout) by layer, in output LSBs.
    """
    tables = {}
    for name, values in base.items():
        rounded = np.floor(values + correction[name] + 0.5)
        if np.abs(rounded).max() > 32767:
            raise UserError(f"layer {name}: a bias of {np.abs(rounded).max():.0f} LSBs, over int16")
        tables[f"{name}.b"] = rounded.astype(np.int16)
    return tables


@contextmanager
def _output_means(unet: UNet) -> Iterator[Callable[[Tensor, Tensor], dict[str, Float64]]]:
    """``means(x, timesteps)``, which any thread may call: the mean over images and pixels of every
    conv's output less its bias, by layer, (Cout,).
    """
    of_thread = local()

    def watch(name: str, pixels_last: bool) -> Any:
        bias = unet.get_parameter(f"{name}.bias").detach().double()

        def hook(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            axes = (0, 2, 3) if pixels_last else (0, 1)
            of_thread.means[name] = (output.double().mean(dim=axes) - bias).cpu().numpy()

        return unet.get_submodule(name).register_forward_hook(hook)

    @torch.no_grad()
    def means(x: Tensor, timesteps: Tensor) -> dict[str, Float64]:
        of_thread.means = {}
        unet(x, timesteps)
        found: dict[str, Float64] = of_thread.means
        return found

    handles = [
        watch(name, isinstance(unet.get_submodule(name), nn.Conv2d)) for name in layers(unet.config)
    ]
    try:
        yield means
    finally:
        for handle in handles:
            handle.remove()


class _Corrector:
    """Gives every layer the bias that makes its mean the float network's, and remembers it."""

    def __init__(
        self, artifact: Artifact, base: dict[str, Float64], means: dict[str, Float64], step: int
    ) -> None:
        self.tensors, self.group = artifact.tensors, artifact.group(step)
        self.base, self.means, self.step = base, means, step
        self.found: dict[str, Float64] = {}

    def operand(self, spec: LayerSpec, operand: Tensor) -> None:
        """Not used."""

    def bias(self, spec: LayerSpec, acc: Tensor, steps: Tensor) -> Tensor:
        """Measure the layer and return its b, (1, Cout) int64."""
        multiplier, shift = (self.tensors[f"{spec.name}.{key}"][self.group] for key in "Mn")
        mean = acc.to(torch.float64).mean(dim=(0, 1, 2)).cpu().numpy()
        rescaled = np.ldexp(mean * multiplier, -shift.astype(np.int64))
        self.found[spec.name] = self.means[spec.name] - rescaled
        biased = np.floor(self.base[spec.name][self.step] + self.found[spec.name] + 0.5)
        table = np.clip(biased, -32768, 32767).astype(np.int64)
        return torch.from_numpy(table)[None].to(acc.device)


def corrections(
    unet: UNet,
    artifact: Artifact,
    x: npt.NDArray[np.int16],
    base: dict[str, Float64],
    output_steps: dict[str, Float64],
    timesteps: list[int],
    progress: Callable[[float], None] | None = None,
) -> dict[str, Float64]:
    """Correction of every layer at every step, (T, Cout) float64 in output LSBs.

    ``artifact`` gives every table but the biases; ``x`` (T, N, C, H, W) int16: x_t to measure on;
    ``base``: of ``base_biases``; ``output_steps``: by layer, (G,) real value of one output LSB.
    """
    device = next(unet.parameters()).device
    network = IntegerNetwork(artifact, device)
    rows: dict[str, list[Float64]] = {name: [] for name in artifact.layers}
    with _output_means(unet) as means:

        def correct(step: int) -> dict[str, Float64]:
            codes, group = torch.from_numpy(x[step]).to(device), artifact.group(step)
            now = torch.full((len(codes),), timesteps[step], device=device)
            real = means(codes.float() / (1 << X_FRACTION), now)
            targets = {name: mean / output_steps[name][group] for name, mean in real.items()}
            corrector = _Corrector(artifact, base, targets, step)
            network.eps(codes, step, corrector)
            return corrector.found

        for step, found in enumerate(spread(correct, range(len(x)), device)):
            for name, row in found.items():
                rows[name].append(row)
            if progress is not None:
                progress((step + 1) / len(x))
    return {name: np.stack(values) for name, values in rows.items()}
