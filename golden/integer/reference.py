"""The integer UNet from the blocks' own functions, for reading, proof and co-simulation.

Between operations there are only integers: the stream int16, GroupNorm's output u int12 (Q4.7),
q, k, v and the attention's output int8, x_t and eps int16 Q3.12. Each line is a block of the
hardware: ``y = sat(rsh(acc * M, n) + b)`` round the convs, ``group_norm``, ``silu_quantizer``,
``softmax``, ``residual`` and ``sampler``. ``golden.integer.network`` is the same at full speed.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from golden.calibration.artifact import Artifact
from golden.calibration.region import silu_values
from golden.calibration.topology import LayerSpec
from golden.exact_matmul import conv2d_exact
from golden.group_norm import group_norm
from golden.integer.capture import LayerCapture, layer_constants
from golden.network.samplers import START, noise_q12
from golden.numbers import Int64, check_range
from golden.requantizer import requantize
from golden.residual import residual_sum
from golden.sampler import sampler_step
from golden.silu_quantizer import decode_region, region_code, wide_code
from golden.softmax import attention

__all__ = ["ReferenceNetwork"]

Recorder = Callable[[LayerSpec, Int64, Int64, Int64], None]


class _Pass:
    """One run over a batch at one sampler step."""

    def __init__(self, artifact: Artifact, step: int, recorder: Recorder | None) -> None:
        self.artifact = artifact
        self.tensors = artifact.tensors
        self.step = step
        self.group = artifact.group(step)
        self.recorder = recorder

    def edge(self, spec: LayerSpec, source: Int64) -> tuple[Int64, Int64]:
        """Codes and operands, both (N, Cin, H, W), of what the edge reads."""
        kind, g = self.artifact.kind(spec.name), self.group
        if kind == "int8_attention":
            return source, source
        if kind in {"region", "wide_silu"}:
            keys = ("M0", "n0", "z", "k") if kind == "region" else ("M0", "n0")
            constants = [int(self.tensors[f"{spec.name}.silu.{key}"][g]) for key in keys]
            # 4096 possible inputs: apply the block's functions to each once, then look up
            if kind == "wide_silu":
                codes = wide_code(silu_values(), *constants)[source + 2048]
                return codes, codes
            codes = region_code(silu_values(), *constants)
            return codes[source + 2048], decode_region(codes, *constants[2:])[source + 2048]
        multiplier, shift, k = (
            np.repeat(self.tensors[f"{spec.name}.edge.{key}"][g].astype(np.int64), spec.segments)
            for key in ("M", "n", "k")
        )
        width = 12 if kind == "wide_stream" else 8
        codes = requantize(source, multiplier[:, None, None], shift[:, None, None], 0, width)
        return codes, codes << k[:, None, None]

    def conv(self, name: str, source: Int64) -> Int64:
        """Run one layer: (N, Cin, H, W) -> (N, Cout, Ho, Wo) of ``out_width`` bits."""
        spec = self.artifact.layers[name]
        codes, operand = self.edge(spec, source)
        if spec.upsample:
            operand = operand.repeat(2, axis=2).repeat(2, axis=3)
        acc = conv2d_exact(operand, self.tensors[f"{name}.weight"], spec.stride, spec.padding)
        multiplier, shift, bias = (
            self.tensors[f"{name}.{key}"][index].astype(np.int64)[:, None, None]
            for key, index in (("M", self.group), ("n", self.group), ("b", self.step))
        )
        output = requantize(acc, multiplier, shift, bias, spec.out_width)
        if self.recorder is not None:
            self.recorder(spec, source, codes, output)
        return output

    def norm(self, name: str, x: Int64) -> Int64:
        """GroupNorm of the stream, (N, C, H, W) int16 -> int12."""
        gamma, beta, E = (self.tensors[f"{name}.{key}"] for key in ("gamma", "beta", "E"))
        return group_norm(x, gamma, beta, self.artifact.config.norm_num_groups, int(E[0]))

    def residual(self, path: str, x: Int64) -> Int64:
        """Residual block on the stream."""
        hidden = self.conv(f"{path}.conv1", self.norm(f"{path}.norm1", x))
        hidden = self.conv(f"{path}.conv2", self.norm(f"{path}.norm2", hidden))
        shortcut = f"{path}.conv_shortcut"
        around = self.conv(shortcut, x) if shortcut in self.artifact.layers else x
        return residual_sum(around, hidden)

    def attention(self, path: str, x: Int64) -> Int64:
        """Self-attention over the pixels, added to the stream."""
        n, channels, height, width = x.shape
        heads = self.artifact.config.heads(channels)
        u = self.norm(f"{path}.group_norm", x)
        # (N, C, H, W) -> (N, heads, L, d)
        q, k, v = (
            self.conv(f"{path}.to_{part}", u)
            .reshape(n, heads, channels // heads, height * width)
            .swapaxes(2, 3)
            for part in "qkv"
        )
        logit, value = (
            (int(self.tensors[f"{path}.{part}.M"][self.group]),
             int(self.tensors[f"{path}.{part}.n"][self.group]))
            for part in ("logit", "value")
        )  # fmt: skip
        out = attention(q, k, v, logit, value).swapaxes(2, 3).reshape(x.shape)
        return residual_sum(x, self.conv(f"{path}.to_out.0", out))

    def network(self, x: Int64) -> Int64:
        """x_t (N, C, H, W) int16 -> eps (N, C, H, W) int16."""
        config = self.artifact.config
        last = len(config.block_out_channels) - 1
        x = self.conv("conv_in", x)
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
                joined = np.concatenate([x, skips.pop()], axis=1)
                x = self.residual(f"up_blocks.{i}.resnets.{j}", joined)
                if block.startswith("Attn"):
                    x = self.attention(f"up_blocks.{i}.attentions.{j}", x)
            if i < last:
                x = self.conv(f"up_blocks.{i}.upsamplers.0.conv", x)
        return self.conv("conv_out", self.norm("conv_norm_out", x))


class ReferenceNetwork:
    """The network of an artifact, in plain integer arrays."""

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact

    def eps(self, x_t: npt.ArrayLike, step: int) -> npt.NDArray[np.int16]:
        """Predict eps, (N, C, H, W) int16 Q3.12, of ``x_t``, the same shape, int16 Q3.12.

        ``ValueError`` if the shape is not the network's or ``step`` is no sampler step.
        """
        return self._run(x_t, step, None).astype(np.int16)

    def _run(self, x_t: npt.ArrayLike, step: int, recorder: Recorder | None) -> Int64:
        x = check_range(x_t, -(1 << 15), (1 << 15) - 1, "x_t")
        shape = (self.artifact.config.in_channels, *self.artifact.config.sample_size)
        if x.ndim != 4 or x.shape[1:] != shape:
            raise ValueError(f"x_t must be (N, {', '.join(map(str, shape))}), got {x.shape}")
        return _Pass(self.artifact, step, recorder).network(x)

    def sample(self, seed: int, images: range) -> npt.NDArray[np.int16]:
        """Denoise ``images`` of ``seed`` from their own noise: x0 (N, C, H, W) int16 Q3.12."""
        config, tensors = self.artifact.config, self.artifact.tensors
        shape = (config.in_channels, *config.sample_size)

        def noise(step: int) -> npt.NDArray[np.int16]:
            return np.stack([noise_q12(seed, image, step, shape) for image in images])

        x = noise(START).astype(np.int64)
        for step, coefficients in enumerate(tensors["sampler.coefficients"]):
            fresh = noise(step) if coefficients[5] else 0
            reach = int(tensors["sampler.reach"][0])
            x = sampler_step(x, self.eps(x, step), coefficients, reach, fresh)
        return x.astype(np.int16)

    def capture(self, step: int, x_t: npt.ArrayLike) -> list[LayerCapture]:
        """Every conv of one step on one image, in execution order.

        ``x_t`` (C, H, W) or (1, C, H, W) int16 Q3.12.
        """
        captures: list[LayerCapture] = []

        def record(spec: LayerSpec, source: Int64, codes: Int64, output: Int64) -> None:
            captures.append(
                LayerCapture(
                    name=spec.name,
                    kind=self.artifact.kind(spec.name),
                    step=step,
                    group=self.artifact.group(step),
                    weight=self.artifact.tensors[f"{spec.name}.weight"],
                    stride=spec.stride,
                    padding=spec.padding,
                    upsample=spec.upsample,
                    source=source[0].astype(np.int16),
                    codes=codes[0].astype(np.int16),
                    segments=spec.segments,
                    output=output[0].astype(np.int16),
                    out_width=spec.out_width,
                    constants=layer_constants(self.artifact, spec, step),
                )
            )

        x = np.asarray(x_t)
        self._run(x[None] if x.ndim == 3 else x[:1], step, record)
        return captures
