"""A block of 40 lines that the tests of the bench run on: two lanes, two stages, a counter."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from golden.cycles import STALL_PATTERNS, Case, PipelineModel, simulate, stall_pattern, truncate

FOLDER = Path(__file__).parent
PARAMETERS = {"lanes": 2}


class ToyModel(PipelineModel):
    """Two registers and the count of taken beats."""

    plain_outputs: Sequence[str] = ("count",)

    def __init__(self):
        super().__init__(latency=2)
        self.count = 0

    def reset(self):
        super().reset()
        self.count = 0

    def evaluate(self, valid, ready, plain):
        i_ready, _ = super().evaluate(valid, ready, plain)
        return i_ready, {"count": self.count}

    def clock(self, accepted, ready, plain):
        super().clock(accepted, ready, plain)
        self.count = (self.count + (accepted["i"] >= 0)) % 256
        if plain["clear"]:
            self.count = 0


def cases(seed, parameters=None, beats=200):
    """One case for each stall pattern on both sides, then one that a reset cuts off."""
    generator = np.random.default_rng(seed)
    result = []
    for number, pattern in enumerate(STALL_PATTERNS):
        a = generator.integers(-128, 128, size=(beats, 2))
        b = generator.integers(-128, 128, size=beats)
        trace = simulate(
            ToyModel(),
            sent={"i": beats},
            delivered={"o": beats},
            stalls={
                "i": stall_pattern(pattern, seed + number),
                "o": stall_pattern(STALL_PATTERNS[-1 - number], seed + 100 + number),
            },
            plain_in={"clear": generator.integers(0, 50, size=400) == 0},
        )
        payloads = {"i": {"a": a, "b": b}, "o": {"sum": a + b[:, None]}}
        groups = np.arange(beats) * 8 // beats
        result.append(
            Case(pattern, "toy", PARAMETERS, payloads, trace, seed, groups, {"layer": "conv_in"})
        )
    cut = result[1]
    result.insert(
        2,
        Case("reset", "toy", PARAMETERS, cut.payloads, truncate(cut.trace, 57), seed, cut.groups),
    )
    return result


def copy(folder, old="", new=""):
    """Copy the Verilog, with one text replaced, into ``folder``."""
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("__*"))
    path = folder / "toy.v"
    text = path.read_text()
    assert not old or text.count(old) == 1, old
    path.write_text(text.replace(old, new) if old else text)
    return folder
