"""Reset from any state: two copies that start apart agree for ever after one cycle of reset.

Both get the same inputs. From the cycle after the reset on their valid, ready and plain outputs
are equal, and payloads where valid is 1, whatever every register held before.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from amaranth.hdl import Value
from amaranth.lib import wiring

from cosim.formal.harness import Harness, Internals, every, implies
from hdl.blocks import BLOCKS

__all__ = ["SIZES", "agree"]

SIZES: dict[str, dict[str, Any]] = {
    "operand": {"rows": 2, "side_width": 2},
    "mac_array": {"rows": 2, "cols": 2, "side_width": 2},
    "accumulator": {"depth": 2, "cols": 1, "sum_width": 4, "acc_width": 8, "side_width": 2},
    "scale_file": {"groups": 3, "resident_groups": 2, "steps": 2, "channel_tiles": 1, "lanes": 1},
    "requantizer": {"lanes": 1, "acc_width": 16, "side_width": 2},
    "silu_quantizer": {"lanes": 1, "side_width": 2},
    "residual": {"lanes": 1, "side_width": 2},
    "sampler": {"lanes": 1, "side_width": 2},
    "group_norm": {"lanes": 2, "side_width": 2},
    "softmax": {"lanes": 2, "keys_max": 16, "ahead": 2, "side_width": 2},
    "datapath": {
        **{"rows": 1, "cols": 1, "depth": 2, "groups": 2, "resident_groups": 1, "steps": 1},
        **{"channel_tiles": 1},
    },
}
# Fields that come from a memory, which no reset clears, or that the proofs of the values cover:
# a beat's value depends on that beat and its constants alone.
APART = {
    ("accumulator", "o"): ("acc",),
    ("mac_array", "o"): ("sums",),
    ("requantizer", "o"): ("values",),
    ("silu_quantizer", "o"): ("codes",),
    ("residual", "o"): ("values",),
    ("sampler", "o"): ("values",),
    ("group_norm", "o"): ("u",),
    ("softmax", "o"): ("e",),
    ("softmax", "o_scale"): ("P", "n"),
    ("scale_file", "o_conv"): ("constants",),
    ("scale_file", "o_activation"): ("constants",),
    ("scale_file", "o_edge"): ("constants",),
    ("scale_file", "o_read"): ("multiplier", "shift", "bias"),
    ("datapath", "o_conv"): ("values",),
    ("datapath", "o_activation"): ("codes",),
    ("datapath", "o_edge"): ("codes",),
}
# Registers that hold such data.
_DATA = re.compile(r"(raw|shifted|level\d+_\d+|entry|\w+_total|o\w*__payload|so_far|total)$")


def agree(block: str) -> Harness:
    """Two copies of ``block`` at ``SIZES``: all control registers, and all outputs, agree."""
    h = Harness()
    copies = [BLOCKS[block](**SIZES[block]) for _ in range(2)]
    first, second = (h.add(name, copy) for name, copy in zip(("one", "two"), copies, strict=True))
    one, two = copies
    for (path, member, mine), (_, _, other) in zip(
        one.signature.flatten(one), two.signature.flatten(two), strict=True
    ):
        name = "_".join(map(str, path))
        if member.flow == wiring.In:
            h.close(other)
            h.m.d.comb += Value.cast(other).eq(Value.cast(mine))
        elif path[-1] == "payload":
            interface = getattr(one, str(path[0]))
            apart = APART.get((block, str(path[0])), ())
            h.check(name, implies(interface.valid, _same(mine, other, apart)))
            if block != "datapath":  # too far from the reset
                h.cover(f"{name}_seen", interface.valid & ~interface.ready)
        else:
            h.check(name, Value.cast(mine) == Value.cast(other))
    if block == "datapath":
        h.cover("beat_enters", one.i_conv.valid & one.i_conv.ready)
    parts_are_blocks = block == "datapath"  # their registers are compared block by block
    for index, (name, mine, other) in enumerate(first.registers_beside(second)):
        if parts_are_blocks:
            break
        if not mine.reset_less and not _DATA.search(name):
            h.check(f"register_{index}_{name}", mine == other)
    for name, valid, mine, other in _travels(block, one, first, second):
        h.check(name, implies(valid, mine == other))
    if block == "requantizer":
        # whether a value is clipped depends on its beat alone: proven with the value
        h.cuts = ["one.saturated", "two.saturated"]
        h.assume("clips", implies(one.o.valid, first["saturated"] == second["saturated"]))
    return h


def _travels(
    block: str, one: Any, first: Internals, second: Internals
) -> Iterator[tuple[str, Any, Any, Any]]:
    """Yield (name, valid, register, the same of the other): what travels beside a valid bit."""
    if block == "residual":
        yield "side_0", first["valid"], first["side"], second["side"]
    elif block in ("requantizer", "silu_quantizer", "sampler", "group_norm"):
        for stage in range(one.latency):
            name = f"side_{stage + 1}"
            yield f"side_{stage}", first["valid"][stage], first[name], second[name]
    elif block == "softmax":
        seconds, firsts = first["second_valid"], first["first_valid"]
        for stage in range(one.latency - 1):
            name = f"side_{stage + 1}"
            yield f"side_{stage}", seconds[stage], first[name], second[name]
        for stage in range(len(seconds)):
            valid = seconds[stage] | (firsts[stage] if stage < len(firsts) else 0)
            yield f"last_{stage}", valid, first["last"][stage], second["last"][stage]


def _same(mine: Any, other: Any, without: Sequence[str]) -> Value:
    fields = [name for name, _ in mine.shape() if name not in without]
    return every(Value.cast(mine[name]) == Value.cast(other[name]) for name in fields)
