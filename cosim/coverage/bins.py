"""Functional coverage bins of every block: what its bench must have shown at least once.

A bin is a name and whether a case hits it; the names of a block do not depend on the case, so what
no case hits stands there as a hole. Everything is read from the beats that moved.
"""

from collections.abc import Callable, Sequence

import numpy as np

from cosim.coverage.observed import Hits, Observed, stream_bins
from golden.cycles import Case
from golden.norm_lane import LATENCY
from golden.numbers import SHIFT_MAX, Int64
from golden.sampler import COEFFICIENT_FRACTION
from golden.softmax import numerators

__all__ = ["BLOCKS", "functional", "hits_of"]

PHASES = 6  # beats of the tile before that are still inside when another begins


def _operand(seen: Observed) -> Hits:
    i, o = seen.fields("i", "o")
    mode, k, z = i["mode"], i["k"], i["zero_point"]
    pad, flag = i["pad"].any(axis=1), o["flag"].any(axis=1)
    hits = {f"mode {m}, pad {p}": bool(((mode == m) & (pad == p)).any())
            for m in range(4) for p in (0, 1)}  # fmt: skip
    hits |= {f"region, k {n}, shifted": bool(((mode == 0) & (k == n) & flag).any())
             for n in range(5)}  # fmt: skip
    hits |= {f"region, z {v}": bool(((mode == 0) & (z == v)).any()) for v in (0, 1, 111, 112)}
    codes = i["codes"] & 0xFF
    at_edge = (mode == 0)[:, None] & (i["pad"] == 0)
    for name, code in (("below", -1), ("at", 0), ("above", 1)):
        distance = (codes - 128) & 0xFF
        hits[f"region, code {name} the first of the upper region"] = bool(
            (at_edge & (distance == code % 256)).any()
        )
    for m, (low, high) in enumerate(((-112, 112), (-128, 127), (-128, 127), (0, 15))):
        mantissa = o["mantissa"][mode == m]
        hits[f"mode {m}, mantissa {low} and {high}"] = bool(
            (mantissa <= low).any() and (mantissa >= high).any()
        )
    return hits


def _mac_array(seen: Observed) -> Hits:
    (i,) = seen.fields("i")
    starts = np.flatnonzero(i["tile_start"])
    rows = i["mantissa"].shape[1]
    lengths = np.diff(starts)
    weights = seen.fields("i_weights")[0]["weights"]
    moves = seen.moves("i")
    first = moves[starts[starts < len(moves)]]
    fed = seen.moved_before("i_weights")
    hits = {f"k {n}, shifted": bool(((i["k"] == n)[:, None] & (i["flag"] == 1)).any())
            for n in range(5)}  # fmt: skip
    return hits | {
        "bank swap": len(starts) > 1,
        "tiles of exactly `rows` beats one after the other": bool(
            ((lengths[1:] == rows) & (lengths[:-1] == rows)).any()
        ),
        "a tile of more than `rows` beats": bool((lengths > rows).any()),
        "a tile begins when its last weight has just come": bool(
            (fed[first] == rows * (1 + np.arange(len(first)))).any()
        ),
        "weight -128 and 127": bool((weights == -128).any() and (weights == 127).any()),
        "mantissa -128 and 127": bool(
            (i["mantissa"] == -128).any() and (i["mantissa"] == 127).any()
        ),
    }


