"""What goes through the stream ports of a block: its bench's cases, or requests to a memory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from cosim.bus.memory_traffic import BYTES, axi_reader, axi_writer, weight_loader
from golden.errors import UserError
from golden.numbers import Int64
from golden.order import Answer, Order

__all__ = ["REFUSED", "STREAM_BLOCKS", "Traffic", "traffic"]

STREAM_BLOCKS: Mapping[str, Mapping[str, Any]] = {
    "operand": {"rows": 2, "side_width": 2},
    "mac_array": {"rows": 2, "cols": 2, "side_width": 2},
    "accumulator": {"depth": 8, "cols": 2, "sum_width": 20, "side_width": 2},
    "requantizer": {"lanes": 2, "side_width": 2},
    "silu_quantizer": {"lanes": 2, "side_width": 2},
    "group_norm": {"lanes": 2},
    "residual": {"lanes": 2},
    "softmax": {"lanes": 2, "keys_max": 16, "ahead": 2},
    "sampler": {"lanes": 2, "side_width": 2},
    "scale_file": {
        "groups": 5, "resident_groups": 3, "steps": 4, "channel_tiles": 2, "lanes": 2,
        "conv_side": 3, "activation_side": 5, "edge_side": 1, "read_side": 6,
    },
    "datapath": {
        "rows": 2, "cols": 2, "depth": 8, "groups": 5, "resident_groups": 3, "steps": 4,
        "channel_tiles": 2, "segments": 16,
    },
    "axi_reader": {"axi_bytes": BYTES, "outstanding": 3, "buffer": 32},
    "axi_writer": {"axi_bytes": BYTES, "buffer": 32},
    "weight_loader": {"size": 8, "axi_bytes": BYTES},
}  # fmt: skip
"""Parameters of each block that is checked."""
_MEMORY: Mapping[str, Callable[[int], dict[str, Any]]] = {
    "axi_reader": axi_reader,
    "axi_writer": axi_writer,
    "weight_loader": weight_loader,
}
_NONE = "it has no stream"
_READS = "words of a memory come a cycle after their address, which no stream model drives"
REFUSED = {
    "processing_element": _NONE,
    "channel_sums": _NONE,
    "stream_scratchpad": _NONE,
    "code_scratchpad": _NONE,
    "row_scales": _NONE,
    "registers": f"{_NONE}: see check_registers",
    "accelerator": f"{_NONE}: see check_accelerator",
    "norm_constants": _READS,
    "array_walk": _READS,
    "array_unit": _READS,
    "stationary": _READS,
    "write_back": _READS,
    "vector_unit": _READS,
    "mover": _READS,
    "sequencer": "what it issues follows plain inputs, the counts of the units",
    "table_loader": "golden gives what stands in the tables, not the order of the writes",
}
"""Why a block is not; all of these run in the accelerator, whose own buses are checked."""


@dataclass(frozen=True)
class Traffic:
    """``payloads``: stream -> field -> (beats,) or (beats, count); ``plain``: held inputs.

    ``order``, ``answers``: see ``golden.order``. ``memory``: behind AXI4, address -> bytes before;
    ``kept``: bytes after.
    """

    name: str
    payloads: Mapping[str, Mapping[str, Int64]]
    plain: Mapping[str, int] = field(default_factory=dict)
    order: Order = field(default_factory=dict)
    answers: Mapping[str, Answer] = field(default_factory=dict)
    memory: Mapping[int, bytes] = field(default_factory=dict)
    kept: Mapping[int, bytes] = field(default_factory=dict)


def traffic(block: str, seed: int) -> list[Traffic]:
    """Return all of a block with the parameters of ``STREAM_BLOCKS``, resets left out."""
    if block not in STREAM_BLOCKS:
        why = REFUSED.get(block, f"it must be one of {', '.join(STREAM_BLOCKS)}")
        raise UserError(f"streams of block {block!r} are not checked: {why}")
    parameters = STREAM_BLOCKS[block]
    if block in _MEMORY:
        return [Traffic("random", **_MEMORY[block](seed))]
    return [
        Traffic(
            case.name,
            case.payloads,
            {name: int(values[0]) for name, values in case.trace.plain_in.items()},
            case.order,
            case.answers,
        )
        for case in import_module(f"cosim.tb_{block}").cases(seed, parameters)
        if not case.name.endswith("-reset")
    ]
