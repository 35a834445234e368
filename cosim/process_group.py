"""Programs in a process group of their own, which ends with whoever started it."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

__all__ = ["run_group"]


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
