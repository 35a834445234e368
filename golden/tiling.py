"""A conv of the quantized network cut into the beats of the datapath.

The kernel window of an output pixel is one long column of K = taps x channels codes (tap by tap,
channels inside a tap). Each segment's column is cut into chunks of ``rows``; a chunk is one pass
over the tile's pixels, or two (hi, then lo) where the edge is wide.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from golden.datapath import DatapathConfig
from golden.integer.capture import LayerCapture, LayerConstants
from golden.numbers import Int64, as_int64
from golden.operand import CODE_BITS, OperandMode
from golden.scale_tables import TableSet

__all__ = [
    "ConvTile",
    "conv_tile",
    "edge_chunks",
    "expected_conv",
    "join",
    "table_set",
    "vector_tile",
]

WIDE_KINDS = ("wide_silu", "wide_stream")
SILU_KINDS = ("region", "wide_silu")


@dataclass(frozen=True)
class ConvTile:
    """Beats of one output tile and its weights, (passes, rows, cols) int8."""

    beats: Mapping[str, Int64]
    weights: Int64


def _window(layer: LayerCapture, pixels: range, segment: slice) -> tuple[Int64, Int64]:
    """Return codes and pad bits, both (pixels, taps x channels), of some output pixels."""
    codes = as_int64(layer.codes[segment])
    if layer.upsample:
        codes = codes.repeat(2, axis=1).repeat(2, axis=2)
    left, right, top, bottom = layer.padding
    frame = ((0, 0), (top, bottom), (left, right))
    padded = np.pad(codes, frame)
    outside = np.pad(np.zeros_like(codes), frame, constant_values=1)
    kh, kw = layer.weight.shape[2:]
    width = layer.output.shape[2]
    index = np.array(pixels)
    y, x = index // width * layer.stride, index % width * layer.stride
    columns, pads = [], []
    for dy in range(kh):
        for dx in range(kw):
            columns.append(padded[:, y + dy, x + dx].T)
            pads.append(outside[:, y + dy, x + dx].T)
    return np.concatenate(columns, axis=1), np.concatenate(pads, axis=1)


def _chunks(values: Int64, rows: int, axis: int, fill: int) -> Int64:
    """Pad ``axis`` with ``fill`` to a multiple of ``rows``."""
    missing = -values.shape[axis] % rows
    frame = [(0, 0)] * values.ndim
    frame[axis] = (0, missing)
    return np.pad(values, frame, constant_values=fill)


def conv_tile(
    layer: LayerCapture,
    config: DatapathConfig,
    *,
    pixels: range,
    channel_tile: int,
    bank: int,
    table_set: int,
    set_index: int,
) -> ConvTile:
    """Return the beats of one output tile: ``pixels`` of ``cols`` channels.

    ``channel_tile``: the tile's place among the layer's output channels. ``bank``, ``table_set``,
    ``set_index``: the table set that holds the layer's constants at the step.
    """
    rows, cols = config.rows, config.cols
    wide = layer.kind in WIDE_KINDS
    bits = CODE_BITS if wide else 8
    modes = (
        (OperandMode.HI, OperandMode.LO)
        if wide
        else (OperandMode.REGION if layer.kind == "region" else OperandMode.INT8,)
    )
    channels = slice(channel_tile * cols, (channel_tile + 1) * cols)
    filters = as_int64(layer.weight[channels])
    filters = np.pad(filters, ((0, cols - len(filters)), (0, 0), (0, 0), (0, 0)))
    passes = []  # (codes, pads, weights, mode, segment)
    start = 0
    for segment, count in enumerate(layer.segments):
        part = slice(start, start + count)
        start += count
        codes, pads = _window(layer, pixels, part)
        codes = _chunks(codes & ((1 << bits) - 1), rows, 1, 0)
        pads = _chunks(pads, rows, 1, 1)
        # (cols, channels, kh, kw) -> (taps x channels, cols), tap by tap like the codes
        column = filters[:, part].transpose(2, 3, 1, 0).reshape(-1, cols)
        column = _chunks(column, rows, 0, 0)
        for at in range(0, codes.shape[1], rows):
            here = slice(at, at + rows)
            passes += [(codes[:, here], pads[:, here], column[here], m, segment) for m in modes]
    count, last = len(pixels), len(passes) - 1
    place = np.arange(count)
    parts: dict[str, list[Int64]] = {}
    for number, (codes, pads, _, mode, segment) in enumerate(passes):
        fields = {
            "codes": codes,
            "pad": pads,
            "mode": np.full(count, int(mode)),
            "segment": np.full(count, segment),
            "tile_start": place == 0,
            "first": np.full(count, number == 0),
            "last": np.full(count, number == last),
            "end": place == count - 1,
            "pixel": place,
            "narrow": np.full(count, layer.out_width == 8),
            "bank": np.full(count, bank),
            "table_set": np.full(count, table_set),
            "step": np.full(count, layer.step),
            "channel_tile": np.full(count, channel_tile % config.channel_tiles),
            "set": np.full(count, set_index),
        }
        for name, values in fields.items():
            parts.setdefault(name, []).append(values.astype(np.int64))
    beats = {name: np.concatenate(values) for name, values in parts.items()}
    return ConvTile(beats, np.stack([weights for _, _, weights, _, _ in passes]))


def expected_conv(
    layer: LayerCapture, config: DatapathConfig, pixels: range, channel_tile: int
) -> Int64:
    """Return what the network wrote for a tile, (pixels, cols); 0 where there is no channel."""
    channels = slice(channel_tile * config.cols, (channel_tile + 1) * config.cols)
    output = as_int64(layer.output[channels])
    flat = output.reshape(len(output), -1)[:, pixels.start : pixels.stop].T
    return np.pad(flat, ((0, 0), (0, config.cols - flat.shape[1])))


def edge_chunks(layer: LayerCapture, lanes: int) -> list[tuple[int, slice]]:
    """Return (segment, input channels) of each group of at most ``lanes`` channels."""
    chunks = []
    start = 0
    for segment, count in enumerate(layer.segments):
        stop = start + count
        chunks += [(segment, slice(at, min(at + lanes, stop))) for at in range(start, stop, lanes)]
        start = stop
    return chunks


def vector_tile(
    layer: LayerCapture,
    config: DatapathConfig,
    *,
    channel_chunk: int,
    bank: int,
    table_set: int,
    set_index: int,
) -> tuple[str, dict[str, Int64], Int64] | None:
    """Return (path, beats, codes that the network used) of the layer's input edge, or None.

    All pixels of ``vector_lanes`` channels of one segment; ``channel_chunk`` selects them and
    wraps. An attention output needs no edge: it leaves the requantizer as int8.
    """
    if layer.kind == "int8_attention":
        return None
    lanes = config.vector_lanes
    chunks = edge_chunks(layer, lanes)
    segment, channels = chunks[channel_chunk % len(chunks)]
    source = as_int64(layer.source[channels])
    codes = as_int64(layer.codes[channels])
    missing = ((0, lanes - len(source)), (0, 0))
    values = np.pad(source.reshape(len(source), -1), missing).T
    used = np.pad(codes.reshape(len(codes), -1), missing, constant_values=-(1 << 20)).T
    count = len(values)
    place = np.arange(count)
    wide = layer.kind in WIDE_KINDS
    path, name = ("activation", "u") if layer.kind in SILU_KINDS else ("edge", "x")
    if path == "activation" and wide:
        used = np.where(used > -(1 << 20), used & ((1 << CODE_BITS) - 1), used)
    fields = {
        name: values,
        "wide": np.full(count, wide),
        "start": place == 0,
        "end": place == count - 1,
        "bank": np.full(count, bank),
        "table_set": np.full(count, table_set),
        "step": np.full(count, layer.step),
        "segment": np.full(count, segment),
        "set": np.full(count, set_index),
    }
    return path, {key: as_int64(column) for key, column in fields.items()}, used


def table_set(
    layers: Sequence[LayerCapture],
    config: DatapathConfig,
    *,
    bank: int,
    number: int,
    channel_tile: int,
) -> TableSet:
    """Return the table set of one layer at consecutive steps, as one bank holds it.

    ``layers``: the same conv, one entry a step. The set holds the ``channel_tiles`` tiles of output
    channels among which ``channel_tile`` is.
    """
    held = config.channel_tiles * config.cols
    base = channel_tile // config.channel_tiles * held

    def lanes(values: npt.ArrayLike) -> Int64:
        part = as_int64(values)[base : base + held]
        return np.pad(part, (0, held - len(part)))

    def segments(values: Sequence[int]) -> list[int]:
        return [*values, *[0] * 2][:2] if values else [0, 0]

    groups: dict[int, LayerConstants] = {}
    for layer in layers:
        groups.setdefault(layer.group, layer.constants)
    rows = [groups[group] for group in sorted(groups)]
    wide = layers[0].kind in WIDE_KINDS
    silu = [
        (c.M0, c.n0, c.z, c.k[0] if layers[0].kind == "region" else 1 if c.M0 else 0) for c in rows
    ]
    return TableSet(
        bank,
        number,
        min(groups),
        layers[0].step,
        operand_z=np.array([[c.z, c.z] for c in rows]),
        operand_k=np.array([[0, 0] if wide else segments(c.k) for c in rows]),
        multiplier=np.stack([lanes(c.M) for c in rows]),
        shift=np.stack([lanes(c.n) for c in rows]),
        bias=np.stack([lanes(layer.constants.b) for layer in layers]),
        silu=np.array(silu),
        edge_multiplier=np.array([segments(c.edge_M) for c in rows]),
        edge_shift=np.array([segments(c.edge_n) for c in rows]),
    )


def join(
    tiles: Sequence[Mapping[str, Int64]], empty: Mapping[str, tuple[int, ...]]
) -> dict[str, Int64]:
    """Return the beats of ``tiles`` one after the other; ``empty``: field -> shape of a beat."""
    if not tiles:
        return {name: np.zeros((0, *shape), dtype=np.int64) for name, shape in empty.items()}
    return {name: np.concatenate([tile[name] for tile in tiles]) for name in tiles[0]}
