"""Bias tables: ``b[i, oc] = round((bias + time[i]) / lsb + correction[group(i), oc])``.

Rounded weights and coded activations shift the mean of every conv's output. The correction of a
channel in a group is ``mean(float conv - bias) / lsb - mean(rsh(acc * M, n))``, over images, pixels
and steps of the group, both on the same x_t. Layers are corrected in execution order within one
run: each is measured on inputs that its predecessors, already corrected, have produced.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from golden.calibration.artifact import Artifact
from golden.calibration.quantized_unet import QuantizedUNet
from golden.calibration.topology import LayerSpec, layers
from golden.calibration.trajectories import X_FRACTION, Statistics
from golden.errors import UserError
from golden.network.unet import UNet
from golden.numbers import Int64

__all__ = ["base_biases", "corrections", "round_biases"]

Float64 = npt.NDArray[np.float64]
SAMPLES_PER_GROUP = 64


def base_biases(
    unet: UNet, timesteps: list[int], output_steps: dict[str, Float64], group_of_step: list[int]
) -> dict[str, Float64]:
    """Bias plus time embedding in output LSBs, (T, Cout) float64 by layer.

    ``output_steps``: by layer, (G,) real value of one output LSB.
    """
    with torch.no_grad():
        embedding = unet.embed(torch.tensor(timesteps, dtype=torch.int64))
    biases = {}
    for name, spec in layers(unet.config).items():
        bias = unet.get_parameter(f"{name}.bias").detach().double()
        real = bias.expand(len(timesteps), -1)
        if spec.time_projection is not None:
            with torch.no_grad():
                real = real + unet.get_submodule(spec.time_projection)(embedding).double()
        biases[name] = real.numpy() / output_steps[name][group_of_step][:, None]
    return biases


def round_biases(
    base: dict[str, Float64], correction: dict[str, Float64], group_of_step: list[int]
) -> dict[str, npt.NDArray[Any]]:
    """The tables ``<layer>.b`` int16 (T, Cout); ``UserError`` if one does not fit.

    ``correction``: (G, Cout) by layer, in output LSBs.
    """
    tables = {}
    for name, values in base.items():
        rounded = np.floor(values + correction[name][group_of_step] + 0.5)
        if np.abs(rounded).max() > 32767:
            raise UserError(f"layer {name}: a bias of {np.abs(rounded).max():.0f} LSBs, over int16")
        tables[f"{name}.b"] = rounded.astype(np.int16)
    return tables


@contextmanager
def _output_means(unet: UNet) -> Iterator[dict[str, Float64]]:
    """Mean over images and pixels of every conv's output less its bias, by layer, (Cout,)."""
    means: dict[str, Float64] = {}

    def watch(name: str, pixels_last: bool) -> Any:
        bias = unet.get_parameter(f"{name}.bias").detach().double()

        def hook(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            axes = (0, 2, 3) if pixels_last else (0, 1)
            means[name] = (output.double().mean(dim=axes) - bias).numpy()

        return unet.get_submodule(name).register_forward_hook(hook)

    handles = [
        watch(name, isinstance(unet.get_submodule(name), nn.Conv2d)) for name in layers(unet.config)
    ]
    try:
        yield means
    finally:
        for handle in handles:
            handle.remove()


def _samples(span: tuple[int, int], images: int) -> tuple[Int64, Int64]:
    """Steps and images to measure a group on: at most SAMPLES_PER_GROUP pairs, spread evenly."""
    length = span[1] - span[0]
    count = min(SAMPLES_PER_GROUP, length * images)
    index = np.arange(count) * (length * images) // count
    return span[0] + index // images, index % images


def corrections(
    unet: UNet,
    artifact: Artifact,
    statistics: Statistics,
    base: dict[str, Float64],
    output_steps: dict[str, Float64],
    timesteps: list[int],
    group: int,
) -> dict[str, Float64]:
    """Correction of every layer in one group, (Cout,) float64 in output LSBs.

    ``artifact`` gives every table but the biases.
    """
    edges = (0, *artifact.boundaries, artifact.steps)
    x_all = statistics.trajectories.x
    steps, images = _samples((edges[group], edges[group + 1]), x_all.shape[1])
    x = x_all[steps, images]
    with torch.no_grad(), _output_means(unet) as means:
        real = torch.from_numpy(x.astype(np.float32) / np.float32(1 << X_FRACTION))
        unet(real, torch.tensor([timesteps[i] for i in steps], dtype=torch.int64))
    found: dict[str, Float64] = {}

    def hook(spec: LayerSpec, rescaled: Int64, steps: Int64) -> Int64:
        target = means[spec.name] / output_steps[spec.name][group]
        found[spec.name] = target - rescaled.mean(axis=(0, 2, 3))
        biased = np.floor(base[spec.name][steps] + found[spec.name] + 0.5).astype(np.int64)
        return np.clip(biased, -32768, 32767)

    QuantizedUNet(artifact)(x, steps, bias_hook=hook)
    return found
