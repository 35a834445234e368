"""The list of all proofs."""

from collections.abc import Sequence
from functools import partial

from cosim.formal.blocks import (
    accumulator,
    axi,
    buffers,
    datapath,
    group_norm,
    mac_array,
    operand,
    requantizer,
    reset,
    residual,
    sampler,
    scale_file,
    silu_quantizer,
)
from cosim.formal.proof import Proof
from golden.errors import UserError

__all__ = ["PROOFS", "select"]

PROOFS: tuple[Proof, ...] = (
    Proof(
        "operand",
        "stream",
        "every beat leaves once, in order, decoded by the formula for every code, z, k, mode, pad",
        operand.stream,
        bmc=4,
        cover=8,
    ),
    Proof(
        "operand",
        "passes",
        "hi and lo pass of a 12-bit lane add up to it",
        operand.passes,
        bmc=4,
        induction=2,
        cover=5,
    ),
    Proof(
        "mac_array",
        "sums",
        "4 x 2, edge: every beat leaves once, in order, with its tile's weights; no other waits",
        partial(mac_array.sums, rows=4),
        bmc=4,
        cover=14,
    ),
    Proof(
        "mac_array",
        "sums_by_product_shift",
        "the same for 2 x 1, product_shift",
        partial(mac_array.sums, cols=1, decode="product_shift"),
        bmc=4,
        cover=14,
    ),
    Proof(
        "accumulator",
        "tiles",
        "4 pixels, 32 bits: each finished tile leaves once, in order, with its sums; waits bounded",
        accumulator.tiles,
        bmc=4,
    ),
    Proof(
        "requantizer",
        "stream",
        "every beat leaves once, in order; stable; at most 7 cycles without one",
        requantizer.stream,
        bmc=4,
        cover=14,
    ),
    Proof(
        "requantizer",
        "counter",
        "saturations are counted once each, and the counter stays at its largest value",
        requantizer.counter,
        bmc=4,
        cover=14,
    ),
    Proof(
        "requantizer",
        "products",
        "the multipliers multiply the operands of one beat (32 x 16 bits in two products)",
        requantizer.products,
        bmc=4,
        cover=14,
    ),
    Proof(
        "requantizer",
        "sum_of_products",
        "the two products add up to acc * M, within their bounds",
        lemma=requantizer.sum_of_products,
    ),
    Proof(
        "requantizer",
        "value",
        "any products: sat_w(rsh(P, n) + b) and its clip, int32 to 16 and 8 bits, n 0..47",
        requantizer.value,
        cover=14,
    ),
    Proof(
        "requantizer",
        "value_of_edge",
        "the same for 16 to 12 and 8 bits without bias, one product",
        partial(requantizer.value, acc_width=16, out_width=12, bias_width=0),
        cover=14,
    ),
    Proof(
        "silu_quantizer",
        "stream",
        "every beat leaves once, in order; stable; at most 10 cycles without one",
        silu_quantizer.stream,
        bmc=4,
        cover=17,
    ),
    Proof(
        "silu_quantizer",
        "curve",
        "v of every u (int12) by the table of 32 pieces, and v * M0 of the same beat",
        silu_quantizer.curve,
        cover=17,
    ),
    Proof(
        "silu_quantizer",
        "curve_of_16",
        "the same by the table of 16 pieces",
        partial(silu_quantizer.curve, 16),
        cover=17,
    ),
    Proof(
        "silu_quantizer",
        "value",
        "any product: region code and 12-bit code, n0 0..31, z 0..112, k 1..4",
        silu_quantizer.value,
        cover=17,
    ),
    Proof(
        "silu_quantizer",
        "error",
        "a region code decoded by operand is within half a step, or at the end of its reach",
        silu_quantizer.error,
        cover=17,
    ),
    Proof(
        "scale_file",
        "constants",
        "constants and rows are those of the tile's bank, step and group, under any writes",
        scale_file.constants,
        cover=18,
    ),
    Proof(
        "scale_file",
        "lookup",
        "every beat leaves once, in order; it waits for its bank only",
        buffers.lookup,
        bmc=4,
        cover=12,
    ),
    Proof(
        "skid_buffer",
        "stream",
        "every beat leaves once, in order, a cycle after it came",
        buffers.skid_buffer,
        bmc=4,
        cover=12,
    ),
    Proof(
        "residual",
        "stream",
        "every beat leaves once, in order, as sat16(a + b)",
        residual.stream,
        bmc=4,
        cover=8,
    ),
    Proof(
        "sampler",
        "stream",
        "every beat leaves once, in order, with the row that came last before it",
        sampler.stream,
        bmc=4,
        cover=17,
    ),
    Proof(
        "group_norm",
        "stream",
        "every word leaves once, in order; a chunk begins with a set of its own",
        group_norm.stream,
        bmc=4,
        cover=20,
    ),
    *(
        Proof(
            block,
            "reset",
            "two copies in any states agree after a cycle of reset, for ever",
            partial(reset.agree, block),
            cover=45 if block == "softmax" else 17,
        )
        for block in reset.SIZES
        if block != "datapath"
    ),
    Proof(
        "datapath",
        "reset",
        "1 x 1: two copies in any states agree after a cycle of reset, for 10 cycles",
        partial(reset.agree, "datapath"),
        bmc=10,
        induction=0,
        cover=8,
    ),
    Proof(
        "datapath",
        "edge",
        "1 x 1, edge path from port to port: every beat leaves once, in order",
        datapath.edge,
        cover=10,
    ),
    Proof(
        "datapath",
        "activation",
        "1 x 1, activation path to the SiLU quantizer: every beat arrives once, in order",
        datapath.activation,
        cover=10,
    ),
    Proof(
        "datapath",
        "front",
        "1 x 1, conv path to the accumulator: every beat arrives once, in order, with its pixel",
        datapath.front,
        cover=10,
    ),
    Proof(
        "datapath",
        "back",
        "1 x 1, conv path from the accumulator: every pixel leaves once, in order",
        datapath.back,
        cover=24,
    ),
    Proof(
        "axi_reader",
        "bus",
        "AXI4: requests stay until taken, lie inside 4 KB, at most 16 beats; data always taken",
        axi.reader,
        cover=20,
    ),
    Proof(
        "axi_writer",
        "bus",
        "the same of writes; each burst has its request, its beats, and last on the last one",
        axi.writer,
        cover=30,
    ),
    Proof(
        "registers",
        "bus",
        "AXI4-Lite: one response for each access, the cycle after, stable until taken",
        axi.registers,
        cover=12,
    ),
)


def select(blocks: Sequence[str], names: Sequence[str]) -> list[Proof]:
    """Return the proofs of ``blocks`` and those called ``names`` (block.name); all if none."""
    known = {proof.block for proof in PROOFS}
    titles = {proof.title for proof in PROOFS}
    for wanted, all_of, what in ((blocks, known, "--block"), (names, titles, "--proof")):
        for name in wanted:
            if name not in all_of:
                raise UserError(f"{what} must be one of {', '.join(sorted(all_of))}, got {name!r}")
    if not blocks and not names:
        return list(PROOFS)
    return [proof for proof in PROOFS if proof.block in blocks or proof.title in names]
