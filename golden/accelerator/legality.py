"""What the sequencer checks before an instruction reaches its unit.

Sizes within the configuration, scratchpad ranges inside (codes inside one bank), external ranges
inside their region, waits only for work that was dispatched before, table sets that are there.
"""

from collections.abc import Iterator, Mapping

from golden.accelerator.configuration import IMAGE_CHANNELS_MAX, AcceleratorConfig
from golden.accelerator.instruction import Cause, Format, Instruction, MachineError, Opcode, Unit

__all__ = ["ALIGNMENT", "Dispatch", "output_count", "output_size", "source_rows"]

Range = tuple[str, int, int]  # memory, first word, words
WAITS = {Unit.ARRAY: "wait_array", Unit.VECTOR: "wait_vector", Unit.MOVER: "wait_mover"}
COUNT_BITS = 16
ALIGNMENT = 64  # bytes, of every external offset and stride


def output_size(i: Instruction) -> tuple[int, int]:
    """Height and width of the whole output."""
    height, width = i["height"], i["width"]
    if i.opcode is Opcode.CONV:
        height, width = (side << i["upsample"] >> i["stride2"] for side in (height, width))
    return height, width


def source_rows(i: Instruction) -> tuple[int, int]:
    """First and last row of the source that the instruction reads."""
    first, last = i["row_first"], i["row_first"] + i["rows"] - 1
    if i.opcode is Opcode.CONV:
        scale, reach = 1 + i["stride2"], 2 * i["kernel3"]
        first, last = first * scale - i["pad"], last * scale - i["pad"] + reach
        first, last = (row >> i["upsample"] for row in (first, last))
    return max(first, 0), min(last, i["height"] - 1)


def output_count(i: Instruction) -> int:
    """What the instruction adds to its unit's count."""
    if i.unit is Unit.ARRAY or (i.opcode is Opcode.EDGE and i["window"]):
        return i["chunks"]
    if i.opcode in (Opcode.NORM, Opcode.EDGE):
        return i["chunks0"] + i["chunks1"]
    return 0 if i.unit in (Unit.NONE, Unit.LOADER) else 1


def _require(condition: bool, what: str, cause: Cause = Cause.FIELD) -> None:
    if not condition:
        raise MachineError(cause, what)


def _ranges(i: Instruction, size: int) -> Iterator[Range]:
    """Scratchpad words that an operation touches."""
    width, wide = i["width"], output_size(i)[1]
    _require(wide > 0, "the output has no column")
    low, high = source_rows(i)
    _require(low >= i["source_row"], f"reads row {low}, the source starts at {i['source_row']}")
    reach = (high - i["source_row"] + 1) * width
    source = "codes" if i.unit is Unit.ARRAY else "stream"
    counts = {"source0": i["chunks0"]}
    if i.opcode is Opcode.CONV:
        counts["source0"] += i["chunks1"]
    elif i.opcode in (Opcode.NORM, Opcode.EDGE) and i["chunks1"]:
        counts["source1"] = i["chunks1"]
    for name, count in counts.items():
        plane = i["source_plane" if name == "source0" else "source1_plane"]
        yield source, i[name], (count - 1) * plane + reach
    words = i["rows"] * wide
    vector = i.unit is Unit.VECTOR
    target = "codes" if vector or i["narrow"] else "stream"
    chunks = i["chunks0"] if i.opcode is Opcode.SOFTMAX else output_count(i)
    _require(chunks > 0, "chunks is 0")
    span = (chunks - 1) * i["destination_plane"] + words
    yield target, i["destination"], span
    if i.opcode is Opcode.CONV and i["residual"]:
        yield target, i["auxiliary"], (chunks - 1) * i["auxiliary_plane"] + words
    elif i.opcode is Opcode.MATMUL:
        planes, tiles = i["chunks0"], i["chunks"]
        if not i["transpose"]:
            planes, tiles = tiles, planes
        yield "codes", i["auxiliary"], (planes - 1) * i["auxiliary_plane"] + tiles * size


