"""Cases on a second simulator, Icarus Verilog: no result rests on one tool.

Icarus has four states, so an output that no reset reached reads as x, and x never equals a bit.
Level 2 alone: cocotb drives and compares, as under Verilator. Models are kept beside Verilator's,
by the same key and the version of Icarus.
"""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cocotb_tools import runner as cocotb_runner

from cosim.build import Model, VerilatorRunner, build_failure
from cosim.cache import cache_key, cached
from cosim.manifest import content_hash, load_manifest
from golden.errors import UserError

__all__ = ["CURE", "IcarusRunner", "build_icarus", "icarus_version"]

CURE = "install Icarus Verilog, for example: sudo apt-get install iverilog"
TIMESCALE = ("1ns", "1ps")


def icarus_version() -> str | None:
    """Return what ``iverilog -V`` says of itself, None where it is not on PATH."""
    if shutil.which("iverilog") is None or shutil.which("vvp") is None:
        return None
    done = subprocess.run(["iverilog", "-V"], capture_output=True, text=True, check=False)
    return next(iter(done.stdout.splitlines()), "unknown version").strip()


class IcarusRunner(cocotb_runner.Icarus):
    """cocotb's runner in a process group of its own, with a time limit."""

    _execute_cmds = VerilatorRunner._execute_cmds

    def __init__(self, *, timeout_seconds: float | None = None) -> None:
        super().__init__()
        self.timeout_seconds = timeout_seconds
        self.watch: Any = None
        self.watch_seconds = 1.0

    def _set_env_common(self) -> None:
        super()._set_env_common()
        package = str(Path(__file__).resolve().parent.parent)
        self.env["PYTHONPATH"] = f"{self.env['PYTHONPATH']}:{package}"


def build_icarus(rtl: Path, *, more_options: Sequence[str] = ()) -> Model:
    """Compile folder ``rtl`` for ``vvp``, or take the model from the cache.

    ``UserError`` where Icarus is missing or the Verilog does not compile.
    """
    version = icarus_version()
    if version is None:
        raise UserError(f"iverilog is not on PATH; {CURE}")
    manifest = load_manifest(rtl)
    options = list(more_options)
    key = cache_key({"verilog": content_hash(manifest), "icarus": version, "options": options})

    def make(folder: Path) -> None:
        log = folder / "build.log"
        try:
            IcarusRunner().build(
                sources=list(manifest.sources), hdl_toplevel=manifest.top, build_args=options,
                build_dir=folder, always=True, timescale=TIMESCALE, log_file=log,
            )  # fmt: skip
        except RuntimeError as error:
            raise build_failure(manifest.top, log, str(error), "Icarus") from error

    folder = cached("models", f"{manifest.top}-icarus-{key[:20]}", make)
    return Model(manifest, folder, simulator="icarus")
