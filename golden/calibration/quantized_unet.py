"""The UNet with every conv in integers: ``y = sat(rsh(acc * M, n) + b)``, acc exact.

Between convs the residual stream is int16, GroupNorm's output u is int12 (Q4.7) and q, k, v are
int8. GroupNorm and softmax compute in float64 from integers to rounded integers; every edge, every
conv and every residual sum is the integer arithmetic of the hardware.
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from golden.calibration.artifact import Artifact
from golden.calibration.capture import LayerCapture, layer_constants
from golden.calibration.region import (
    RegionParameters,
    WideParameters,
    region_operands,
    silu_values,
    wide_operands,
)
from golden.calibration.topology import LayerSpec
from golden.exact_matmul import conv2d_exact
from golden.numbers import Int64, check_range, rsh, sat
from golden.requantizer import requantize
from golden.silu_quantizer import region_code

__all__ = ["BiasHook", "QuantizedUNet"]

U_FRACTION = 7
GAMMA_FRACTION = 11
OCTAVE_STEPS = 32  # softmax logits count in 1/32 octaves

BiasHook = Callable[[LayerSpec, Int64, Int64], Int64]
"""(spec, rsh(acc * M, n) (N, Cout, H, W), steps (N,)) -> b (N, Cout), used instead of the table."""
Recorder = Callable[[LayerSpec, Int64, Int64, Int64], None]


def _round_half_up(values: npt.NDArray[np.float64], bits: int) -> Int64:
    return sat(np.floor(values + 0.5).astype(np.int64), bits)


class _Pass:
    """One run over a batch whose steps all belong to one timestep group."""

    def __init__(
        self,
        artifact: Artifact,
        steps: Int64,
        bias_hook: BiasHook | None,
        recorder: Recorder | None,
    ) -> None:
        self.artifact = artifact
        self.tensors = artifact.tensors
        self.steps = steps
        self.group = artifact.group(int(steps[0]))
        self.bias_hook = bias_hook
        self.recorder = recorder

    def edge(self, spec: LayerSpec, source: Int64) -> tuple[Int64, Int64]:
        """Codes and operands, both (N, Cin, H, W), of what the edge reads."""
        kind, g = self.artifact.kind(spec.name), self.group
        if kind == "int8_attention":
            return source, source
        if kind in {"region", "wide_silu"}:
            constants = {
                key: int(self.tensors[f"{spec.name}.silu.{key}"][g])
                for key in (("M0", "n0", "z", "k") if kind == "region" else ("M0", "n0"))
            }
            # 4096 possible inputs: apply the block's functions to each once, then look up
            values, index = silu_values(), source + 2048
            if kind == "wide_silu":
                codes = wide_operands(WideParameters(*constants.values()), values)[index]
                return codes, codes
            p = RegionParameters(*constants.values())
            table = region_code(values, p.multiplier, p.shift, p.zero_point, p.k)
            return table[index], region_operands(p, values)[index]
        per_segment = [
            np.repeat(self.tensors[f"{spec.name}.edge.{key}"][g].astype(np.int64), spec.segments)
            for key in ("M", "n", "k")
        ]
        multiplier, shift, k = (values[:, None, None] for values in per_segment)
        width = 12 if kind == "wide_stream" else 8
        codes = requantize(source, multiplier, shift, 0, width)
        return codes, codes << k

    def conv(self, name: str, source: Int64) -> Int64:
        """Run one layer: (N, Cin, H, W) -> (N, Cout, Ho, Wo) of ``out_width`` bits."""
        spec = self.artifact.layers[name]
        codes, operand = self.edge(spec, source)
        if spec.upsample:
            operand = operand.repeat(2, axis=2).repeat(2, axis=3)
        acc = conv2d_exact(operand, self.tensors[f"{name}.weight"], spec.stride, spec.padding)
        multiplier = self.tensors[f"{name}.M"][self.group].astype(np.int64)[:, None, None]
        shift = self.tensors[f"{name}.n"][self.group].astype(np.int64)[:, None, None]
        if self.bias_hook is None:
            bias = self.tensors[f"{name}.b"][self.steps].astype(np.int64)
        else:
            bias = self.bias_hook(spec, rsh(acc * multiplier, shift), self.steps)
        output = requantize(acc, multiplier, shift, bias[:, :, None, None], spec.out_width)
        if self.recorder is not None:
            self.recorder(spec, source, codes, output)
        return output

    def norm(self, name: str, x: Int64) -> Int64:
        """GroupNorm of the stream, (N, C, H, W) int16 -> int12."""
        n, channels, height, width = x.shape
        groups = self.artifact.config.norm_num_groups
        real = np.ldexp(x.astype(np.float64), -self.artifact.stream_fraction)
        rows = real.reshape(n, groups, -1)
        rows = rows - rows.mean(axis=2, keepdims=True)
        variance = np.square(rows).mean(axis=2, keepdims=True)
        rows = rows / np.sqrt(variance + self.artifact.config.norm_eps)
        gamma, beta = (
            np.ldexp(self.tensors[f"{name}.{key}"].astype(np.float64), U_FRACTION - GAMMA_FRACTION)
            for key in ("gamma", "beta")
        )
        u = rows.reshape(n, channels, height, width) * gamma[:, None, None] + beta[:, None, None]
        return _round_half_up(u, 12)

    def residual(self, path: str, x: Int64) -> Int64:
        """Residual block on the stream."""
        hidden = self.conv(f"{path}.conv1", self.norm(f"{path}.norm1", x))
        hidden = self.conv(f"{path}.conv2", self.norm(f"{path}.norm2", hidden))
        shortcut = f"{path}.conv_shortcut"
        return sat((self.conv(shortcut, x) if shortcut in self.artifact.layers else x) + hidden, 16)

    def attention(self, path: str, x: Int64) -> Int64:
        """Self-attention over the pixels, added to the stream."""
        n, channels, height, width = x.shape
        heads = self.artifact.config.heads(channels)
        u = self.norm(f"{path}.group_norm", x)
        # (N, C, H, W) -> (N, heads, d, L)
        q, k, v = (
            self.conv(f"{path}.to_{part}", u)
            .astype(np.float64)
            .reshape(n, heads, channels // heads, height * width)
            for part in "qkv"
        )
        octaves = q.swapaxes(2, 3) @ k * (self._real(f"{path}.logit") / OCTAVE_STEPS)
        weights = np.exp2(octaves - octaves.max(axis=3, keepdims=True))
        weights /= weights.sum(axis=3, keepdims=True)
        mixed = v @ weights.swapaxes(2, 3) * self._real(f"{path}.value")
        out = _round_half_up(mixed, 8).reshape(n, channels, height, width)
        return sat(x + self.conv(f"{path}.to_out.0", out), 16)

    def _real(self, name: str) -> float:
        shift = int(self.tensors[f"{name}.n"][self.group])
        return math.ldexp(float(self.tensors[f"{name}.M"][self.group]), -shift)

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


class QuantizedUNet:
    """The network of an artifact. Same integers in, same integers out, whatever the batch."""

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact

    def __call__(
        self, x_t: npt.ArrayLike, steps: npt.ArrayLike, bias_hook: BiasHook | None = None
    ) -> npt.NDArray[np.int16]:
        """Predict eps, (N, C, H, W) int16 Q3.12.

        ``x_t`` (N, C, H, W) int16 Q3.12; ``steps``: one sampler step, or (N,) steps of one
        timestep group. ``ValueError`` if they belong to several groups or are not steps.
        """
        x = check_range(x_t, -(1 << 15), (1 << 15) - 1, "x_t")
        return self._run(x, steps, bias_hook, None).astype(np.int16)

    def _run(
        self,
        x: Int64,
        steps: npt.ArrayLike,
        bias_hook: BiasHook | None,
        recorder: Recorder | None,
    ) -> Int64:
        shape = (self.artifact.config.in_channels, *self.artifact.config.sample_size)
        if x.ndim != 4 or x.shape[1:] != shape:
            raise ValueError(f"x_t must be (N, {', '.join(map(str, shape))}), got {x.shape}")
        which = np.broadcast_to(check_range(steps, 0, self.artifact.steps - 1, "steps"), len(x))
        if len({self.artifact.group(int(step)) for step in np.unique(which)}) > 1:
            raise ValueError("steps of one call must belong to one timestep group")
        return _Pass(self.artifact, which, bias_hook, recorder).network(x)

    def capture(self, step: int, x_t: npt.ArrayLike) -> list[LayerCapture]:
        """Every conv of one step on one image, in execution order.

        ``x_t`` (C, H, W) or (1, C, H, W) int16 Q3.12.
        """
        x = check_range(x_t, -(1 << 15), (1 << 15) - 1, "x_t")
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

        self._run(x[None] if x.ndim == 3 else x[:1], step, None, record)
        return captures