def _accumulator(seen: Observed) -> Hits:
    (i,), (o,) = seen.fields("i"), seen.fields("o")
    pixel = i["pixel"]
    hits = {f"first {f}, last {last}": bool(((i["first"] == f) & (i["last"] == last)).any())
            for f in (0, 1) for last in (0, 1)}  # fmt: skip
    for distance in range(1, 5):
        same = (pixel[distance:] == pixel[:-distance]) & (i["first"][distance:] == 0)
        hits[f"the same pixel again after {distance}"] = bool(same.any())
    ends = (i["last"] == 1) & (i["end"] == 1)
    drained, filled = seen.moves("o"), seen.moves("i")
    fill = seen.stream("i")
    depth = int(seen.case.parameters["depth"])
    return hits | {
        "bank swap": int(ends.sum()) > 1,
        "a tile of one pixel": bool((ends & (pixel == 0)).any()),
        "a tile of the whole depth": bool((ends & (pixel == depth - 1)).any()),
        "one bank fills while the other drains": bool(np.isin(filled, drained).any()),
        "the input waits for a bank that drains": bool((fill.valid & ~fill.ready).any()),
        "sums of both signs": bool((o["acc"] < 0).any() and (o["acc"] > 0).any()),
    }


def _groups(seen: Observed, stream: str) -> Hits:
    """Tiles of every timestep group, and one right after the other across every boundary."""
    groups = seen.case.groups
    assert groups is not None
    found = np.asarray(groups)[: seen.stream(stream).transfers]
    low, high = np.minimum(found[1:], found[:-1]), np.maximum(found[1:], found[:-1])
    count = int(seen.case.parameters["groups"])
    hits = {f"group {g}": bool((found == g).any()) for g in range(count)}
    return hits | {
        f"two tiles across boundary {b}": bool(((low <= b) & (high > b)).any())
        for b in range(count - 1)
    }


def _scale_file(seen: Observed) -> Hits:
    hits: Hits = {}
    for name in ("conv", "activation", "edge"):
        (i,) = seen.fields(f"i_{name}")
        bank, table = i["bank"], i["table_set"]
        step = i["step"]
        hits |= {f"{name}: bank {b}": bool((bank == b).any()) for b in (0, 1)}
        hits |= {
            f"{name}: bank swap between two tiles": bool((np.diff(bank) != 0).any()),
            f"{name}: another step, the same table set": bool(
                ((np.diff(step) != 0) & (np.diff(table) == 0)).any()
            ),
            f"{name}: segment 0 and 1": bool({0, 1} <= set(i["segment"].tolist())),
            f"{name}: last channel tile": bool(
                (i["channel_tile"] == int(seen.case.parameters["channel_tiles"]) - 1).any()
            ),
        }
    rows = seen.fields("i_read")[0]["scale_row"] // int(seen.case.parameters["channel_tiles"])
    resident = int(seen.case.parameters["resident_groups"])
    hits |= {f"row {g} of the resident groups": bool((rows == g).any()) for g in range(resident)}
    hits |= _groups(seen, "i_conv")
    (write,) = seen.fields("i_write")
    tables = (write["table"] == t for t in range(4))
    hits |= {f"write of table {t}": bool(mask.any()) for t, mask in enumerate(tables)}
    busy = seen.case.trace.plain_out["bank_busy"]
    hits |= {f"bank_busy {value}": bool((busy == value).any()) for value in range(4)}
    offers = seen.stream("i_write")
    bank = np.r_[write["bank"], 0][seen.moved_before("i_write")]
    enters = (busy[:-1] >> bank[:-1] & 1 == 0) & (busy[1:] >> bank[:-1] & 1 == 1)
    meets = offers.valid[:-1] & enters
    return hits | {"a tile enters as a write to its bank is offered": bool(meets.any())}


def _rounding(product: Int64, shift: Int64) -> tuple[Int64, Int64]:
    """``product >> shift`` and whether a half was left over, of (n,)."""
    half = np.where(shift > 0, np.int64(1) << np.maximum(shift - 1, 0), 0)
    rest = product & ((np.int64(1) << shift) - 1)
    return (product + half) >> shift, (shift > 0) & (rest == half)


