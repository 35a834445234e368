"""Cells of generated Verilog for other targets than the ECP5: UltraScale+, gates, any Liberty file.

No place and route, so no clock: ``ultrascale+`` counts what yosys' ``synth_xilinx -family xcup``
maps to, ``gates`` two-input gates of ``synth`` with its estimate of transistors, ``liberty`` cells
and area of a library that the user has.
"""

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosim.yosys import run_yosys
from golden.errors import UserError
from hdl.emit import EmittedDesign

__all__ = ["TARGETS", "Mapped", "macs_of", "map_to"]

TARGETS = ("ecp5", "ultrascale+", "gates", "liberty")
_SQUARE = ("array_unit", "accelerator")


@dataclass(frozen=True)
class Mapped:
    """``figures``: what the target's users count; ``cells``: all cells by type."""

    name: str
    target: str
    parameters: Mapping[str, Any]
    figures: Mapping[str, float]
    cells: Mapping[str, int]

    def record(self) -> dict[str, Any]:
        """Return the figures under the names that other programs rely on."""
        return {
            "name": self.name,
            "target": self.target,
            "parameters": dict(self.parameters),
            **self.figures,
            "cells_by_type": dict(self.cells),
        }


def macs_of(block: str, parameters: Mapping[str, Any]) -> int:
    """Multipliers of the block's array; 0 for a block without one."""
    if block in _SQUARE:
        return int(parameters["size"]) ** 2
    return int(parameters.get("rows", 0)) * int(parameters.get("cols", 0))


def map_to(design: EmittedDesign, target: str, liberty: Path | None = None) -> Mapped:
    """Map ``design`` to a target that is not ``ecp5``.

    ``liberty``: the library, for that target. ``UserError`` for one that cannot be read;
    ``RuntimeError`` with the last lines of a tool that fails.
    """
    top = design.manifest["top"]
    with tempfile.TemporaryDirectory(prefix="stepscale-synth-") as name:
        folder = Path(name)
        for file, text in design.files.items():
            (folder / file).write_text(text)
        if target == "liberty":
            if liberty is None or not liberty.is_file():
                raise UserError(f"--liberty {liberty}: must be a Liberty file (.lib)")
            shutil.copyfile(liberty, folder / "cells.lib")
        commands = [f"read_verilog {' '.join(design.files)}", *_COMMANDS[target]]
        run_yosys("\n".join(commands).format(top=top), folder)
        stat = json.loads((folder / "stat.json").read_text())["design"]
    cells = Counter({k: v for k, v in stat["num_cells_by_type"].items() if k != "$scopeinfo"})
    figures = _FIGURES[target](cells, stat)
    macs = macs_of(top, design.manifest["parameters"])
    if macs:
        figures["per_mac"] = round(figures[_AREA[target]] / macs, 2)
    return Mapped(top, target, design.manifest["parameters"], figures, dict(sorted(cells.items())))


_COMMANDS = {
    "ultrascale+": [
        "synth_xilinx -family xcup -flatten -noiopad -noclkbuf -top {top}",
        "tee -q -o stat.json stat -json",
    ],
    "gates": ["synth -flatten -top {top}", "tee -q -o stat.json stat -json -tech cmos"],
    "liberty": [
        "synth -flatten -top {top}",
        "dfflibmap -liberty cells.lib",
        "abc -liberty cells.lib",
        "opt_clean -purge",
        "tee -q -o stat.json stat -json -liberty cells.lib",
    ],
}
_AREA = {"ultrascale+": "lut", "gates": "gates", "liberty": "area"}


def _starts(cells: Counter[str], *starts: str) -> int:
    return sum(count for kind, count in cells.items() if kind.startswith(starts))


def _ultrascale(cells: Counter[str], stat: Mapping[str, Any]) -> dict[str, float]:
    return {
        "lut": _starts(cells, "LUT", "SRL", "RAM32", "RAM64", "RAM128", "RAM256", "INV"),
        "carry": _starts(cells, "CARRY"),
        "ff": _starts(cells, "FD"),
        "dsp": _starts(cells, "DSP48"),
        "bram36": _starts(cells, "RAMB36") + _starts(cells, "RAMB18") / 2,
    }


def _gates(cells: Counter[str], stat: Mapping[str, Any]) -> dict[str, float]:
    registers = sum(count for kind, count in cells.items() if "DFF" in kind)
    return {
        "gates": sum(cells.values()) - registers,
        "ff": registers,
        # a plus sign says that yosys has no estimate for registers
        "transistors_without_ff": int(stat["estimated_num_transistors"].rstrip("+")),
    }


def _liberty(cells: Counter[str], stat: Mapping[str, Any]) -> dict[str, float]:
    return {"cells": sum(cells.values()), "area": round(float(stat["area"]), 2)}


_FIGURES = {"ultrascale+": _ultrascale, "gates": _gates, "liberty": _liberty}
