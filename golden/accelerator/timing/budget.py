"""Paper count of a step's cycles on an N x N array: beats of every layer and what stays exposed.

``beats = pixels * taps * input chunks * passes * output chunks`` (a chunk is N channels); a layer
whose input is made from the last tile of the layer before waits for that tile's way through write
back, norm constants and vector pass, less the beats that it can do first. An estimate that the
design was chosen by; ``cycles.py`` counts exactly.
"""

import sys
from collections.abc import Collection
from dataclasses import dataclass

from golden.calibration.artifact import embedded_artifact
from golden.calibration.topology import LayerSpec, edge_kind, layers, macs, norm_sizes
from golden.network.config import UNetConfig
from golden.network.presets import preset

__all__ = ["LayerBudget", "budget", "default_wide", "table"]

TILE_PIXELS = 256
PIPELINE = 40  # last beat to last write back, without the pixels of the tile
CONSTANTS = 40  # sums of a group to its 1/sqrt
CHANNEL = 4  # cycles a channel for slope and offset
VECTOR = 30  # latency of the vector unit
STEP = 200  # first instruction, first weights, end of step


@dataclass(frozen=True)
class LayerBudget:
    """Cycles of one line: ``beats`` of the array, ``exposed`` where it waits, ``macs`` useful."""

    name: str
    beats: int
    exposed: int
    macs: int
    network_macs: int
    kernel: int


def default_wide(config: UNetConfig) -> set[str]:
    """Layers that calibration usually widens: first and last conv, shortcuts, downsampling."""
    return {
        name
        for name, spec in layers(config).items()
        if spec.source == "image" or spec.output == "eps" or "shortcut" in name or spec.stride == 2
    }


def _chunks(channels: tuple[int, ...], size: int) -> int:
    return sum(-(-count // size) for count in channels)


def _parts(spec: LayerSpec, split: dict[str, tuple[int, ...]], size: int) -> int:
    """Input chunks; the first conv packs taps and channels into rows."""
    if spec.source == "image":
        return _chunks((spec.in_channels * spec.kernel**2,), size)
    return _chunks(split.get(spec.name, spec.segments), size)


def _order(specs: dict[str, LayerSpec]) -> list[LayerSpec]:
    """Layers as the array runs them: a shortcut between conv1 and conv2 hides the second norm."""
    names = [name for name in specs if "shortcut" not in name]
    for name in specs:
        if "shortcut" in name:
            names.insert(names.index(f"{name.rsplit('.', 1)[0]}.conv2"), name)
    return [specs[name] for name in names]


def _split(specs: dict[str, LayerSpec]) -> dict[str, tuple[int, ...]]:
    """Channels of both sources of every conv1 behind a concatenation."""
    return {
        f"{name.rsplit('.', 1)[0]}.conv1": spec.segments
        for name, spec in specs.items()
        if "shortcut" in name
    }


def budget(config: UNetConfig, wide: Collection[str], size: int) -> list[LayerBudget]:
    """Lines of one step on an array of ``size`` x ``size``, attention and overhead included."""
    specs, counts, sizes = layers(config), macs(config), norm_sizes(config)
    split = _split(specs)
    lines: list[LayerBudget] = []
    between = 0  # beats since the newest layer that others wait for
    for spec in _order(specs):
        name = spec.name
        passes = 2 if edge_kind(spec, wide).startswith("wide") else 1
        taps = 1 if spec.source == "image" else spec.kernel**2
        pixels = counts[name] // (spec.in_channels * spec.kernel**2 * spec.out_channels)
        tile = min(pixels, TILE_PIXELS)
        chunks = _parts(spec, split, size)
        beats = pixels * taps * chunks * passes * -(-spec.out_channels // size)
        way = tile + PIPELINE + VECTOR + pixels
        way += CONSTANTS + size * CHANNEL if spec.norm else 0
        before = (chunks - 1) * taps * passes * tile + between
        waits = name.rsplit(".", 1)[-1] not in {"conv_shortcut", "to_k", "to_v", "0"}
        exposed = max(0, way - before) if waits and lines else 0
        lines.append(
            LayerBudget(name, beats, exposed, counts[name] * passes, counts[name], spec.kernel)
        )
        between = beats if "shortcut" in name else 0
        if name.endswith("to_v"):
            height, width = sizes[spec.norm or ""]
            row, depth = height * width, spec.out_channels
            beats = 2 * row * -(-row // size) * -(-depth // size)
            useful = 2 * row * row * depth
            lines.append(LayerBudget(f"{spec.attention} QK, PV", beats, 0, useful, useful, 1))
    height, width = config.sample_size
    overhead = STEP + 2 * (height * width + VECTOR) + config.in_channels * height * width
    lines.append(LayerBudget("start and end of step", 0, overhead, 0, 0, 1))
    return lines


def table(config: UNetConfig, wide: Collection[str], size: int) -> str:
    """A Markdown table of the lines and their totals."""
    lines = budget(config, wide, size)
    rows = ["| layer | beats | exposed | utilisation |", "|---|---|---|---|"]
    parts = {
        "3x3 convs": [line for line in lines if line.kernel == 3],
        "step": lines,
    }
    for line in lines:
        cycles = line.beats + line.exposed
        share = line.macs / (size * size * cycles)
        rows.append(f"| {line.name} | {line.beats} | {line.exposed} | {100 * share:.1f} |")
    for name, part in parts.items():
        beats, exposed = sum(p.beats for p in part), sum(p.exposed for p in part)
        cycles = size * size * (beats + exposed)
        share = sum(line.macs for line in part) / cycles
        network = sum(line.network_macs for line in part) / cycles
        rows.append(
            f"| **{name}** | {beats} | {exposed} | {100 * share:.1f}; network {100 * network:.1f}; "
            f"beats alone {100 * share * (beats + exposed) / beats:.1f} |"
        )
    return "\n".join(rows)


def main(name: str, size: int) -> None:
    """Print the table of a preset."""
    config = preset(name)
    wide = embedded_artifact().wide if name == "fashion16" else default_wide(config)
    print(table(config, wide, size))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
