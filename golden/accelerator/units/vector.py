"""NORM, EDGE, SOFTMAX and SAMPLE: what turns streams into codes and eps into the next x."""

import numpy as np

from golden.accelerator.instruction import Cause, Format, Instruction, MachineError, Opcode
from golden.accelerator.units.state import State
from golden.group_norm import U_FRACTION, channel_constants
from golden.numbers import Int64, rsh, sat
from golden.requantizer import requantize
from golden.sampler import image_byte, sampler_step
from golden.silu_quantizer import quantize
from golden.softmax import numerators, row_scale

__all__ = ["edge", "norm", "sample", "softmax"]

CODE_MASK = 0xFFF
U_BITS = 12
WINDOW = 3


def _sources(i: Instruction) -> list[tuple[int, int]]:
    """First word and segment of every input chunk."""
    parts = [(i["source0"] + c * i["source_plane"], 0) for c in range(i["chunks0"])]
    if i.opcode is not Opcode.SOFTMAX:
        parts += [(i["source1"] + c * i["source1_plane"], 1) for c in range(i["chunks1"])]
    return parts


def _rows(state: State, i: Instruction, base: int) -> Int64:
    """Words of a chunk's rows, (pixels, size)."""
    start = base + (i["row_first"] - i["source_row"]) * i["width"]
    return state.stream[start : start + i["rows"] * i["width"]]


def _store(state: State, i: Instruction, chunk: int, codes: Int64) -> None:
    start = i["destination"] + chunk * i["destination_plane"]
    state.codes[start : start + len(codes)] = codes & CODE_MASK


def _norm_constants(state: State, i: Instruction) -> tuple[Int64, Int64, Int64]:
    """Am, B and F of every lane of the sources, 0 where a lane is empty."""
    size = state.config.size
    table = state.norms[i["bank"]]
    lanes, sums = [], []
    start = 0
    for chunks, channels, entry in (
        ("chunks0", "channels", "sums0"),
        ("chunks1", "channels1", "sums1"),
    ):
        lanes.append(np.arange(i[channels]) + start)
        rows = slice(i[entry], i[entry] + i[chunks])
        sums.append(np.stack([s[rows].ravel()[: i[channels]] for s in (state.S1, state.S2)]))
        start += i[chunks] * size
    lane = np.concatenate(lanes)
    # (2, channels) -> (2, 1, groups)
    S1, S2 = np.concatenate(sums, axis=1).reshape(2, 1, -1, i["group_channels"]).sum(axis=3)
    try:
        found = channel_constants(
            S1, S2, table.elements, table.E, table.gamma[lane], table.beta[lane]
        )
    except ValueError as error:  # V <= 0 or F < 7: the norm block is not that of these sums
        raise MachineError(Cause.TABLE_VALUE, str(error)) from error
    constants = np.zeros((3, start), dtype=np.int64)
    constants[2] = U_FRACTION
    constants[:, lane] = np.concatenate(found)
    return constants[0], constants[1], constants[2]


def norm(state: State, i: Instruction) -> None:
    """Run a NORM: u, then SiLU's code, or int8."""
    size = state.config.size
    Am, B, F = _norm_constants(state, i)
    table = state.scales[i["bank"]]
    for chunk, (base, _) in enumerate(_sources(i)):
        lanes = slice(chunk * size, (chunk + 1) * size)
        x = _rows(state, i, base)
        u = sat(rsh(x * Am[lanes] + B[lanes], F[lanes] - U_FRACTION), U_BITS)
        if i["silu"]:
            m0, n0, z, k = table.silu
            codes = quantize(u, int(i["format"] == Format.WIDE), m0, n0, z, max(k, 1))
        else:
            codes = requantize(u, table.edge_multiplier[0], table.edge_shift[0], 0, 8)
        _store(state, i, chunk, codes)


def _windows(codes: Int64, height: int, width: int, size: int) -> list[Int64]:
    """Nine taps of all channels in one word, tap by tap, 0 outside: chunks of (pixels, size).

    ``codes`` (pixels, channels).
    """
    padded = np.pad(codes.reshape(height, width, -1), ((1, 1), (1, 1), (0, 0)))
    taps = [
        padded[dy : dy + height, dx : dx + width].reshape(height * width, -1)
        for dy in range(WINDOW)
        for dx in range(WINDOW)
    ]
    packed = np.concatenate(taps, axis=1)
    packed = np.pad(packed, ((0, 0), (0, -packed.shape[1] % size)))
    return np.split(packed, packed.shape[1] // size, axis=1)


def edge(state: State, i: Instruction) -> None:
    """Run an EDGE: the stream to int8 or 12 bits, or the image to packed windows."""
    table = state.scales[i["bank"]]
    bits = 12 if i["format"] == Format.WIDE else 8
    for chunk, (base, segment) in enumerate(_sources(i)):
        codes = requantize(
            _rows(state, i, base), table.edge_multiplier[segment], table.edge_shift[segment],
            0, bits,
        )  # fmt: skip
        if not i["window"]:
            _store(state, i, chunk, codes)
            continue
        packed = _windows(codes[:, : i["channels"]], i["height"], i["width"], state.config.size)
        for number, part in enumerate(packed):
            _store(state, i, number, part)


def softmax(state: State, i: Instruction) -> None:
    """Run a SOFTMAX: numerators and a row scale of each row of logits."""
    size, keys = state.config.size, i["channels"]
    table = state.scales[i["bank"]]
    chunks = [_rows(state, i, base) for base, _ in _sources(i)]
    logits = np.concatenate(chunks, axis=1)[:, :keys]
    e = numerators(logits)
    scale, shift = row_scale(e.sum(axis=1), int(table.edge_multiplier[0]), int(table.edge_shift[0]))
    state.row_scales[i["scale_bank"], : len(e)] = np.stack([scale, shift], axis=1)
    padded = np.pad(e, ((0, 0), (0, len(chunks) * size - keys)))
    for chunk in range(len(chunks)):
        _store(state, i, chunk, padded[:, chunk * size : (chunk + 1) * size])


def sample(state: State, i: Instruction) -> None:
    """Run a SAMPLE: x of the next step, or the bytes of an image."""
    words, channels = i["height"] * i["width"], i["channels"]

    def read(name: str) -> Int64:
        return state.stream[i[name] : i[name] + words, :channels]

    if i["image"]:
        values = image_byte(read("source0")).astype(np.int64)
    else:
        *coefficients, reach, _ = state.sampler.tolist()
        x, eps, noise = read("source0"), read("auxiliary"), read("source1")
        values = sampler_step(x, eps, coefficients, reach, noise)
    state.stream[i["destination"] : i["destination"] + words] = 0
    state.stream[i["destination"] : i["destination"] + words, :channels] = values