def _requantizer(seen: Observed) -> Hits:
    i, o = seen.fields("i", "o")
    product, shift = i["acc"] * i["multiplier"], i["shift"]
    rounded, tie = _rounding(product, shift)
    narrow = np.broadcast_to((i["narrow"] == 1)[:, None], product.shape)
    total = rounded + i["bias"]
    widths = {"wide": int(seen.case.parameters.get("out_width", 16)),
              "narrow": int(seen.case.parameters.get("narrow_width", 8))}  # fmt: skip
    hits = {
        f"tie, {sign} product, result {parity}": bool(
            (tie & (positive == (product > 0)) & (rounded % 2 == odd)).any()
        )
        for sign, positive in (("positive", True), ("negative", False))
        for parity, odd in (("even", 0), ("odd", 1))
    }
    for name, width in widths.items():
        top, mine = 1 << (width - 1), narrow == (name == "narrow")
        hits |= {
            f"{name}: saturates above": bool((mine & (total >= top)).any()),
            f"{name}: saturates below": bool((mine & (total < -top)).any()),
            f"{name}: largest value without saturation": bool((mine & (total == top - 1)).any()),
            f"{name}: least value without saturation": bool((mine & (total == -top)).any()),
            f"{name}: one above the largest": bool((mine & (total == top)).any()),
            f"{name}: one below the least": bool((mine & (total == -top - 1)).any()),
            f"{name}: the bias brings a value back inside": bool(
                (mine & (abs(rounded) > top) & (abs(total) < top)).any()
            ),
        }
    hits |= {f"n {n}": bool((shift == n).any()) for n in range(SHIFT_MAX + 1)}
    clear, moved = seen.case.trace.plain_in["clear"], seen.stream("o")
    counted = seen.case.trace.plain_out["saturations"]
    n = min(len(clear), len(counted))
    return hits | {
        "M 0": bool((i["multiplier"] == 0).any()),
        "largest M": bool((i["multiplier"] == 65535).any()),
        "several lanes saturate in one beat": bool(
            ((total != np.clip(total, -(1 << 15), (1 << 15) - 1)).sum(axis=1) > 1).any()
        ),
        "clear of a counter that stands above 0": bool(
            ((clear[:n] == 1) & (counted[:n] > 0)).any()
        ),
        "clear while a beat leaves": bool(
            ((clear[:n] == 1) & moved.valid[:n] & moved.ready[:n]).any()
        ),
        "values of both signs": bool((o["values"] < 0).any() and (o["values"] > 0).any()),
    }


def _silu_quantizer(seen: Observed) -> Hits:
    i, o = seen.fields("i", "o")
    u, codes = i["u"], o["codes"]
    wide = np.broadcast_to((i["wide"] == 1)[:, None], u.shape)
    segments = int(seen.case.parameters["segments"])
    piece = np.abs(u) * segments // 2048
    hits = {
        f"piece {p} of {'negative' if negative else 'positive'} u": bool(
            ((piece == p) & ((u < 0) == negative)).any()
        )
        for p in range(segments)
        for negative in (False, True)
    }
    z, k = i["zero_point"], i["k"]
    upper = ~wide & (codes >= 128)
    hits |= {f"upper region, k {n}": bool((upper & (k == n)[:, None]).any()) for n in range(1, 5)}
    return hits | {
        "lower region": bool((~wide & (codes < 128)).any()),
        "code 0 and 255": bool((~wide & (codes == 0)).any() and (~wide & (codes == 255)).any()),
        "12 bits: positive and negative": bool(
            (wide & (codes & 2048 == 0)).any() and (wide & (codes & 2048 > 0)).any()
        ),
        "12 bits: largest code": bool((wide & (codes == 2047)).any()),
        "z 0 and 112": bool((z == 0).any() and (z == 112).any()),
        "u -2048, 0 and 2047": all(bool((u == v).any()) for v in (-2048, 0, 2047)),
    }


