"""The integer UNet at full speed: batches on a CPU or a CUDA device, the same bytes on both.

``eps = IntegerNetwork(artifact).eps(x, step)``: everything between int16 x_t and int16 eps is an
integer tensor, from the tables of the artifact alone. ``golden.integer.reference`` is the same
network written with the blocks' plain functions; the two agree bit for bit.
"""

from collections.abc import Callable
from copy import copy
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from golden.calibration.artifact import Artifact
from golden.calibration.topology import LayerSpec
from golden.errors import UserError
from golden.exact_matmul import conv2d, conv2d_requantized, full_precision
from golden.integer import fused, native, operations
from golden.integer.layers import Layer, prepare, prepare_norm, tensor
from golden.integer.slices import over_images
from golden.network.samplers import START, noise_q12
from golden.sampler import image_byte

__all__ = ["IntegerNetwork", "Observer"]

Progress = Callable[[float], None]
SLICE_ELEMENTS = 1 << 20


class Observer(Protocol):
    """Sees every conv of a pass; used by calibration."""

    def operand(self, spec: LayerSpec, operand: Tensor) -> None:
        """Called with what the array multiplies, (N, H, W, Cin) int16."""

    def bias(self, spec: LayerSpec, acc: Tensor, steps: Tensor) -> Tensor | None:
        """Called with acc (N, Ho, Wo, Cout); may return b (N, Cout) int64 to use instead."""


