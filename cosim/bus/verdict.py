"""Task and verdict of a bench; light, because the simulator's process imports it."""

import json
import os
import pickle
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["BusVerdict", "finish", "task"]


@dataclass(frozen=True)
class BusVerdict:
    """``compared``: beats or accesses; ``mismatches``: one line each; ``cycles`` simulated."""

    compared: int
    cycles: int
    mismatches: Sequence[str]


def task() -> dict[str, Any]:
    """Inside the simulator: the task."""
    found: dict[str, Any] = pickle.loads(
        (Path(os.environ["STEPSCALE_RUN"]) / "task.pickle").read_bytes()
    )
    return found


def finish(verdict: BusVerdict) -> None:
    """Inside the simulator: leave the verdict."""
    folder = Path(os.environ["STEPSCALE_RUN"])
    part = folder / "verdict.json.part"
    part.write_text(json.dumps(asdict(verdict)))
    part.rename(folder / "verdict.json")
