"""The convs of a UNet as hardware sees them: one ``LayerSpec`` per conv, in execution order.

A dense layer over the channels (q, k, v, the attention's output) is a 1x1 conv. The edge of a layer
is its input tensor; ``edge_kind`` names the integer format in which the array reads it.
"""

from collections.abc import Collection
from dataclasses import dataclass

from golden.errors import UserError
from golden.network.config import UNetConfig

__all__ = ["EDGE_KINDS", "WIDE_DEFAULT", "LayerSpec", "attentions", "edge_kind", "layers", "macs",
           "norm_sizes", "norms"]  # fmt: skip

EDGE_KINDS = ("region", "wide_silu", "int8_stream", "wide_stream", "int8_norm", "int8_attention")
WIDE_DEFAULT = ("conv_in", "conv_out")
SAME = (1, 1, 1, 1)


@dataclass(frozen=True)
class LayerSpec:
    """One conv.

    ``source``: what the edge reads: image (x_t), stream, silu, norm or attention. ``norm``: the
    GroupNorm in front of a silu or norm source. ``segments``: channels of each concatenated part.
    ``padding``: zeros at (left, right, top, bottom). ``upsample``: nearest x2 while reading.
    ``time_projection``: the dense layer whose output joins the bias. ``output``: stream, eps or
    head (q, k, v). ``scale_name``: q, k, v or attention where a head or attention scale applies.
    """

    name: str
    source: str
    segments: tuple[int, ...]
    out_channels: int
    kernel: int = 3
    stride: int = 1
    padding: tuple[int, int, int, int] = SAME
    upsample: bool = False
    norm: str | None = None
    time_projection: str | None = None
    output: str = "stream"

    @property
    def in_channels(self) -> int:
        """Channels of the input, all segments."""
        return sum(self.segments)

    @property
    def out_width(self) -> int:
        """Bits of one output element."""
        return 8 if self.output == "head" else 16

    @property
    def attention(self) -> str:
        """Path of the attention module that a q, k, v or output layer belongs to."""
        return self.name.split(".to_")[0]


def _dense(name: str, source: str, inputs: int, outputs: int, **rest: str | None) -> LayerSpec:
    output = rest.get("output") or "stream"
    return LayerSpec(
        name,
        source,
        (inputs,),
        outputs,
        1,
        padding=(0, 0, 0, 0),
        norm=rest.get("norm"),
        output=output,
    )


def _residual(path: str, segments: tuple[int, ...], outputs: int) -> list[LayerSpec]:
    inputs = sum(segments)
    specs = [
        LayerSpec(
            f"{path}.conv1",
            "silu",
            (inputs,),
            outputs,
            norm=f"{path}.norm1",
            time_projection=f"{path}.time_emb_proj",
        ),
        LayerSpec(f"{path}.conv2", "silu", (outputs,), outputs, norm=f"{path}.norm2"),
    ]
    if inputs != outputs:
        specs.append(
            LayerSpec(f"{path}.conv_shortcut", "stream", segments, outputs, 1, padding=(0, 0, 0, 0))
        )
    return specs


def _attention(path: str, channels: int) -> list[LayerSpec]:
    norm = f"{path}.group_norm"
    heads = [
        _dense(f"{path}.to_{part}", "norm", channels, channels, norm=norm, output="head")
        for part in "qkv"
    ]
    return [*heads, _dense(f"{path}.to_out.0", "attention", channels, channels)]