class Dispatch:
    """The sequencer's memory of what it dispatched in a section.

    ``regions``: bytes of the external regions. ``steps``: sampler steps of the tables.
    """

    def __init__(self, config: AcceleratorConfig, regions: Mapping[str, int], steps: int) -> None:
        self.config, self.regions, self.steps = config, regions, steps
        self.counts = dict.fromkeys(WAITS, 0)
        self.tables: dict[int, Instruction] = {}
        self.sampler_row = False

    def check(self, i: Instruction, groups: int) -> None:
        """``MachineError`` if the instruction is illegal here; else it counts as dispatched."""
        if i.opcode in (Opcode.LOAD, Opcode.STORE):
            self._check_move(i)
        elif i.opcode is Opcode.TABLE:
            self._check_table(i, groups)
        elif i.opcode is Opcode.SAMPLE:
            self._check_sample(i)
        elif i.opcode is not Opcode.END:
            self._check_operation(i)
        self._check_waits(i)
        if i.unit in self.counts:
            self.counts[i.unit] += output_count(i)
            _require(self.counts[i.unit] < 1 << COUNT_BITS, "counts beyond 65535", Cause.WAIT)

    def _check_waits(self, i: Instruction) -> None:
        if i.opcode in (Opcode.TABLE, Opcode.END):
            return
        for unit, name in WAITS.items():
            if i.unit is Unit.MOVER and unit is Unit.MOVER:
                continue
            count = self.counts[unit]
            _require(i[name] <= count, f"{name} {i[name]} of {count} dispatched", Cause.WAIT)
        if i.unit is not Unit.MOVER:
            count = self.counts.get(Unit(i["step_unit"]), 0)
            _require(i["step_base"] <= i["step_cap"], "step_base beyond step_cap", Cause.WAIT)
            _require(i["step_cap"] <= count, f"step_cap {i['step_cap']} of {count}", Cause.WAIT)

    def _inside(self, memory: str, first: int, words: int) -> None:
        config = self.config
        held = config.stream_words if memory == "stream" else config.code_words
        what = f"{memory} words {first}..{first + words - 1} of {held}"
        _require(first + words <= held, what, Cause.SCRATCHPAD)
        if memory == "codes":
            bank = config.code_bank_words
            same = first // bank == (first + words - 1) // bank
            _require(same, f"{what} cross a bank", Cause.SCRATCHPAD)

    def _external(
        self, region: str, offset: int, size: int, stride: int = 0, count: int = 1
    ) -> None:
        """``count`` blocks of ``size`` bytes, ``stride`` apart, lie inside a region, aligned."""
        last = offset + (count - 1) * stride + size - 1
        what = f"{region} bytes {offset}..{last} of {self.regions[region]}, stride {stride}"
        aligned = not (offset % ALIGNMENT or stride % ALIGNMENT)
        _require(aligned and last < self.regions[region], what, Cause.EXTERNAL)

    def _check_move(self, i: Instruction) -> None:
        _require(i["words"] > 0, "words is 0")
        at = i["destination" if i.opcode is Opcode.LOAD else "source0"]
        self._inside("stream", at, i["words"])
        size = i["words"] * self.config.word_bytes
        self._external("data", i["offset"], size, i["step_stride"], self.steps)

    def _check_table(self, i: Instruction, groups: int) -> None:
        if i["sampler_row"]:
            self._external("tables", i["step_offset"], 32, i["step_stride"], self.steps)
            self.sampler_row = True
            return
        size = self.config.size
        _require(1 <= i["chunks"] <= self.config.channel_tiles, f"chunks is {i['chunks']}")
        # the norm's constants hold as many lanes as channel sums
        _require(i["norm_chunks"] <= self.config.sum_chunks, f"norm_chunks is {i['norm_chunks']}")
        group, step = 32 + 4 * size * i["chunks"], 2 * size * i["chunks"]
        self._external("tables", i["group_offset"], group, i["group_stride"], groups)
        self._external("tables", i["step_offset"], step, i["step_stride"], self.steps)
        if i["norm_chunks"]:
            self._external("tables", i["norm_offset"], 16 + 4 * size * i["norm_chunks"])
        self.tables[i["bank"]] = i

    def _check_sample(self, i: Instruction) -> None:
        words = i["height"] * i["width"]
        channels = 1 <= i["channels"] <= IMAGE_CHANNELS_MAX
        _require(words > 0 and channels, "empty or too many channels")
        _require(bool(i["image"]) or self.sampler_row, "no sampler row", Cause.TABLE_SET)
        for name in ("source0", "source1", "destination", "auxiliary"):
            self._inside("stream", i[name], words)

    def _check_operation(self, i: Instruction) -> None:
        size = self.config.size
        held = self.tables.get(i["bank"])
        what = f"set {i['table_set']} in bank {i['bank']}"
        same = held is not None and held["table_set"] == i["table_set"]
        _require(same, what, Cause.TABLE_SET)
        assert held is not None
        if i.opcode is Opcode.CONV:
            _require(i["chunks"] <= held["chunks"], f"{what}: too few lanes", Cause.TABLE_SET)
        if i.opcode is Opcode.NORM:
            lanes = i["chunks0"] + i["chunks1"]
            _require(lanes <= held["norm_chunks"], f"{what}: too few lanes", Cause.TABLE_SET)
        height, width = output_size(i)
        for name in ("height", "width", "rows", "chunks0"):
            _require(i[name] > 0, f"{name} is 0")
        _require(i["row_first"] + i["rows"] <= height, f"rows beyond {height}")
        if i.unit is Unit.ARRAY:
            _require(i["chunks"] > 0 and i["tile_rows"] > 0, "chunks or tile_rows is 0")
            _require(i["tile_rows"] * width <= self.config.depth, "tile beyond the accumulator")
        for memory, first, words in _ranges(i, size):
            self._inside(memory, first, words)
        _OPERATIONS[i.opcode](self, i)

    def _check_conv(self, i: Instruction) -> None:
        _require(i["format"] in set(Format), f"format {i['format']}")
        _require(not (i["stride2"] and i["upsample"]), "stride2 and upsample")
        _require(not i["pad"] or bool(i["kernel3"]), "pad without kernel3")
        _require(not i["narrow"] or not (i["residual"] or i["sums"]), "narrow with sums")
        if i["sums"]:
            end = i["sums0"] + i["chunks"]
            _require(end <= self.config.sum_chunks, "sums beyond the memory", Cause.SCRATCHPAD)
        size = self.config.size
        sets = (i["chunks0"] + i["chunks1"]) * (9 if i["kernel3"] else 1)
        sets *= i["chunks"] * (2 if i["format"] == Format.WIDE else 1)
        self._external("weights", i["offset"], sets * size * size)

    def _check_matmul(self, i: Instruction) -> None:
        size, bank = self.config.size, self.config.code_bank_words
        lanes = size * (i["chunks0"] if i["transpose"] else i["chunks"])
        _require(i["channels"] > 0 and i["lane_first"] < size, "channels or lane_first")
        _require(i["lane_first"] + i["channels"] <= lanes, "channels beyond the chunks")
        _require(i["rows"] * i["width"] <= self.config.depth, "block beyond the row scales")
        apart = i["source0"] // bank != i["auxiliary"] // bank
        _require(apart, "moving and stationary codes in one bank", Cause.SCRATCHPAD)

    def _check_norm(self, i: Instruction) -> None:
        size = self.config.size
        formats = (Format.REGION, Format.WIDE) if i["silu"] else (Format.INT8,)
        _require(i["format"] in formats, f"format {i['format']}")
        for chunks, channels in (("chunks0", "channels"), ("chunks1", "channels1")):
            fits = i[chunks] == self.config.chunks(i[channels])
            _require(fits, f"{channels} {i[channels]} in {i[chunks]} chunks of {size}")
        per_group = i["group_channels"]
        total = i["channels"] + i["channels1"]
        _require(per_group > 0 and total % per_group == 0, f"groups of {per_group} in {total}")
        for chunks, sums in (("chunks0", "sums0"), ("chunks1", "sums1")):
            end = i[sums] + i[chunks]
            _require(end <= self.config.sum_chunks, "sums beyond the memory", Cause.SCRATCHPAD)

    def _check_edge(self, i: Instruction) -> None:
        _require(i["format"] in (Format.INT8, Format.WIDE), f"format {i['format']}")
        if i["window"]:
            chunks = self.config.chunks(9 * i["channels"])
            channels = 1 <= i["channels"] <= IMAGE_CHANNELS_MAX
            _require(channels and i["chunks"] == chunks, f"window of {i['chunks']} chunks")
            _require(i["width"] <= self.config.depth, "window wider than the accumulator")
            whole = i["rows"] == i["height"] and i["chunks0"] == 1 and not i["chunks1"]
            _require(whole, "window of a part of the image")

    def _check_softmax(self, i: Instruction) -> None:
        fits = i["chunks0"] == self.config.chunks(i["channels"])
        _require(fits, f"{i['channels']} keys in {i['chunks0']} chunks")
        _require(i["rows"] * i["width"] <= self.config.depth, "block beyond the row scales")


_OPERATIONS = {
    Opcode.CONV: Dispatch._check_conv,
    Opcode.MATMUL: Dispatch._check_matmul,
    Opcode.NORM: Dispatch._check_norm,
    Opcode.EDGE: Dispatch._check_edge,
    Opcode.SOFTMAX: Dispatch._check_softmax,
}
