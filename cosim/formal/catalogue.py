"""The proofs, and how each is run."""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from cosim.formal import (
    accumulator,
    buffers,
    datapath,
    mac_array,
    operand,
    requantizer,
    reset,
    scale_file,
    silu_quantizer,
)
from cosim.formal.engine import Answer, ask, prepare
from cosim.formal.harness import Harness
from golden.errors import UserError

__all__ = ["PROOFS", "Proof", "Result", "run", "select"]

SECONDS = 600.0  # for one question
SEARCH_SECONDS = 60.0  # for a trace from reset where an induction step has failed

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Proof:
    """``claim`` about ``block`` at the sizes that ``make`` chooses.

    ``bmc``, ``induction``, ``cover``: depth of each question in cycles; induction 0: the claim is
    shown for ``bmc`` cycles from reset only. ``lemma``: a claim about integers instead, which
    returns what fails.
    """

    block: str
    name: str
    claim: str
    make: Callable[[], Harness] | None = None
    bmc: int = 2
    induction: int = 1
    cover: int = 16
    lemma: Callable[[], str] | None = None

    @property
    def title(self) -> str:
        """``block.name``."""
        return f"{self.block}.{self.name}"


@dataclass(frozen=True)
class Result:
    """What came of a proof. ``verdict``: ``proven``, ``bounded``, ``failed`` or ``unknown``."""

    proof: Proof
    verdict: str
    seconds: float
    answers: Sequence[Answer] = field(default=())
    properties: int = 0

    @property
    def holds(self) -> bool:
        """Whether the claim was shown."""
        return self.verdict in ("proven", "bounded")

    @property
    def engine(self) -> str:
        """How it was shown, or tried."""
        if self.proof.lemma is not None:
            return "integers"
        if self.proof.induction:
            return f"induction {self.proof.induction}"
        return f"{self.proof.bmc} cycles"

    @property
    def detail(self) -> str:
        """The first thing that went wrong."""
        wrong = [answer for answer in self.answers if answer.verdict != "holds"]
        if not wrong:
            return ""
        text = f"{wrong[0].question}: {wrong[0].detail or 'out of time'}"
        traces = [answer for answer in wrong if answer.trace is not None]
        return f"{text} ({traces[-1].question}: {traces[-1].trace})" if traces else text

    def record(self) -> dict[str, Any]:
        """Return the figures under the names that other programs rely on."""
        return {
            "proof": self.proof.title,
            "claim": self.proof.claim,
            "verdict": self.verdict,
            "engine": self.engine,
            "bmc": self.proof.bmc,
            "induction": self.proof.induction,
            "properties": self.properties,
            "seconds": round(self.seconds, 1),
            "detail": self.detail,
        }


PROOFS: tuple[Proof, ...] = (
    Proof(
        "operand",
        "stream",
        "every beat leaves once, in order, decoded by the formula for every code, z, k, mode, pad",
        operand.stream,
        bmc=6,
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
        bmc=8,
        cover=14,
    ),
    Proof(
        "mac_array",
        "sums_by_product_shift",
        "the same for 2 x 1, product_shift",
        partial(mac_array.sums, cols=1, decode="product_shift"),
        bmc=8,
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
        bmc=12,
        cover=14,
    ),
    Proof(
        "requantizer",
        "counter",
        "saturations are counted once each, and the counter stays at its largest value",
        requantizer.counter,
        bmc=12,
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
        bmc=15,
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
        bmc=8,
        cover=12,
    ),
    Proof(
        "skid_buffer",
        "stream",
        "every beat leaves once, in order, a cycle after it came",
        buffers.skid_buffer,
        bmc=8,
        cover=12,
    ),
    *(
        Proof(
            block,
            "reset",
            "two copies in any states agree after a cycle of reset, for ever",
            partial(reset.agree, block),
            cover=17,
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
    *(
        Proof(
            "datapath",
            path,
            f"1 x 1, {path} path from port to port: every beat leaves once, in order",
            partial(datapath.vector, path),
            cover=10,
        )
        for path in ("edge", "activation")
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


def run(proof: Proof, progress: Progress = lambda what, done, total: None) -> Result:
    """Run all questions of ``proof``; the later ones not at all after one that fails."""
    began = time.perf_counter()
    if proof.lemma is not None:
        progress(proof.title, 0, 1)
        wrong = proof.lemma()
        seconds = time.perf_counter() - began
        answer = Answer("integers", 0, "fails" if wrong else "holds", seconds, wrong)
        return Result(proof, "failed" if wrong else "proven", seconds, [answer], 1)
    assert proof.make is not None
    harness = proof.make()
    questions = [("bmc", proof.bmc), ("induction", proof.induction), ("cover", proof.cover)]
    questions = [(question, depth) for question, depth in questions if depth]
    answers: list[Answer] = []
    with tempfile.TemporaryDirectory(prefix="stepscale-formal-") as name:
        folder = Path(name)
        progress(f"{proof.title}: prepare", 0, len(questions) + 1)
        prepare(harness, folder, harness.cuts)
        for index, (question, depth) in enumerate(questions):
            progress(f"{proof.title}: {question}", 1 + index, len(questions) + 1)
            answers.append(ask(question, depth, folder, proof.title, seconds=SECONDS))
            if answers[-1].verdict != "holds":
                break
        if answers[-1].verdict == "fails" and answers[-1].question == "induction":
            progress(f"{proof.title}: search", 1, 2)
            found = ask("bmc", proof.cover, folder, proof.title, seconds=SEARCH_SECONDS)
            answers += [found] if found.verdict == "fails" else []
    seconds = time.perf_counter() - began
    verdicts = {answer.verdict for answer in answers}
    verdict = "proven" if proof.induction else "bounded"
    verdict = "failed" if "fails" in verdicts else "unknown" if "time" in verdicts else verdict
    return Result(proof, verdict, seconds, answers, len(harness.names["assert"]))