def _datapath(seen: Observed) -> Hits:
    (i,) = seen.fields("i_conv")
    hits = {f"operand mode {m}": bool((i["mode"] == m).any()) for m in range(4)}
    hits |= {f"conv: first {f}, last {last}":
             bool(((i["first"] == f) & (i["last"] == last)).any())
             for f in (0, 1) for last in (0, 1)}  # fmt: skip
    hits |= {f"conv: narrow {n}": bool((i["narrow"] == n).any()) for n in (0, 1)}
    for name in ("conv", "activation", "edge"):
        (fields,) = seen.fields(f"i_{name}")
        start = fields["tile_start"] if name == "conv" else fields["start"]
        tile = np.flatnonzero(start)
        bank, step = fields["bank"][tile], fields["step"][tile]
        crossing = np.flatnonzero(np.diff(step) != 0) + 1
        hits |= {
            f"{name}: bank swap between two tiles": bool((np.diff(bank) != 0).any()),
            f"{name}: another step between two tiles": len(crossing) > 0,
            f"{name}: step and bank change at once": bool(
                ((np.diff(step) != 0) & (np.diff(bank) != 0)).any()
            ),
        }
        if name != "conv":
            at = seen.moves(f"i_{name}")[tile[crossing]]
            gone = seen.moved_before(f"o_{name}")[at]
            inside = tile[crossing] - gone
            hits |= {f"{name}: another step with {n} beats of the tile before inside":
                     bool((inside == n).any()) for n in range(PHASES)}  # fmt: skip
    hits |= _groups(seen, "o_conv")
    values, codes = seen.fields("o_conv")[0]["values"], seen.fields("o_edge")[0]["codes"]
    for name, found in (("conv", values), ("edge", codes)):
        hits[f"{name}: results of both signs"] = bool((found < 0).any() and (found > 0).any())
        counter = seen.case.trace.plain_out[f"{name}_saturations"]
        hits[f"{name}: saturations are counted"] = bool((np.diff(counter) > 0).any())
    return hits


def _limits(total: Int64, top: int, what: str = "") -> Hits:
    """Sums on either side of both limits of ``-top .. top - 1``."""
    return {
        f"{what}saturates above": bool((total > top).any()),
        f"{what}saturates below": bool((total < -top - 1).any()),
        f"{what}largest value without saturation": bool((total == top - 1).any()),
        f"{what}least value without saturation": bool((total == -top).any()),
        f"{what}one above the largest": bool((total == top).any()),
        f"{what}one below the least": bool((total == -top - 1).any()),
    }


def _ties(product: Int64, shift: Int64, what: str = "") -> Hits:
    """A half left over, of either sign, on either side of an even result."""
    rounded, tie = _rounding(product, shift)
    return {
        f"{what}tie, {sign} sum, result {parity}": bool(
            (tie & (positive == (product > 0)) & (rounded % 2 == odd)).any()
        )
        for sign, positive in (("positive", True), ("negative", False))
        for parity, odd in (("even", 0), ("odd", 1))
    }


def _residual(seen: Observed) -> Hits:
    (i,) = seen.fields("i")
    a, b = i["a"], i["b"]
    over = abs(2 * (a + b) + 1) > (1 << 16)
    hits = _limits(a + b, 1 << 15)
    for name, sign in (("positive", 1), ("negative", -1)):
        hits[f"both {name}"] = bool(((a * sign > 0) & (b * sign > 0)).any())
    return hits | {
        "of unlike sign": bool((a * b < 0).any()),
        "sum 0 of others than 0": bool(((a + b == 0) & (a != 0)).any()),
        "limits of both inputs": all(
            bool((x == v).any()) for x in (a, b) for v in (-(1 << 15), (1 << 15) - 1)
        ),
        "several lanes saturate in one beat": bool((over.sum(axis=1) > 1).any()),
    }


