"""Everything that an accelerator holds, as integers, and what it reads of external memory."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.instruction import Cause, Instruction, MachineError
from golden.accelerator.program import GROUP_HEADER_WORDS, NORM_HEADER_WORDS
from golden.calibration.artifact_checks import E_MAX
from golden.group_norm import ELEMENTS_MAX
from golden.numbers import SHIFT_MAX, Int64, as_int64

__all__ = ["NormTable", "ScaleTable", "State"]


def _within(name: str, values: Iterable[int], low: int, high: int) -> None:
    for value in values:
        if not low <= value <= high:
            raise MachineError(Cause.TABLE_VALUE, f"{name} {value}, allowed {low}..{high}")


@dataclass(frozen=True)
class ScaleTable:
    """A table set as the scale file holds it for one step; (lanes,) or one a segment."""

    zero_point: Int64
    k: Int64
    edge_multiplier: Int64
    edge_shift: Int64
    silu: tuple[int, int, int, int]
    multiplier: Int64
    shift: Int64
    bias: Int64

    def check(self) -> None:
        """``MachineError`` for a value that no artifact has: the loader refuses it."""
        _, n0, z, k = self.silu
        _within("z", [*self.zero_point, z], 0, 112)
        _within("k", [*self.k, k], 0, 4)
        _within("shift", [*self.edge_shift, *self.shift, n0], 0, SHIFT_MAX)


@dataclass(frozen=True)
class NormTable:
    """E, elements of a group, gamma and beta (lanes,)."""

    E: int
    elements: int
    gamma: Int64
    beta: Int64

    def check(self) -> None:
        """``MachineError`` for a value that no artifact has: the loader refuses it."""
        _within("elements", [self.elements], 1, ELEMENTS_MAX)
        _within("E", [self.E], 1, E_MAX)


@dataclass
class State:
    """Scratchpads and tables.

    ``stream`` (words, size) int16, ``codes`` (words, size) 0..4095, ``S1``, ``S2`` (sum_chunks,
    size), ``row_scales`` (2, depth, 2): P and n. ``regions``: external memory; ``data`` is written.
    """

    config: AcceleratorConfig
    regions: Mapping[str, bytes]
    data: bytearray
    stream: npt.NDArray[np.int64] = field(init=False)
    codes: npt.NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        config, size = self.config, self.config.size
        self.stream = np.zeros((config.stream_words, size), dtype=np.int64)
        self.codes = np.zeros((config.code_words, size), dtype=np.int64)
        self.S1 = np.zeros((config.sum_chunks, size), dtype=np.int64)
        self.S2 = np.zeros((config.sum_chunks, size), dtype=np.int64)
        self.row_scales = np.zeros((2, config.depth, 2), dtype=np.int64)
        self.scales: dict[int, ScaleTable] = {}
        self.norms: dict[int, NormTable] = {}
        self.sampler: Int64 = np.zeros(8, dtype=np.int64)

    def _table(self, offset: int, dtype: str, count: int) -> Int64:
        return as_int64(np.frombuffer(self.regions["tables"], dtype, count, offset))

    def weights(self, offset: int, shape: tuple[int, ...]) -> Int64:
        """Weights int8 in the array's order."""
        count = int(np.prod(shape))
        return as_int64(np.frombuffer(self.regions["weights"], "i1", count, offset)).reshape(shape)

    def load_tables(self, i: Instruction, group: int, step: int) -> None:
        """TABLE: a layer's blocks into a bank, or the step's sampler row."""
        at_step = i["step_offset"] + step * i["step_stride"]
        if i["sampler_row"]:
            self.sampler = self._table(at_step, "<i4", 8)
            return
        size = self.config.size
        lanes = i["chunks"] * size
        at_group = i["group_offset"] + group * i["group_stride"]
        words = self._table(at_group, "<u4", GROUP_HEADER_WORDS + lanes)
        header, scale = words[:GROUP_HEADER_WORDS], words[GROUP_HEADER_WORDS:]
        silu = int(header[4])
        table = ScaleTable(
            zero_point=header[:2] & 0x7F,
            k=header[:2] >> 7 & 7,
            edge_multiplier=header[2:4] & 0xFFFF,
            edge_shift=header[2:4] >> 16 & 0x3F,
            silu=(silu & 0xFFFF, silu >> 16 & 0x1F, silu >> 21 & 0x7F, silu >> 28 & 7),
            multiplier=scale & 0xFFFF,
            shift=scale >> 16 & 0x3F,
            bias=self._table(at_step, "<i2", lanes),
        )
        table.check()
        self.scales[i["bank"]] = table
        if i["norm_chunks"]:
            low, high, elements, _ = self._table(i["norm_offset"], "<u4", NORM_HEADER_WORDS)
            lanes = i["norm_chunks"] * size
            pairs = self._table(i["norm_offset"] + 4 * NORM_HEADER_WORDS, "<i2", 2 * lanes)
            gamma, beta = pairs.reshape(lanes, 2).T
            norm = NormTable(int(low | high << 32), int(elements), gamma, beta)
            norm.check()
            self.norms[i["bank"]] = norm

    def move(self, i: Instruction, step: int, *, load: bool) -> None:
        """LOAD or STORE: words between the data region and the stream scratchpad."""
        at = i["offset"] + step * i["step_stride"]
        size = i["words"] * self.config.word_bytes
        if load:
            words = np.frombuffer(self.data, "<i2", size // 2, at).reshape(-1, self.config.size)
            self.stream[i["destination"] : i["destination"] + i["words"]] = words
        else:
            words = self.stream[i["source0"] : i["source0"] + i["words"]]
            self.data[at : at + size] = words.astype("<i2").tobytes()
