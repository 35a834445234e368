"""CONV and MATMUL: ``y = sat(rsh(acc * M, n) + b)``, for convs ``+ residual``, and channel sums."""

import numpy as np

from golden.accelerator.instruction import Format, Instruction
from golden.accelerator.legality import output_size
from golden.accelerator.units.state import State
from golden.exact_matmul import matmul_exact
from golden.numbers import Int64, sat
from golden.operand import OperandMode, decoded, operand
from golden.requantizer import requantize
from golden.residual import residual_sum

__all__ = ["conv", "matmul"]

CODE_MASK = 0xFFF
_MODES = {
    Format.INT8: (OperandMode.INT8,),
    Format.REGION: (OperandMode.REGION,),
    Format.WIDE: (OperandMode.HI, OperandMode.LO),
}


def _plane_words(base: int, plane: int, chunk: int, words: Int64) -> Int64:
    return base + chunk * plane + words


def _target(i: Instruction, chunk: int) -> slice:
    """Words of an output chunk's rows."""
    start = i["destination"] + chunk * i["destination_plane"]
    return slice(start, start + i["rows"] * output_size(i)[1])


def _operands(state: State, i: Instruction) -> Int64:
    """What the array multiplies in every pass, (pixels, passes * size).

    Passes in the order of the weights: input chunk, tap, hi and lo.
    """
    height, width = i["height"], i["width"]
    columns = output_size(i)[1]
    pixel = np.arange(i["rows"] * columns)
    y, x = pixel // columns + i["row_first"], pixel % columns
    taps = range(3) if i["kernel3"] else range(1)
    limits = height << i["upsample"], width << i["upsample"]
    table = state.scales[i["bank"]]
    parts = []
    for chunk in range(i["chunks0"] + i["chunks1"]):
        segment = int(chunk >= i["chunks0"])
        for dy in taps:
            for dx in taps:
                rows = (y << i["stride2"]) + dy - i["pad"]
                cols = (x << i["stride2"]) + dx - i["pad"]
                outside = (rows < 0) | (rows >= limits[0]) | (cols < 0) | (cols >= limits[1])
                rows, cols = (
                    np.where(outside, 0, values) >> i["upsample"] for values in (rows, cols)
                )
                inner = np.where(outside, 0, (rows - i["source_row"]) * width + cols)
                words = _plane_words(i["source0"], i["source_plane"], chunk, inner)
                codes = state.codes[words]
                pad = np.broadcast_to(outside[:, None], codes.shape)
                for mode in _MODES[Format(i["format"])]:
                    z, k = (
                        np.full(len(pixel), values[segment])
                        for values in (table.zero_point, table.k)
                    )
                    beats = np.full(len(pixel), int(mode))
                    parts.append(decoded(*operand(codes, pad, beats, z, k)))
    return np.concatenate(parts, axis=1)


def conv(state: State, i: Instruction) -> None:
    """Run a CONV."""
    size = state.config.size
    operands = _operands(state, i)
    # (chunks, passes * size, size)
    weights = state.weights(i["offset"], (i["chunks"], operands.shape[1], size))
    table = state.scales[i["bank"]]
    width = 8 if i["narrow"] else 16
    for chunk in range(i["chunks"]):
        lanes = slice(chunk * size, (chunk + 1) * size)
        acc = matmul_exact(operands, weights[chunk])
        values = requantize(
            acc, table.multiplier[lanes], table.shift[lanes], table.bias[lanes], width
        )
        target = _target(i, chunk)
        if i["narrow"]:
            state.codes[target] = values & CODE_MASK
            continue
        if i["residual"]:
            start = i["auxiliary"] + chunk * i["auxiliary_plane"]
            values = residual_sum(state.stream[start : start + len(values)], values)
        state.stream[target] = values
        if i["sums"]:
            entry = i["sums0"] + chunk
            if i["sums_clear"]:
                state.S1[entry] = state.S2[entry] = 0
            state.S1[entry] += values.sum(axis=0)
            state.S2[entry] += np.square(values).sum(axis=0)


def _signed(codes: Int64) -> Int64:
    """int8 in the low bits of a code."""
    low = codes & 0xFF
    return low - ((low & 0x80) << 1)


def _stationary(state: State, i: Instruction, chunk: int) -> Int64:
    """Operands that stay, (input chunks * size, size): rows of K transposed, or of V."""
    size, plane = state.config.size, i["auxiliary_plane"]
    if not i["transpose"]:
        start = i["auxiliary"] + chunk * plane
        return _signed(state.codes[start : start + i["chunks0"] * size])
    blocks = []
    for part in range(i["chunks0"]):
        start = i["auxiliary"] + part * plane + chunk * size
        lane = np.arange(size) + part * size
        live = (lane >= i["lane_first"]) & (lane < i["lane_first"] + i["channels"])
        blocks.append(np.where(live, _signed(state.codes[start : start + size]), 0).T)
    return np.concatenate(blocks)


def matmul(state: State, i: Instruction) -> None:
    """Run a MATMUL: logits of a block of queries, or its weighted sums of values."""
    size = state.config.size
    table = state.scales[i["bank"]]
    first = (i["row_first"] - i["source_row"]) * i["width"]
    words = np.arange(i["rows"] * i["width"]) + first
    moving = np.concatenate(
        [
            _signed(state.codes[_plane_words(i["source0"], i["source_plane"], chunk, words)])
            for chunk in range(i["chunks0"])
        ],
        axis=1,
    )
    width = 8 if i["narrow"] else 16
    for chunk in range(i["chunks"]):
        acc = matmul_exact(moving, _stationary(state, i, chunk))
        multiplier, shift = table.multiplier[:size], table.shift[:size]
        if i["row_scale"]:
            # (pixels, 2) -> one of each for all lanes of a pixel
            multiplier, shift = state.row_scales[i["scale_bank"], : len(words)].T[:, :, None]
        values = requantize(acc, multiplier, shift, 0, width)
        if not i["narrow"]:
            state.stream[_target(i, chunk)] = values
            continue
        lane = np.arange(size) + chunk * size
        live = (lane >= i["lane_first"]) & (lane < i["lane_first"] + i["channels"])
        target = _target(i, chunk)
        state.codes[target] = np.where(live, sat(values, 8) & CODE_MASK, state.codes[target])
