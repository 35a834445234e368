"""One proof: its claim, how it is run, and what came of it."""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cosim.formal.engine import Answer, ask, prepare
from cosim.formal.harness import Harness

__all__ = ["Proof", "Result", "run"]

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