def _sampler(seen: Observed) -> Hits:
    (i,), (rows,) = seen.fields("i"), seen.fields("i_row")
    held = seen.moved_before("i_row")[seen.moves("i")] - 1  # the row that each beat meets
    names = ("p", "q", "a", "b", "d", "c", "reach")
    p, q, a, b, d, c, reach = (rows[name][held][:, None] for name in names)
    x, eps, noise = i["x"], i["eps"], i["noise"]
    image = np.broadcast_to((i["image"] == 1)[:, None], x.shape)
    shift = np.full(x.shape, COEFFICIENT_FRACTION)
    first = p * x + q * eps
    inside, _ = _rounding(first, shift)
    x0 = np.clip(inside, -reach, reach)
    second = a * x0 + b * x + d * eps + c * noise
    moved = ~image
    hits = _ties(first[moved], shift[moved], "x0: ")
    hits |= _ties(second[moved], shift[moved], "x: ")
    hits |= _limits(_rounding(second, shift)[0][moved], 1 << 15, "x: ")
    bound = np.broadcast_to(reach, x.shape)
    hits |= {
        f"x0: {name} reach": bool((moved & found).any())
        for name, found in (
            ("above", inside > bound),
            ("at the upper", inside == bound),
            ("at the lower", inside == -bound),
            ("below the lower", inside < -bound),
        )
    }
    scaled = (x + (1 << 12)) * 255
    byte, tie = _rounding(scaled, np.full(x.shape, 13))
    hits |= {
        f"byte: {name}": bool((image & found).any())
        for name, found in (
            ("cut at 0", byte < 0),
            ("0", byte == 0),
            ("255", byte == 255),
            ("cut at 255", byte > 255),
            ("tie", tie),
        )
    }
    lengths = np.bincount(held, minlength=len(rows["p"]))[: held.max(initial=0)]
    hits |= {
        f"{name} {value}": bool((rows[name] == value).any())
        for name in names[:-1]
        for value in (-(1 << 31), (1 << 31) - 1, 0)
    }
    hits |= {f"reach {value}": bool((rows["reach"] == value).any()) for value in (0, (1 << 15) - 1)}
    return hits | {
        "a row without beats": bool((lengths == 0).any()),
        "a row of one beat": bool((lengths == 1).any()),
        "a byte beside a step": bool((np.diff(i["image"]) != 0).any()),
    }


def _softmax(seen: Observed) -> Hits:
    (i,), (o,), (scales,) = seen.fields("i"), seen.fields("o"), seen.fields("o_scale")
    second = i["second"] == 1
    lanes = i["logits"].shape[1]
    counts = np.arange(lanes) < i["keys"][:, None]
    keys_max = int(seen.case.parameters.get("keys_max", 4096))
    ahead = int(seen.case.parameters.get("ahead", 4))
    rows = np.split(np.flatnonzero(second), np.flatnonzero(i["last"][second] == 1) + 1)[:-1]
    logits = [i["logits"][row][counts[row]] for row in rows]
    distance = np.concatenate([row.max() - row for row in logits] or [np.zeros(0, np.int64)])
    totals = np.array([numerators(row).sum() for row in logits])
    lengths = np.array([len(row) for row in logits])
    firsts = np.cumsum(~second & (i["last"] == 1)) - np.cumsum(second & (i["last"] == 1))
    multiplier = seen.case.trace.plain_in["multiplier"]
    hits = {
        f"distance of {n} octaves": bool((np.minimum(distance, 511) >> 5 == n).any())
        for n in range(16)
    }
    hits |= {
        f"S {value}": bool((totals == value).any()) for value in (127, 128, 129, 255, 256, 257)
    }
    hits |= {f"{n} rows ahead": bool((firsts == n).any()) for n in range(1, ahead + 1)}
    return hits | {
        "distance above 511": bool((distance > 511).any()),
        "largest S": bool((totals == 127 * keys_max).any()),
        "e 0 and 127": bool((o["e"] == 0).any() and (o["e"] == 127).any()),
        "a row of one key": bool((lengths == 1).any()),
        "a row of as many keys as lanes": bool((lengths == lanes).any()),
        "a row of one key more than lanes": bool((lengths == lanes + 1).any()),
        "a row of the most keys": bool((lengths == keys_max).any()),
        "logits at both limits in a row": any(np.ptp(row) == (1 << 16) - 1 for row in logits),
        "equal logits": any(len(row) > 1 and np.ptp(row) == 0 for row in logits),
        "multiplier 0 and the largest": bool((multiplier == 0).any())
        or bool((multiplier == 65535).any()),
        "P 0": bool((scales["P"] == 0).any()),
        "P of 16 bits": bool((scales["P"] >= 1 << 15).any()),
        "a word and a scale leave in one cycle": bool(
            np.isin(seen.moves("o"), seen.moves("o_scale")).any()
        ),
    }


