"""Verilog to a simulator program, once per content.

``key = sha256(Verilog, ports, options, tool versions)`` names the program in the cache, so
a changed file can never meet an old program. Two processes that want the same key wait on one lock;
the finished folder appears by one rename. Verilator's own run-time library is compiled once per
set of options, which leaves 2 s of the 13 s of a small build.
"""

import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from cocotb_tools import runner as cocotb_runner

import cosim
from cosim.manifest import Manifest, content_hash, load_manifest
from cosim.toolchain import require_build_tools, verilator_binary, verilator_environment
from golden.errors import UserError
from golden.files import ensure_writable_folder

__all__ = [
    "Model",
    "VerilatorRunner",
    "build_failure",
    "build_model",
    "cache_folder",
    "cache_key",
    "cached",
    "compile_jobs",
    "run_group",
    "wave_format",
]

_PREFIX = "Vtop"
_PUBLIC = "--public-flat-rw"
_LOG_LINES = 12


@dataclass(frozen=True)
class Model:
    """A built simulator program: ``folder / manifest.top`` (Icarus: ``sim.vvp``)."""

    manifest: Manifest
    folder: Path
    waves: str | None
    simulator: str = "verilator"


def cache_folder() -> Path:
    """Return ``build/`` of a checkout, else ``stepscale`` in the user's cache folder."""
    root = Path(cosim.__file__).resolve().parent.parent
    if (root / "pyproject.toml").is_file() and os.access(root, os.W_OK):
        return root / "build"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stepscale"


def wave_format() -> str:
    """Return "fst" where its headers (zlib, lz4) are installed, else "vcd"."""
    headers = ("zlib.h", "lz4.h")
    folders = (Path("/usr/include"), Path("/usr/local/include"))
    found = all(any((folder / header).is_file() for folder in folders) for header in headers)
    return "fst" if found else "vcd"


def run_group(
    command: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    stdout: TextIO | None = None,
    timeout_seconds: float | None = None,
    watch: Callable[[], None] | None = None,
    watch_seconds: float = 1.0,
) -> int:
    """Run a program in its own process group and return its status.

    Whatever ends this function early, Ctrl-C and the timeout included, ends the whole group first.
    ``watch`` is called every ``watch_seconds`` while the program runs.
    """
    deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    process = None
    try:
        with _interrupt_held():  # one that came inside would leave a process that nobody knows
            process = subprocess.Popen(
                list(command),
                cwd=cwd,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=None if stdout is None else subprocess.STDOUT,
                start_new_session=True,
            )
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            try:
                waits = [limit for limit in (left, watch and watch_seconds) if limit is not None]
                return process.wait(timeout=min(waits, default=None))
            except subprocess.TimeoutExpired:
                if deadline is not None and time.monotonic() >= deadline:
                    raise
                if watch is not None:
                    watch()
    except BaseException:
        for kind in (signal.SIGTERM, signal.SIGKILL):
            if process is None:
                break
            try:
                os.killpg(process.pid, kind)
                process.wait(timeout=2)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        raise


@contextmanager
def _interrupt_held() -> Iterator[None]:
    """Let Ctrl-C take effect only at the end; other threads are never interrupted."""
    before = signal.getsignal(signal.SIGINT)
    if before is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    came = False

    def note(*_: object) -> None:
        nonlocal came
        came = True

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        signal.raise_signal(signal.SIGINT)


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
        self.goals: Sequence[str] = ()

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
        return [verilate, *copies, [*make, *self.goals]]

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
    waves: str | None = None,
    jobs: int | None = None,
    more_options: Sequence[str] = (),
) -> Model:
    """Build the Verilog of folder ``rtl``, or take the program from the cache.

    ``waves``: None, "vcd" or "fst". ``jobs``: compilers at a time. ``more_options``: of Verilator.
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
        _build(runner, [*manifest.sources, control], manifest.top, options, folder)
        for path in folder.iterdir():
            if path.name not in (manifest.top, "build.log"):
                path.unlink()

    return Model(manifest, cached("models", name, make), waves)


def _options(waves: str | None) -> list[str]:
    trace = {None: [], "vcd": ["--trace-vcd"], "fst": ["--trace-fst"]}
    return ["--no-timing", "--quiet-stats", "-Wno-fatal", *trace[waves]]


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
        runner.goals = ["-f", str(extra), "all_objects"]
        _build(runner, [empty], "runtime", options, folder)
        for path in folder.iterdir():
            if path.suffix != ".o":
                path.unlink()

    return sorted(cached("runtime", cache_key({"options": options})[:20], make).glob("*.o"))


def cache_key(inputs: Mapping[str, Any]) -> str:
    """Return the name of what is built from ``inputs`` with the tools of this machine."""
    tools = {
        "verilator": importlib.metadata.version("verilator"),
        "binary": verilator_binary().stat().st_size,
        "cocotb": importlib.metadata.version("cocotb"),
        "libraries": str(cocotb_runner.cocotb_tools.config.libs_dir),
        "machine": platform.machine(),
        "flags": [os.environ.get(name, "") for name in ("CXX", "CXXFLAGS", "CPPFLAGS", "LDFLAGS")],
    }
    return hashlib.sha256(json.dumps([inputs, tools], sort_keys=True).encode()).hexdigest()


def compile_jobs() -> int:
    """Return how many compilers may run at a time: this process's share of the cores."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    return max(1, len(os.sched_getaffinity(0)) // workers)


def cached(kind: str, name: str, make: Any) -> Path:
    """Return folder ``kind/name`` of the cache, filled by ``make(folder)`` if it is not there."""
    parent = ensure_writable_folder(cache_folder() / kind)
    final = parent / name
    if final.is_dir():
        return final
    with _locked(parent / f".{name}.lock"):
        if final.is_dir():
            return final
        unfinished = parent / f".{name}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)  # left by a killed process
        unfinished.mkdir()
        try:
            make(unfinished)
            unfinished.rename(final)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return final


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``path``; the system frees it even if the process is killed."""
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
