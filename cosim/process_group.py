"""Programs in a process group of their own, which ends with whoever started it."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from golden.errors import UserError

__all__ = ["end_groups", "run_group"]

# The watcher ends the group when the pipe on its input closes, that is when the caller has gone,
# killed without a word included. The command itself gets no input.
_WATCHED = 'exec 3<&0; { read _ <&3; kill -KILL 0; } & exec "$@" 3<&- </dev/null'
_running: set["subprocess.Popen[bytes]"] = set()
_ended = False


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

    Whatever ends this function early, Ctrl-C and the timeout included, ends the whole group first;
    so does the death of this process. ``watch`` is called every ``watch_seconds`` while the program
    runs.
    """
    if _ended:
        raise UserError("interrupted")
    deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    process = None
    try:
        with _interrupt_held():  # one that came inside would leave a process that nobody knows
            process = subprocess.Popen(
                ["/bin/sh", "-c", _WATCHED, "sh", *command],
                cwd=cwd,
                env=dict(env),
                stdin=subprocess.PIPE,
                stdout=stdout,
                stderr=None if stdout is None else subprocess.STDOUT,
                start_new_session=True,
            )
        _running.add(process)
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
    finally:
        if process is not None:
            _running.discard(process)
            assert process.stdin is not None
            process.stdin.close()


def end_groups() -> None:
    """End every group that this process runs and start none any more.

    Each ``run_group`` returns a status below 0, so that its callers remove what they had begun.
    """
    global _ended  # noqa: PLW0603 (a worker process is told once, at its end)
    _ended = True
    for process in list(_running):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)


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
