"""Compares figures of ``stepscale synth`` with those of an earlier run, and says what moved."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from golden.errors import UserError

__all__ = ["Move", "load_baseline", "moves"]

_NOT_FIGURES = ("seeds", "mhz", "mhz_min", "mhz_most")
_MORE_IS_BETTER = ("mhz_median",)


@dataclass(frozen=True)
class Move:
    """A figure that changed. ``worse``: by what share, 0 if it is better."""

    block: str
    figure: str
    before: float
    after: float

    @property
    def worse(self) -> float:
        """Share of the value before; infinite where that was 0."""
        change = self.after - self.before
        if self.figure in _MORE_IS_BETTER:
            change = -change
        if change <= 0:
            return 0.0
        return change / abs(self.before) if self.before else float("inf")

    def __str__(self) -> str:
        ratio = f", {self.after / self.before:.3f} of it" if self.before else ""
        return f"{self.block}: {self.figure} {self.before:g} -> {self.after:g}{ratio}"


def load_baseline(path: Path) -> list[dict[str, Any]]:
    """Return the blocks of a file that ``stepscale synth --json`` wrote."""
    try:
        blocks = json.loads(path.read_text())["blocks"]
        if not all(isinstance(block["parameters"], dict) for block in blocks):
            raise TypeError("parameters")
    except OSError as error:
        raise UserError(f"--baseline {path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"--baseline {path}: is not a report of stepscale synth") from error
    return list(blocks)


def moves(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> list[Move]:
    """What moved in blocks that both have; ``UserError`` for a block that cannot be compared."""
    found = []
    for new in after:
        named = [old for old in before if old["name"] == new["name"]]
        old = next((old for old in named if _same(old, new)), None)
        if old is None:
            what = "other parameters or another target" if named else "no such block"
            raise UserError(f"--baseline: {what} for {new['name']}; make it again with --json")
        for figure, value in new.items():
            if figure in _NOT_FIGURES or not _number(value) or not _number(old.get(figure)):
                continue
            if value != old[figure]:
                found.append(Move(new["name"], figure, old[figure], value))
    return found


def _same(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    target = "ecp5"
    same_target = old.get("target", target) == new.get("target", target)
    same_seeds = old.get("seeds") == new.get("seeds")
    return old["parameters"] == new["parameters"] and same_target and same_seeds


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