def layers(config: UNetConfig) -> dict[str, LayerSpec]:
    """Every conv of the network by module path, in execution order."""
    channels, last = config.block_out_channels, len(config.block_out_channels) - 1
    specs = [LayerSpec("conv_in", "image", (config.in_channels,), channels[0])]
    current = channels[0]
    down_padding = SAME if config.downsample_padding else (0, 1, 0, 1)
    for i, block in enumerate(config.down_block_types):
        for j in range(config.layers_per_block):
            specs += _residual(f"down_blocks.{i}.resnets.{j}", (current,), channels[i])
            current = channels[i]
            if block.startswith("Attn"):
                specs += _attention(f"down_blocks.{i}.attentions.{j}", current)
        if i < last:
            name = f"down_blocks.{i}.downsamplers.0.conv"
            specs.append(
                LayerSpec(name, "stream", (current,), current, stride=2, padding=down_padding)
            )
    specs += _residual("mid_block.resnets.0", (current,), current)
    specs += _attention("mid_block.attentions.0", current)
    specs += _residual("mid_block.resnets.1", (current,), current)
    sources = config.up_block_channels()
    for i, block in enumerate(config.up_block_types):
        outputs = channels[last - i]
        for j, pair in enumerate(sources[i]):
            specs += _residual(f"up_blocks.{i}.resnets.{j}", pair, outputs)
            if block.startswith("Attn"):
                specs += _attention(f"up_blocks.{i}.attentions.{j}", outputs)
        if i < last:
            name = f"up_blocks.{i}.upsamplers.0.conv"
            specs.append(LayerSpec(name, "stream", (outputs,), outputs, upsample=True))
    specs.append(
        LayerSpec(
            "conv_out",
            "silu",
            (channels[0],),
            config.out_channels,
            norm="conv_norm_out",
            output="eps",
        )
    )
    return {spec.name: spec for spec in specs}


def norms(specs: dict[str, LayerSpec]) -> dict[str, int]:
    """Channels of every GroupNorm by module path."""
    return {spec.norm: spec.in_channels for spec in specs.values() if spec.norm is not None}


def attentions(specs: dict[str, LayerSpec]) -> list[str]:
    """Module paths of the attention layers."""
    return [spec.attention for spec in specs.values() if spec.source == "attention"]


def edge_kind(spec: LayerSpec, wide: Collection[str]) -> str:
    """The format of the layer's edge, given the names of the layers read in 12 bits.

    ``UserError`` if a q, k, v or attention output layer, which has no wide form, is named.
    """
    narrow = {"silu": "region", "stream": "int8_stream", "norm": "int8_norm"}
    broad = {"silu": "wide_silu", "stream": "wide_stream", "image": "wide_stream"}
    if spec.name in wide or spec.source == "image":
        if spec.source not in broad:
            raise UserError(
                f"wide edge {spec.name}: not available for q, k, v and attention output layers"
            )
        return broad[spec.source]
    return narrow.get(spec.source, "int8_attention")


def norm_sizes(config: UNetConfig) -> dict[str, tuple[int, int]]:
    """Height and width of what every GroupNorm sees, by module path."""
    last = len(config.block_out_channels) - 1
    height, width = config.sample_size
    sizes = {}
    for name in norms(layers(config)):
        level = 0  # conv_norm_out
        if name.startswith("down_blocks."):
            level = int(name.split(".")[1])
        elif name.startswith("mid_block."):
            level = last
        elif name.startswith("up_blocks."):
            level = last - int(name.split(".")[1])
        sizes[name] = (height >> level, width >> level)
    return sizes


def macs(config: UNetConfig) -> dict[str, int]:
    """Multiplications of every conv for one image and step; padding counts as if it were data."""
    height, width = config.sample_size
    sizes = norm_sizes(config)
    counts = {}
    for spec in layers(config).values():
        if spec.norm is not None:
            height, width = sizes[spec.norm]
        elif spec.source == "attention":
            height, width = sizes[f"{spec.attention}.group_norm"]
        elif spec.source == "stream" and f"{spec.name.rsplit('.', 1)[0]}.norm1" in sizes:
            height, width = sizes[f"{spec.name.rsplit('.', 1)[0]}.norm1"]  # a shortcut
        elif spec.stride == 2:
            height, width = height // 2, width // 2
        elif spec.upsample:
            height, width = height * 2, width * 2
        taps = spec.kernel * spec.kernel
        counts[spec.name] = spec.out_channels * spec.in_channels * taps * height * width
    return counts
