"""The blocks joined: conv, activation and edge path, all fed by one scale file.

- conv: code -> operand -> mac_array -> accumulator -> requantizer -> int16 stream (or int8)
- activation: int12 u -> silu_quantizer -> region code (or 12 bits)
- edge: int16 stream or int12 u -> requantizer -> int8 (or 12 bits)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from golden import silu_quantizer
from golden.accumulator import AccumulatorModel, accumulator, tile_ends
from golden.cycles import RigidPipeline, SkidBuffer
from golden.mac_array import MacArrayModel, mac_array
from golden.numbers import Int64
from golden.operand import LATENCY as OPERAND_LATENCY
from golden.operand import operand
from golden.requantizer import RequantizerModel, requantize_counted
from golden.scale_file import ScaleFileModel
from golden.scale_tables import ScaleFileConfig, TableSet, WriteEvents, lookup

__all__ = [
    "STREAM_BITS",
    "Beats",
    "DatapathConfig",
    "DatapathModel",
    "DatapathOutputs",
    "datapath",
]

STREAM_BITS = 16
WIDE_BITS = 12
INT8_BITS = 8

Beats = Mapping[str, Int64]


@dataclass(frozen=True)
class DatapathConfig:
    """Sizes of the datapath; see ``hdl.datapath.Datapath``."""

    rows: int = 16
    cols: int = 16
    vector_lanes: int = 16
    depth: int = 256
    groups: int = 8
    resident_groups: int = 8
    steps: int = 8
    channel_tiles: int = 4
    segments: int = 32
    decode: str = "edge"
    pipeline: int = 1
    multiplier: str = "inferred"

    @property
    def scale_file(self) -> ScaleFileConfig:
        """Sizes of the scale file: a lane of its read port for each column."""
        return ScaleFileConfig(
            self.groups, self.resident_groups, self.steps, self.channel_tiles, self.cols
        )


@dataclass(frozen=True)
class DatapathOutputs:
    """Payloads of the output streams and what the cycle model needs beside them.

    ``conv``: values (beats, cols), pixel, end. ``activation``, ``edge``: codes (beats, lanes),
    end. ``conv_saturated``, ``edge_saturated``: (beats,) elements clipped. ``conv_bank``: (beats,)
    bank of the tile. ``conv_group``, ``conv_step``: (beats,), for reports.
    """

    conv: Beats
    activation: Beats
    edge: Beats
    conv_saturated: Int64
    edge_saturated: Int64
    conv_bank: Int64
    conv_group: Int64
    conv_step: Int64


def datapath(
    config: DatapathConfig,
    boundaries: Sequence[int],
    sets: Sequence[TableSet],
    conv: Beats,
    weights: Int64,
    activation: Beats,
    edge: Beats,
) -> DatapathOutputs:
    """Return what the three paths deliver.

    ``conv``: (beats,) bank, table_set, step, segment, channel_tile, mode, tile_start, first, last,
    end, pixel, narrow; (beats, rows) codes, pad. ``weights``: (tiles, rows, cols) int8.
    ``activation``: (beats,) bank, table_set, step, wide, start, end; (beats, lanes) u. ``edge``:
    the same with segment, and x in place of u.
    """
    scale = config.scale_file
    found = lookup(scale, boundaries, sets, _tile_fields(conv))
    mantissa, flag, k = operand(
        conv["codes"], conv["pad"], conv["mode"], found["operand_z"], found["operand_k"]
    )
    sums = mac_array(mantissa, flag, k, conv["tile_start"], weights)
    acc, pixel, end = accumulator(sums, conv["pixel"], conv["first"], conv["last"], conv["end"])
    finish = tile_ends(conv["last"], conv["end"])
    tile = np.repeat(finish, conv["pixel"][finish] + 1)  # output beat -> its finishing beat
    width = np.where(conv["narrow"][tile] == 1, INT8_BITS, STREAM_BITS)
    values, clipped = requantize_counted(
        acc, found["multiplier"][tile], found["shift"][tile], found["bias"][tile], width[:, None]
    )

    edge_codes, edge_clipped = _edge(config, boundaries, sets, edge)
    return DatapathOutputs(
        conv={"values": values, "pixel": pixel, "end": end},
        activation={
            "codes": _activation(config, boundaries, sets, activation),
            "end": activation["end"],
        },
        edge={"codes": edge_codes, "end": edge["end"]},
        conv_saturated=clipped.sum(axis=1),
        edge_saturated=edge_clipped.sum(axis=1),
        conv_bank=conv["bank"][tile],
        conv_group=found["group"][tile],
        conv_step=conv["step"][tile],
    )


def _activation(
    config: DatapathConfig, boundaries: Sequence[int], sets: Sequence[TableSet], beats: Beats
) -> Int64:
    """Return the codes of the activation path, (beats, lanes)."""
    if not len(beats["u"]):
        return np.zeros_like(beats["u"])
    m0, n0, z, k = lookup(config.scale_file, boundaries, sets, _tile_fields(beats))["silu"].T
    wide = beats["wide"]
    # a wide tile uses neither z nor k; its k may be 0
    k = np.where(wide == 1, np.maximum(k, 1), k)
    return silu_quantizer.quantize(beats["u"], wide, m0, n0, z, k, segments=config.segments)


def _edge(
    config: DatapathConfig, boundaries: Sequence[int], sets: Sequence[TableSet], beats: Beats
) -> tuple[Int64, Int64]:
    """Return codes and clipped elements of the edge path, both (beats, lanes)."""
    if not len(beats["x"]):
        return np.zeros_like(beats["x"]), np.zeros_like(beats["x"])
    found = lookup(config.scale_file, boundaries, sets, _tile_fields(beats))
    width = np.where(beats["wide"] == 1, WIDE_BITS, INT8_BITS)[:, None]
    multiplier, shift = found["edge_multiplier"][:, None], found["edge_shift"][:, None]
    codes, clipped = requantize_counted(beats["x"], multiplier, shift, np.zeros((1, 1), int), width)
    return codes, clipped.astype(np.int64)


def _tile_fields(beats: Beats) -> dict[str, Int64]:
    """Return the fields that select constants; those that a path does not have are 0."""
    zeros = np.zeros(len(beats["bank"]), dtype=np.int64)
    names = ("bank", "table_set", "step", "segment", "channel_tile")
    return {name: beats.get(name, zeros) for name in names}


class DatapathModel:
    """Cycle behaviour of the whole, made of the models of its parts.

    Skid buffers stand after every lookup of the scale file and between operand and mac_array; the
    scale file's read port moves in lockstep with the conv path's requantizer.
    """

    inputs: Sequence[str] = ("i_write", "i_weights", "i_conv", "i_activation", "i_edge")
    outputs: Sequence[str] = ("o_conv", "o_activation", "o_edge")
    plain_outputs: Sequence[str] = ("bank_busy", "conv_saturations", "edge_saturations")

    def __init__(
        self,
        config: DatapathConfig,
        events: WriteEvents,
        sets: Sequence[TableSet],
        conv: Beats,
        activation: Beats,
        edge: Beats,
        outputs: DatapathOutputs,
    ) -> None:
        self._array_ready = False
        self._read_ready = False
        conv_start = conv["tile_start"] & conv["first"]
        self.scale = ScaleFileModel(
            {"conv": {**conv, "start": conv_start}, "activation": activation, "edge": edge},
            events,
            sets,
        )
        self.conv_skid = SkidBuffer()
        self.operand = RigidPipeline(OPERAND_LATENCY)
        self.operand_skid = SkidBuffer()
        self.array = MacArrayModel(
            conv["tile_start"], config.rows, config.decode, config.pipeline, config.multiplier
        )
        self.accumulator = AccumulatorModel(conv["pixel"], conv["last"], conv["end"])
        self.requantizer = RequantizerModel(outputs.conv_saturated)
        self.activation_skid = SkidBuffer()
        self.silu = RigidPipeline(silu_quantizer.latency(config.multiplier))
        self.edge_skid = SkidBuffer()
        self.edge_requantizer = RequantizerModel(outputs.edge_saturated, acc_width=STREAM_BITS)
        self._ends = {
            "conv": (outputs.conv["end"].tolist(), outputs.conv_bank.tolist()),
            "activation": (activation["end"].tolist(), activation["bank"].tolist()),
            "edge": (edge["end"].tolist(), edge["bank"].tolist()),
        }

    def reset(self) -> None:
        """Everything empty."""
        for part in (
            self.scale, self.conv_skid, self.operand, self.operand_skid, self.array,
            self.accumulator, self.requantizer, self.activation_skid, self.silu, self.edge_skid,
            self.edge_requantizer,
        ):  # fmt: skip
            part.reset()

    def offered(self) -> dict[str, int]:
        """Beats at the three outputs."""
        return {
            "o_conv": self.requantizer.pipeline.offered,
            "o_activation": self.silu.offered,
            "o_edge": self.edge_requantizer.pipeline.offered,
        }

    def evaluate(
        self, valid: Mapping[str, int], ready: Mapping[str, bool], plain: Mapping[str, int]
    ) -> tuple[dict[str, bool], dict[str, int]]:
        """See ``golden.cycles.CycleModel``."""
        scale_valid = dict(valid)
        array_valid = {"i": self.operand_skid.offered, "i_weights": valid["i_weights"]}
        array_ready, _ = self.array.evaluate(
            array_valid, {"o": self.accumulator.input_ready}, plain
        )
        self._array_ready = array_ready["i"]
        self._read_ready = self.requantizer.pipeline.ready(ready["o_conv"])
        scale_ready, scale_plain = self.scale.evaluate(
            scale_valid,
            {
                "o_conv": self.conv_skid.ready,
                "o_activation": self.activation_skid.ready,
                "o_edge": self.edge_skid.ready,
                "o_read": self._read_ready,
            },
            plain,
        )
        i_ready = {
            "i_write": scale_ready["i_write"],
            "i_weights": array_ready["i_weights"],
            "i_conv": scale_ready["i_conv"],
            "i_activation": scale_ready["i_activation"],
            "i_edge": scale_ready["i_edge"],
        }
        _, counted = self.requantizer.evaluate({}, {"o": ready["o_conv"]}, plain)
        _, edge_counted = self.edge_requantizer.evaluate({}, {"o": ready["o_edge"]}, plain)
        return i_ready, {
            "bank_busy": scale_plain["bank_busy"],
            "conv_saturations": counted["saturations"],
            "edge_saturations": edge_counted["saturations"],
        }

    def clock(
        self, accepted: Mapping[str, int], ready: Mapping[str, bool], plain: Mapping[str, int]
    ) -> None:
        """See ``golden.cycles.CycleModel``."""
        releases: dict[str, int] = {}
        for path, beat in self.offered().items():
            name = path.removeprefix("o_")
            ends, banks = self._ends[name]
            done = beat >= 0 and ready[path] and bool(ends[beat])
            releases[f"release_{name}"] = int(done)
            releases[f"release_{name}_bank"] = banks[beat] if done else 0

        # every transfer of this cycle, from the state before the clock edge
        looked_up = self.scale.offered()
        skid_ready = {
            "conv": self.conv_skid.ready,
            "activation": self.activation_skid.ready,
            "edge": self.edge_skid.ready,
        }
        into_skid = {
            path: looked_up[f"o_{path}"] if is_ready else -1
            for path, is_ready in skid_ready.items()
        }
        operand_skid_ready = self.operand_skid.ready
        operand_ready = self.operand.ready(operand_skid_ready)
        into_operand = self.conv_skid.offered if operand_ready else -1
        into_operand_skid = self.operand.offered if operand_skid_ready else -1
        into_array = self.operand_skid.offered if self._array_ready else -1
        acc_ready = self.accumulator.input_ready
        into_acc = self.array.pipeline.offered if acc_ready else -1
        into_read = self.accumulator.drain.offered if self._read_ready else -1
        into_requantizer = looked_up["o_read"] if self._read_ready else -1
        silu_ready = self.silu.ready(ready["o_activation"])
        into_silu = self.activation_skid.offered if silu_ready else -1
        edge_ready = self.edge_requantizer.pipeline.ready(ready["o_edge"])
        into_edge = self.edge_skid.offered if edge_ready else -1

        scale_ready = {f"o_{path}": is_ready for path, is_ready in skid_ready.items()}
        self.scale.clock(
            {**accepted, "i_read": into_read},
            {**scale_ready, "o_read": self._read_ready},
            {**plain, **releases},
        )
        self.conv_skid.clock(into_skid["conv"], operand_ready)
        self.operand.clock(into_operand, operand_skid_ready)
        self.operand_skid.clock(into_operand_skid, self._array_ready)
        self.array.clock(
            {"i": into_array, "i_weights": accepted["i_weights"]}, {"o": acc_ready}, plain
        )
        self.accumulator.clock({"i": into_acc}, {"o": self._read_ready}, plain)
        self.requantizer.clock({"i": into_requantizer}, {"o": ready["o_conv"]}, plain)
        self.activation_skid.clock(into_skid["activation"], silu_ready)
        self.silu.clock(into_silu, ready["o_activation"])
        self.edge_skid.clock(into_skid["edge"], edge_ready)
        self.edge_requantizer.clock({"i": into_edge}, {"o": ready["o_edge"]}, plain)
