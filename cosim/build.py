"""Verilog to a simulator program, once per content.

``key = sha256(Verilog, ports, options, tool versions)`` names the program in the cache. Verilator's
own run-time library is compiled once per set of options, which leaves 2 s of the 13 s of a small
build.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from cocotb_tools import runner as cocotb_runner

import cosim
from cosim.cache import cache_key, cached
from cosim.fst import fst_make_words, fst_options
from cosim.manifest import Manifest, content_hash, load_manifest
from cosim.process_group import run_group
from cosim.toolchain import require_build_tools, verilator_binary, verilator_environment
from golden.errors import UserError
from golden.files import cache_folder

__all__ = [
    "Model",
    "VerilatorRunner",
    "build_failure",
    "build_model",
    "compile_jobs",
]

_PREFIX = "Vtop"
_PUBLIC = "--public-flat-rw"
_LOG_LINES = 12


@dataclass(frozen=True)
class Model:
    """A built simulator program: ``folder / manifest.top`` (Icarus: ``sim.vvp``)."""

    manifest: Manifest
    folder: Path
    waves: bool = False
    simulator: str = "verilator"


class VerilatorRunner(cocotb_runner.Verilator):
    """cocotb's runner without ``--public-flat-rw``: only the ports of the top are visible.

    That makes the build four times and the run twice as fast. Programs run in a group of their
    own, with a time limit, so that an interrupt leaves nothing behind.
    """

    def __init__(self, *, jobs: int = 1, timeout_seconds: float | None = None) -> None:
        super().__init__()
        self.jobs = jobs
        self.timeout_seconds = timeout_seconds
        self.watch: Callable[[], None] | None = None
        self.watch_seconds = 1.0
        self.objects: Sequence[Path] = ()
        self.make_words: Sequence[str] = ()

    def _simulator_in_path_build_only(self) -> None:
        self.executable = str(verilator_binary())

    def _set_env_common(self) -> None:
        super()._set_env_common()
        self.env.update(verilator_environment())
        package = str(Path(cosim.__file__).resolve().parent.parent)
        self.env["PYTHONPATH"] = os.pathsep.join([self.env["PYTHONPATH"], package])

    def _build_command(self) -> list[list[str]]:
        verilate, make = super()._build_command()
        verilate = [self.executable, *(word for word in verilate[1:] if word != _PUBLIC)]
        verilate = [word for word in verilate if word != "--trace"]
        make = ["make", "-j", str(self.jobs), "-C", str(self.build_dir), "-f", f"{_PREFIX}.mk"]
        copies = [["cp", *map(str, self.objects), str(self.build_dir)]] if self.objects else []
        return [verilate, *copies, [*make, *self.make_words]]

    def _execute_cmds(
        self, cmds: Sequence[Sequence[str]], cwd: Any, stdout: TextIO | None = None
    ) -> None:
        for command in cmds:
            status = run_group(
                command,
                cwd=Path(cwd),
                env=self.env,
                stdout=stdout,
                timeout_seconds=self.timeout_seconds,
                watch=self.watch,
                watch_seconds=self.watch_seconds,
            )
            if status:
                raise RuntimeError(f"{Path(command[0]).name} ended with status {status}")


def build_model(
    rtl: Path,
    *,
    waves: bool = False,
    jobs: int | None = None,
    more_options: Sequence[str] = (),
) -> Model:
    """Build the Verilog of folder ``rtl``, or take the program from the cache.

    ``waves``: the program can write FST. ``jobs``: compilers at a time. ``more_options``: of
    Verilator.
    ``UserError`` if the Verilog does not build, with the first lines of the tool's complaint.
    """
    require_build_tools()
    manifest = load_manifest(rtl)
    options = [*_options(waves), *more_options]
    key = cache_key({"verilog": content_hash(manifest), "options": options})
    name = f"{manifest.top}-{key[:20]}"

    def make(folder: Path) -> None:
        control = folder / "ports.vlt"
        control.write_text(_port_control(manifest))
        runner = VerilatorRunner(jobs=jobs or compile_jobs())
        runner.objects = _runtime(options)
        runner.make_words = fst_make_words(options)
        _build(runner, [*manifest.sources, control], manifest.top, options, folder)
        for path in folder.iterdir():
            if path.name not in (manifest.top, "build.log"):
                path.unlink()

    return Model(manifest, cached("models", name, make), waves)


def _options(waves: bool) -> list[str]:
    return ["--no-timing", "--quiet-stats", "-Wno-fatal", *(fst_options() if waves else [])]


def _port_control(manifest: Manifest) -> str:
    """Verilator control file that shows the top's ports to VPI, and nothing else."""
    names = ["clk", "rst", *(net for port in manifest.ports for net in port.nets)]
    lines = [f'public_flat_rw -module "{manifest.top}" -var "{name}"' for name in names]
    return "\n".join(["`verilator_config", *lines, ""])


def _build(
    runner: VerilatorRunner, sources: Sequence[Path], top: str, options: list[str], folder: Path
) -> None:
    log = folder / "build.log"
    try:
        runner.build(
            sources=list(sources),
            hdl_toplevel=top,
            build_args=options,
            build_dir=folder,
            always=True,
            waves=False,
            log_file=log,
        )
    except RuntimeError as error:
        raise build_failure(top, log, str(error)) from error


def build_failure(top: str, log: Path, reason: str, tool: str = "Verilator") -> UserError:
    """Return the error of a failed build, with the first complaint in its log; keeps the log."""
    lines = log.read_text(errors="replace").splitlines()
    complaints = [line for line in lines if "rror" in line] or lines[-_LOG_LINES:]
    kept = cache_folder() / "failed-build.log"
    shutil.copyfile(log, kept)
    first = complaints[0].strip() if complaints else "no output"
    return UserError(f"{tool} build of {top}: {reason}: {first} (log: {kept})")


def _runtime(options: list[str]) -> list[Path]:
    """Compile Verilator's run-time library for ``options`` and return its objects."""

    def make(folder: Path) -> None:
        empty = folder / "runtime.v"
        empty.write_text("module runtime(input a, output b); assign b = a; endmodule\n")
        runner = VerilatorRunner(jobs=compile_jobs())
        extra = folder / "objects.mk"
        extra.write_text("all_objects: $(VK_GLOBAL_OBJS)\n")
        runner.make_words = ["-f", str(extra), "all_objects"]
        _build(runner, [empty], "runtime", options, folder)
        for path in folder.iterdir():
            if path.suffix != ".o":
                path.unlink()

    return sorted(cached("runtime", cache_key({"options": options})[:20], make).glob("*.o"))


def compile_jobs() -> int:
    """Return how many compilers may run at a time: this process's share of the cores."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    return max(1, len(os.sched_getaffinity(0)) // workers)