def _group_norm(seen: Observed) -> Hits:
    (i,), (given,) = seen.fields("i"), seen.fields("i_constants")
    lanes = i["x"].shape[1]
    ends, place = [], 0  # of the constants' chunks
    for number, last in enumerate(given["last"].tolist()):
        place += 1
        if last or place == lanes:
            ends.append(number + 1)
            place = 0
    starts = [0, *ends]
    chunk = np.cumsum(i["last"]) - i["last"]
    names = ("slope", "offset", "beta", "shift")
    sizes = np.diff(starts)
    tables = {name: np.zeros((len(ends), lanes), np.int64) for name in names}
    for number, (start, size) in enumerate(zip(starts, sizes, strict=False)):
        for name in names:
            tables[name][number, :size] = given[name][start : start + size]
    whole = chunk < len(ends)
    slope, offset, beta, shift = (tables[name][chunk[whole]] for name in names)
    total = i["x"][whole] * slope + offset + (beta << np.maximum(shift - 4, 0))
    counts = np.arange(lanes) < sizes[chunk[whole]][:, None]
    total, shift = total[counts], shift[counts]
    rounded, _ = _rounding(total, shift)
    words = np.bincount(chunk)
    hits = {f"shift {n}": bool((shift == n).any()) for n in range(51)}
    hits |= _ties(total, shift) | _limits(rounded, 1 << 11)
    hits |= {f"slope {v}": bool((given["slope"] == v).any()) for v in (-(1 << 15), 0, 1 << 15)}
    hits |= {f"beta {v}": bool((given["beta"] == v).any()) for v in (-(1 << 15), 0, (1 << 15) - 1)}
    full, flagged = sizes == lanes, given["last"][[end - 1 for end in ends]] == 1
    return hits | {
        "offset of both signs": bool((given["offset"] < 0).any() and (given["offset"] > 0).any()),
        "a chunk of one channel": bool((sizes == 1).any()),
        "all lanes, the last channel flagged": bool((full & flagged).any()),
        "all lanes, no channel flagged": bool((full & ~flagged).any()),
        "a chunk of one word": bool((words == 1).any()),
        "a chunk of more words than registers": bool((words > LATENCY).any()),
        "constants come while words of the chunk before move": bool(
            np.isin(seen.moves("i_constants"), seen.moves("i")).any()
        ),
    }


_OWN: dict[str, Callable[[Observed], Hits]] = {
    "operand": _operand,
    "mac_array": _mac_array,
    "accumulator": _accumulator,
    "scale_file": _scale_file,
    "requantizer": _requantizer,
    "silu_quantizer": _silu_quantizer,
    "group_norm": _group_norm,
    "residual": _residual,
    "sampler": _sampler,
    "softmax": _softmax,
    "datapath": _datapath,
}
BLOCKS = tuple(_OWN)
"""Blocks that have bins."""


def hits_of(case: Case) -> Hits:
    """Every bin of the case's block, and whether the case hits it. ``KeyError``: no such block."""
    seen = Observed(case)
    return _OWN[case.block](seen) | stream_bins(seen)


def functional(cases: Sequence[Case]) -> Hits:
    """Bins of one block, and whether any of its ``cases`` hits them."""
    hits: Hits = {}
    for case in cases:
        for name, hit in hits_of(case).items():
            hits[name] = hits.get(name, False) or hit
    return hits