class IntegerNetwork:
    """The network of an artifact on one device. Same integers whatever device and batch."""

    def __init__(
        self,
        artifact: Artifact,
        device: torch.device | str = "cpu",
        *,
        kernels: bool | None = None,
        like: "IntegerNetwork | None" = None,
    ) -> None:
        """``kernels``: fused steps, of ``golden.integer.fused`` on CUDA and ``native`` on a CPU;
        where they can run, if None. ``like``: a network on the same device whose layers are shared
        where tables are.
        """
        self.artifact = artifact
        self.device = torch.device(device)
        self._fused: dict[str, fused.FusedLayer] | None = None
        self._native: dict[str, native.NativeLayer] | None = None
        if kernels is not False:
            if fused.available(self.device):
                self._fused = {}
            elif self.device.type == "cpu" and native.available():
                self._native = {}
        if kernels and not self.kernels:
            raise UserError(f"kernels: none for {self.device}; CUDA needs triton, a CPU needs g++")
        self._seeds, self._exponentials = operations.tables(self.device)
        shared = {} if like is None else like._shared_with(artifact)
        self._layers = {
            name: shared[name] if name in shared else prepare(artifact, spec, self.device)
            for name, spec in artifact.layers.items()
        }
        self._norms = {name: prepare_norm(artifact, name, self.device) for name in artifact.norms}
        self._steps = torch.arange(artifact.steps, device=self.device)
        self._attentions = {
            spec.attention: [
                tuple(
                    tensor(
                        [artifact.tensors[f"{spec.attention}.{what}.{key}"][g] for key in "Mn"],
                        self.device,
                    )
                    for what in ("logit", "value")
                )
                for g in range(artifact.groups)
            ]
            for spec in artifact.layers.values()
            if spec.source == "attention"
        }
        self._coefficients = [
            tuple(int(v) for v in row) for row in artifact.tensors["sampler.coefficients"]
        ]

    @property
    def kernels(self) -> bool:
        """Whether fused steps run in place of the plain operations."""
        return self._fused is not None or self._native is not None

    def _fused_layer(self, name: str) -> fused.FusedLayer:
        assert self._fused is not None
        if name not in self._fused:
            self._fused[name] = fused.fuse(self.artifact, self._layers[name], self.device)
        return self._fused[name]

    def _native_layer(self, name: str) -> native.NativeLayer:
        assert self._native is not None
        if name not in self._native:
            self._native[name] = native.NativeLayer.of(self._layers[name])
        return self._native[name]

    def _shared_with(self, artifact: Artifact) -> "dict[str, Layer]":
        """Layers whose tables are the very arrays of ``artifact``, and as wide."""
        mine, theirs = self.artifact.tensors, artifact.tensors
        changed = {k for k in mine.keys() | theirs.keys() if mine.get(k) is not theirs.get(k)}
        return {
            name: layer
            for name, layer in self._layers.items()
            if layer.kind == artifact.kind(name)
            and not any(key.startswith(f"{name}.") for key in changed)
        }

    def eps(self, x_t: Tensor, steps: int | Tensor, observer: Observer | None = None) -> Tensor:
        """Predict eps (N, C, H, W) int16 Q3.12 of ``x_t``, the same shape, int16 Q3.12.

        ``steps``: one sampler step, or (N,) int64 steps of one timestep group.
        """
        config = self.artifact.config
        shape = (config.in_channels, *config.sample_size)
        if x_t.ndim != 4 or tuple(x_t.shape[1:]) != shape or x_t.dtype != torch.int16:
            wanted = f"(N, {', '.join(map(str, shape))}) int16"
            raise ValueError(f"x_t must be {wanted}, got {tuple(x_t.shape)} {x_t.dtype}")
        if self._fused is not None and observer is None:
            return _FusedPass(self, steps, observer).network(x_t)
        plain = self._native is None or observer is not None
        run = (_Pass if plain else _NativePass)(self, steps, observer)
        if observer is not None or self.device.type != "cpu":
            return run.network(x_t)
        # as many images at a time as keep a tensor of the first level at SLICE_ELEMENTS
        most = max(1, SLICE_ELEMENTS // (config.block_out_channels[0] * x_t[0, 0].numel()))
        with full_precision():
            return over_images(lambda part: run.of(part).network(x_t[part]), len(x_t), most)

    def start(self, seed: int, images: range) -> Tensor:
        """The noise that trajectories start from, (N, C, H, W) int16."""
        return self._noise(seed, images, START)

    def _noise(self, seed: int, images: range, step: int) -> Tensor:
        config = self.artifact.config
        shape = (config.in_channels, *config.sample_size)
        codes = np.stack([noise_q12(seed, image, step, shape) for image in images])
        return torch.from_numpy(codes).to(self.device)

    def step(self, x: Tensor, step: int, seed: int, images: range) -> Tensor:
        """One sampler step, x to x', both (N, C, H, W) int16 Q3.12."""
        coefficients = self._coefficients[step]
        noise = self._noise(seed, images, step) if coefficients[5] else None
        reach = int(self.artifact.tensors["sampler.reach"][0])
        return operations.sampler_step(x, self.eps(x, step), coefficients, reach, noise)

    def sample(
        self, seed: int, images: range, progress: Progress | None = None
    ) -> npt.NDArray[np.int16]:
        """Denoise ``images`` of ``seed`` from their own noise: x0 (N, C, H, W) int16 Q3.12."""
        x = self.start(seed, images)
        for step in range(self.artifact.steps):
            x = self.step(x, step, seed, images)
            if progress is not None:
                progress((step + 1) / self.artifact.steps)
        return x.cpu().numpy()

    def images(self, seed: int, images: range) -> npt.NDArray[np.uint8]:
        """``sample`` as bytes, (N, C, H, W) uint8."""
        return image_byte(self.sample(seed, images))


class _Pass:
    """One evaluation; tensors are (N, H, W, C)."""

    def __init__(self, net: IntegerNetwork, steps: int | Tensor, observer: Observer | None) -> None:
        self.net, self.artifact, self.observer = net, net.artifact, observer
        if isinstance(steps, int):
            self.group = self.artifact.group(steps)
            self.steps = net._steps[steps : steps + 1]
        else:
            groups = {self.artifact.group(int(step)) for step in steps.unique()}
            if len(groups) != 1:
                raise ValueError("steps of one call must belong to one timestep group")
            self.group = groups.pop()
            self.steps = steps.to(net.device)

    def of(self, images: slice) -> "_Pass":
        """The same evaluation of some of the images."""
        part = copy(self)
        if len(self.steps) > 1:
            part.steps = self.steps[images]
        return part

    def operand(self, layer: Layer, source: Tensor) -> Tensor:
        """What the array multiplies, int16."""
        if layer.kind == "int8_attention":
            return source.to(torch.int16)
        if layer.operands:
            flat = torch.index_select(layer.operands[self.group], 0, source.reshape(-1))
            return flat.view(source.shape)
        top = 2048 if layer.kind == "wide_stream" else 128
        return operations.edge(source, *layer.edge[self.group], top)

    def conv(self, name: str, source: Tensor, residual: Tensor | None = None) -> Tensor:
        """Run one layer; ``source``: u index, stream, x_t or attention output.

        ``residual``: int16, added with saturation.
        """
        layer, g = self.net._layers[name], self.group
        operand = self.operand(layer, source)
        if layer.spec.upsample:
            operand = operations.upsample(operand)
        if self.observer is not None:
            self.observer.operand(layer.spec, operand)
        bias = layer.bias[self.steps]
        if self.observer is not None:
            acc = conv2d(operand, layer.weight)
            given = self.observer.bias(layer.spec, acc, self.steps)
            bias = bias if given is None else given.to(bias)
        result = conv2d_requantized(
            operand, layer.weight, layer.scale[g], bias, layer.spec.out_width, layer.merged
        )
        return result if residual is None else operations.residual_sum(residual, result)

    def norm(self, name: str, x: Tensor) -> Tensor:
        """GroupNorm of the stream: index u + 2048."""
        gamma, beta, E, floats = self.net._norms[name]
        groups = self.artifact.config.norm_num_groups
        return operations.group_norm(x, gamma, beta, groups, E, self.net._seeds, floats)

    def normed_conv(
        self, norm: str, name: str, x: Tensor, residual: Tensor | None = None
    ) -> Tensor:
        """A norm of the stream and the one conv that reads it."""
        return self.conv(name, self.norm(norm, x), residual)

    def residual(self, path: str, x: Tensor) -> Tensor:
        """Residual block on the stream."""
        shortcut = f"{path}.conv_shortcut"
        around = self.conv(shortcut, x) if shortcut in self.artifact.layers else x
        hidden = self.normed_conv(f"{path}.norm1", f"{path}.conv1", x)
        return self.normed_conv(f"{path}.norm2", f"{path}.conv2", hidden, around)

    def attention(self, path: str, x: Tensor) -> Tensor:
        """Self-attention over the pixels, added to the stream."""
        n, height, width, channels = x.shape
        heads = self.artifact.config.heads(channels)
        u = self.norm(f"{path}.group_norm", x)
        # (N, H, W, C) -> (N, heads, L, d)
        q, k, v = (
            self.conv(f"{path}.to_{part}", u)
            .reshape(n, height * width, heads, channels // heads)
            .transpose(1, 2)
            for part in "qkv"
        )
        logit, value = self.net._attentions[path][self.group]
        out = operations.attention(q, k, v, logit, value, self.net._exponentials)
        out = out.transpose(1, 2).reshape(n, height, width, channels)
        return self.conv(f"{path}.to_out.0", out, x)

    def network(self, x_t: Tensor) -> Tensor:
        """x_t (N, C, H, W) int16 -> eps (N, C, H, W) int16."""
        config = self.artifact.config
        last = len(config.block_out_channels) - 1
        x = self.conv("conv_in", x_t.permute(0, 2, 3, 1))
        skips = [x]
        for i, block in enumerate(config.down_block_types):
            for j in range(config.layers_per_block):
                x = self.residual(f"down_blocks.{i}.resnets.{j}", x)
                if block.startswith("Attn"):
                    x = self.attention(f"down_blocks.{i}.attentions.{j}", x)
                skips.append(x)
            if i < last:
                x = self.conv(f"down_blocks.{i}.downsamplers.0.conv", x)
                skips.append(x)
        x = self.residual("mid_block.resnets.0", x)
        x = self.attention("mid_block.attentions.0", x)
        x = self.residual("mid_block.resnets.1", x)
        for i, block in enumerate(config.up_block_types):
            for j in range(config.layers_per_block + 1):
                x = self.residual(f"up_blocks.{i}.resnets.{j}", torch.cat([x, skips.pop()], dim=3))
                if block.startswith("Attn"):
                    x = self.attention(f"up_blocks.{i}.attentions.{j}", x)
            if i < last:
                x = self.conv(f"up_blocks.{i}.upsamplers.0.conv", x)
        eps = self.normed_conv("conv_norm_out", "conv_out", x)
        return eps.permute(0, 3, 1, 2).contiguous()


class _FusedPass(_Pass):
    """The same evaluation in few CUDA kernels."""

    def conv(self, name: str, source: Tensor, residual: Tensor | None = None) -> Tensor:
        return self._conv(name, source, residual, False)

    def _conv(self, name: str, source: Tensor, residual: Tensor | None, ready: bool) -> Tensor:
        layer = self.net._fused_layer(name)
        return fused.conv(source, layer, self.group, self.steps, residual, ready=ready)

    def norm(self, name: str, x: Tensor, table: Tensor | None = None) -> Tensor:
        gamma, beta, E, _ = self.net._norms[name]
        groups = self.artifact.config.norm_num_groups
        return fused.group_norm(x, gamma, beta, groups, E, self.net._seeds, table)

    def normed_conv(
        self, norm: str, name: str, x: Tensor, residual: Tensor | None = None
    ) -> Tensor:
        table = self.net._layers[name].operands[self.group]
        return self._conv(name, self.norm(norm, x, table), residual, True)

    def attention(self, path: str, x: Tensor) -> Tensor:
        heads = self.artifact.config.heads(x.shape[3])
        u = self.norm(f"{path}.group_norm", x)
        q, k, v = (self.conv(f"{path}.to_{part}", u) for part in "qkv")
        logit, value = self.net._attentions[path][self.group]
        out = fused.attention(q, k, v, heads, logit, value, self.net._exponentials)
        return self.conv(f"{path}.to_out.0", out, x)


class _NativePass(_Pass):
    """The same evaluation with one pass over memory between two products."""

    def conv(self, name: str, source: Tensor, residual: Tensor | None = None) -> Tensor:
        layer = self.net._native_layer(name)
        if not layer.can_run or layer.tables:
            return super().conv(name, source, residual)
        return self._conv(layer, layer.operand(source, self.group), residual)

    def _conv(
        self, layer: native.NativeLayer, operand: Tensor, residual: Tensor | None = None
    ) -> Tensor:
        bias = layer.layer.bias[self.steps]
        return native.conv(operand, layer, self.group, bias, residual)

    def normed_conv(
        self, norm: str, name: str, x: Tensor, residual: Tensor | None = None
    ) -> Tensor:
        layer = self.net._native_layer(name)
        if not layer.can_run:
            return super().normed_conv(norm, name, x, residual)
        gamma, beta, E, floats = self.net._norms[norm]
        groups, table = self.artifact.config.norm_num_groups, layer.tables[self.group]
        operand = native.group_norm(x, gamma, beta, groups, E, self.net._seeds, floats, table)
        return self._conv(layer, operand, residual)

    def attention(self, path: str, x: Tensor) -> Tensor:
        _, height, width, channels = x.shape
        heads = self.artifact.config.heads(channels)
        layers = [self.net._native_layer(f"{path}.to_{part}") for part in "qkv"]
        exact = native.attends(height * width, channels // heads)
        if not exact or not all(layer.can_run for layer in layers):
            return super().attention(path, x)
        norm = f"{path}.group_norm"
        q, k, v = (self.normed_conv(norm, layer.layer.spec.name, x) for layer in layers)
        logit, value = self.net._attentions[path][self.group]
        table = self.net._exponentials.float()
        out = native.attention(q, k, v, heads, logit, value, table)
        return self.conv(f"{path}.to_out.0", out, x)
