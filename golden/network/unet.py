"""Float diffusion UNet: ``eps = UNet(x_t, t)``, equal to diffusers' ``UNet2DModel``.

A residual block computes ``y = shortcut(x) + conv2(silu(norm2(conv1(silu(norm1(x))) + W temb)))``
with ``temb = silu(mlp(sinusoids(t)))``. Modules and parameters have diffusers' names, so that a
``state_dict`` of one loads into the other, and every conv, norm and attention has a module path.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from golden.network.config import UNetConfig

__all__ = [
    "Attention",
    "AttentionCore",
    "Downsample",
    "ResidualBlock",
    "UNet",
    "UNetConfig",
    "Upsample",
    "sinusoids",
]


def sinusoids(timestep: Tensor, channels: int, flip_sin_to_cos: bool, freq_shift: int) -> Tensor:
    """Positional embedding ``sin, cos(t * 10000**(-i / (half - freq_shift)))``.

    ``timestep`` (N,) -> (N, channels) float32; cosines come first if ``flip_sin_to_cos``.
    """
    half = channels // 2
    index = torch.arange(half, dtype=torch.float32, device=timestep.device)
    frequency = torch.exp(-math.log(10000) * index / (half - freq_shift))
    angle = timestep[:, None].float() * frequency[None, :]
    sine, cosine = torch.sin(angle), torch.cos(angle)
    return torch.cat([cosine, sine] if flip_sin_to_cos else [sine, cosine], dim=-1)


class TimeEmbedding(nn.Module):
    """Two dense layers with SiLU between: (N, inputs) -> (N, outputs)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(inputs, outputs)
        self.linear_2 = nn.Linear(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the embedding, before the SiLU that each residual block applies."""
        return self.linear_2(functional.silu(self.linear_1(x)))


class ResidualBlock(nn.Module):
    """Norm, SiLU and conv twice, the time embedding between, and a shortcut around.

    ``conv_shortcut`` is ``None`` where input and output channels agree.
    """

    def __init__(self, config: UNetConfig, inputs: int, outputs: int) -> None:
        super().__init__()
        groups, eps = config.norm_num_groups, config.norm_eps
        self.norm1 = nn.GroupNorm(groups, inputs, eps)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time_emb_proj = nn.Linear(config.embedding_dim, outputs)
        self.norm2 = nn.GroupNorm(groups, outputs, eps)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.nonlinearity = nn.SiLU()
        self.conv_shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        """``x`` (N, inputs, H, W), ``temb`` (N, embedding_dim) after SiLU."""
        hidden = self.conv1(self.nonlinearity(self.norm1(x)))
        hidden = hidden + self.time_emb_proj(temb)[:, :, None, None]
        hidden = self.conv2(self.nonlinearity(self.norm2(hidden)))
        return (x if self.conv_shortcut is None else self.conv_shortcut(x)) + hidden


class AttentionCore(nn.Module):
    """``softmax(q k^T / sqrt(d)) v`` for each head; no parameters.

    q, k, v are (N, L, C) with C = heads * d; so is the result.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return the weighted sum of the rows of ``v``."""
        n, length, channels = q.shape
        # (N, L, C) -> (N, heads, L, d)
        q, k, v = (x.view(n, length, self.heads, -1).transpose(1, 2) for x in (q, k, v))
        score = q @ k.transpose(2, 3) * math.sqrt(self.heads / channels)
        out = torch.softmax(score, dim=-1) @ v
        return out.transpose(1, 2).reshape(n, length, channels)


class Attention(nn.Module):
    """Self-attention over the pixels, ``x + to_out(core(to_q(u), to_k(u), to_v(u)))``.

    ``u`` is the GroupNorm of ``x``; the four projections are dense layers over the channels.
    """

    def __init__(self, config: UNetConfig, channels: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(config.norm_num_groups, channels, config.norm_eps)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.core = AttentionCore(config.heads(channels))
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        # (N, C, H, W) -> (N, H*W, C)
        u = self.group_norm(x).flatten(2).transpose(1, 2)
        out = self.to_out[0](self.core(self.to_q(u), self.to_k(u), self.to_v(u)))
        # (N, H*W, C) -> (N, C, H, W)
        return x + out.transpose(1, 2).reshape(x.shape)


class Downsample(nn.Module):
    """3x3 conv of stride 2; ``padding`` 0 pads one zero on the right and the bottom only."""

    def __init__(self, channels: int, padding: int) -> None:
        super().__init__()
        self.padding = padding
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H/2, W/2)."""
        return self.conv(functional.pad(x, (0, 1, 0, 1)) if self.padding == 0 else x)


class Upsample(nn.Module):
    """Nearest neighbour to twice the size, then a 3x3 conv."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, 2H, 2W)."""
        return self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))


