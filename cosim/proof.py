"""Proves that emitted Verilog equals the RTLIL that Amaranth wrote for the same component.

Both are flattened and compared register by register (``equiv_make``, ``equiv_induct``); the wires
of the RTLIL are renamed first as the Verilog names them, so that registers find each other. Initial
values of registers and memories are compared as text.
"""

import json
import re
import tempfile
from pathlib import Path

from cosim.yosys import run_yosys
from hdl.emit import EmittedDesign

__all__ = ["prove", "renamed_rtlil"]

_NAME = re.compile(r"(?<!\S)[\\$]\S+")
_FLATTEN = "proc; flatten; delete */t:$check; opt_clean; memory -nordff -nomap"
_MAP = "memory_nordff; memory_map; opt_clean; wreduce; setattr -unset init w:*; opt_clean"


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
                    f"read_rtlil gold.il; hierarchy -top {top}; {_FLATTEN}",
                    f"write_json gold.json; {_MAP}; rename {top} gold",
                    "design -stash gold",
                    f"read_verilog {' '.join(design.files)}",
                    f"hierarchy -check -top {top}; {_FLATTEN}",
                    f"write_json gate.json; {_MAP}; rename {top} gate",
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
        gold, gate = (_initial(folder / f"{side}.json", top) for side in ("gold", "gate"))
    # yosys has dropped what nothing reads, on either side
    wrong = [name for name in gold.keys() & gate.keys() if gold[name] != gate[name]]
    if wrong:
        raise RuntimeError(f"initial values differ: {', '.join(sorted(wrong)[:8])}")
    proven = re.findall(r"Of those cells (\d+) are proven", log)
    if not proven or not int(proven[-1]):
        raise RuntimeError("yosys compared nothing")
    return int(proven[-1])


def _initial(path: Path, top: str) -> dict[str, str]:
    """Return the initial value of each register, and the first contents of each memory."""
    module = json.loads(path.read_text())["modules"][top]
    values: dict[str, str] = {}
    for name, net in module["netnames"].items():
        values[name] = net["attributes"].get("init", "")
    for cell in module["cells"].values():
        if cell["type"] == "$mem_v2":
            values[cell["parameters"]["MEMID"].lstrip("\\")] = cell["parameters"]["INIT"]
    return values


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
