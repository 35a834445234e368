"""Proves that emitted Verilog equals the RTLIL that Amaranth wrote for the same component.

Both are flattened and compared register by register (``equiv_make``, ``equiv_induct``); the wires
of the RTLIL are renamed first as the Verilog names them, so that registers find each other.
"""

import re
import tempfile
from pathlib import Path

from cosim.yosys import run_yosys
from hdl.emit import EmittedDesign

__all__ = ["prove", "renamed_rtlil"]

_NAME = re.compile(r"(?<!\S)[\\$]\S+")
_PREPARE = (
    "proc; flatten; delete */t:$check; opt_clean; memory -nordff -nomap; memory_nordff; memory_map;"
    " opt_clean; wreduce; setattr -unset init w:*; opt_clean"
)


def prove(design: EmittedDesign) -> int:
    """Return how many registers and outputs were proven equal; ``RuntimeError`` if one is not."""
    top = design.manifest["top"]
    with tempfile.TemporaryDirectory(prefix="stepscale-proof-") as name:
        folder = Path(name)
        (folder / "gold.il").write_text(renamed_rtlil(design))
        for file, text in design.files.items():
            (folder / file).write_text(text)
        log = run_yosys(
            "\n".join(
                [
                    f"read_rtlil gold.il; hierarchy -top {top}; {_PREPARE}; rename {top} gold",
                    "design -stash gold",
                    f"read_verilog {' '.join(design.files)}",
                    f"hierarchy -check -top {top}; {_PREPARE}; rename {top} gate",
                    "design -stash gate",
                    "design -copy-from gold -as gold gold",
                    "design -copy-from gate -as gate gate",
                    "equiv_make gold gate equiv; hierarchy -top equiv; opt_clean",
                    "equiv_simple; equiv_induct -seq 4",
                    "tee -a yosys.log equiv_status -assert",
                ]
            ),
            folder,
        )
    found = re.search(r"Found a total of (\d+) unproven|Of those cells (\d+) are proven", log)
    proven = re.findall(r"Of those cells (\d+) are proven", log)
    if not found or not proven:
        raise RuntimeError("yosys compared nothing")
    return int(proven[-1])


def renamed_rtlil(design: EmittedDesign) -> str:
    """Return the RTLIL with wires named as in the Verilog; those it lacks get a prefix."""
    origin = design.origin
    lines: list[str] = []
    wires: dict[str, str] = {}
    where = "module"
    pins: dict[str, str] = {}

    def rename(match: re.Match[str]) -> str:
        name = match[0]
        return "\\" + wires[name] if name in wires else f"\\unmatched.{name[1:]}"

    for source in origin.rtlil.splitlines():
        line = source
        words = line.split()
        word = words[0] if words else ""
        if word == "module":
            wires = origin.wires[origin.modules[words[1]]]
        elif word in ("cell", "process", "memory"):
            where = "cell" if word == "cell" else "process" if word == "process" else where
            pins = {}
            if word == "cell" and words[1].startswith("\\"):
                pins = origin.wires[origin.modules[words[1]]]
                instance = wires[f"instance {words[2]}"]
                line = f"  cell {words[1]} \\{instance}"
            if word == "memory":
                line = line.replace(words[-1], "\\" + wires.get(words[-1], words[-1][1:]))
        elif word == "wire":
            head, name = line.rsplit(" ", 1)
            line = f"{head} {_NAME.sub(rename, name)}"
        elif word == "connect" and where == "cell":
            _, port, signal = line.split(maxsplit=2)
            if pins:
                port = "\\" + pins[port] if port in pins else f"\\unmatched.{port[1:]}"
            line = f"    connect {port} {_NAME.sub(rename, signal)}"
        elif word in ("connect", "assign", "switch"):
            line = _NAME.sub(rename, line)
        elif word == "end" and line.startswith("  end") and not line.startswith("   "):
            where = "module"
        lines.append(line)
    return "\n".join(lines) + "\n"