def attentions(config: UNetConfig, block: str, count: int, channels: int) -> nn.ModuleList | None:
    """Return ``count`` attention layers if the block type has them, else ``None``."""
    if not block.startswith("Attn"):
        return None
    return nn.ModuleList([Attention(config, channels) for _ in range(count)])


class DownBlock(nn.Module):
    """Residual blocks, each followed by attention if there is any, then a downsampling conv."""

    def __init__(
        self, config: UNetConfig, block: str, inputs: int, outputs: int, downsample: bool
    ) -> None:
        super().__init__()
        count = config.layers_per_block
        channels = [inputs] + [outputs] * (count - 1)
        self.resnets = nn.ModuleList([ResidualBlock(config, c, outputs) for c in channels])
        self.attentions = attentions(config, block, count, outputs)
        self.downsamplers = (
            nn.ModuleList([Downsample(outputs, config.downsample_padding)]) if downsample else None
        )

    def forward(self, x: Tensor, temb: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the output and every tensor that the up path will read."""
        skips = []
        for i, resnet in enumerate(self.resnets):
            x = resnet(x, temb)
            if self.attentions is not None:
                x = self.attentions[i](x)
            skips.append(x)
        if self.downsamplers is not None:
            x = self.downsamplers[0](x)
            skips.append(x)
        return x, skips


class MidBlock(nn.Module):
    """Residual block, attention, residual block at the lowest resolution."""

    def __init__(self, config: UNetConfig, channels: int) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([Attention(config, channels)])
        self.resnets = nn.ModuleList([ResidualBlock(config, channels, channels) for _ in range(2)])

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return self.resnets[1](self.attentions[0](self.resnets[0](x, temb)), temb)


class UpBlock(nn.Module):
    """Residual blocks that read a skip each, attention if there is any, then an upsampling conv.

    ``sources`` is one (channels so far, skip channels) for each residual block.
    """

    def __init__(
        self,
        config: UNetConfig,
        block: str,
        sources: list[tuple[int, int]],
        outputs: int,
        upsample: bool,
    ) -> None:
        super().__init__()
        blocks = [ResidualBlock(config, inner + skip, outputs) for inner, skip in sources]
        self.resnets = nn.ModuleList(blocks)
        self.attentions = attentions(config, block, len(sources), outputs)
        self.upsamplers = nn.ModuleList([Upsample(outputs)]) if upsample else None

    def forward(self, x: Tensor, skips: list[Tensor], temb: Tensor) -> Tensor:
        """Consume the newest ``len(resnets)`` entries of ``skips``, newest first."""
        for i, resnet in enumerate(self.resnets):
            x = resnet(torch.cat([x, skips.pop()], dim=1), temb)
            if self.attentions is not None:
                x = self.attentions[i](x)
        return x if self.upsamplers is None else self.upsamplers[0](x)


class UNet(nn.Module):
    """The noise that the network sees in ``x`` at ``timestep``.

    ``forward(x (N, in_channels, H, W) float32, timestep (N,) int64)`` returns eps
    (N, out_channels, H, W). ``.config`` is the ``UNetConfig`` that made it.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.block_out_channels
        last = len(channels) - 1
        self.conv_in = nn.Conv2d(config.in_channels, channels[0], 3, padding=1)
        self.time_embedding = TimeEmbedding(channels[0], config.embedding_dim)
        inputs = (channels[0], *channels[:-1])
        self.down_blocks = nn.ModuleList(
            DownBlock(config, block, inputs[i], channels[i], downsample=i < last)
            for i, block in enumerate(config.down_block_types)
        )
        self.mid_block = MidBlock(config, channels[-1])
        sources = config.up_block_channels()
        self.up_blocks = nn.ModuleList(
            UpBlock(config, block, sources[i], channels[last - i], upsample=i < last)
            for i, block in enumerate(config.up_block_types)
        )
        self.conv_norm_out = nn.GroupNorm(config.norm_num_groups, channels[0], config.norm_eps)
        self.conv_act = nn.SiLU()
        self.conv_out = nn.Conv2d(channels[0], config.out_channels, 3, padding=1)

    def embed(self, timestep: Tensor) -> Tensor:
        """The time embedding after its SiLU, (N,) -> (N, embedding_dim) float32."""
        config = self.config
        wave = sinusoids(
            timestep, config.block_out_channels[0], config.flip_sin_to_cos, config.freq_shift
        )
        return functional.silu(self.time_embedding(wave))

    def forward(self, x: Tensor, timestep: Tensor) -> Tensor:
        """Predict the noise."""
        temb = self.embed(timestep)
        x = self.conv_in(x)
        skips = [x]
        for down in self.down_blocks:
            x, outputs = down(x, temb)
            skips += outputs
        x = self.mid_block(x, temb)
        for up in self.up_blocks:
            x = up(x, skips, temb)
        return self.conv_out(self.conv_act(self.conv_norm_out(x)))
