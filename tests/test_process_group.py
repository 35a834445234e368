"""Programs that co-simulation starts end with it, however it ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from cosim.process_group import run_group

SCRIPT = """
import pathlib, signal, sys, threading, time
from cosim.process_group import end_groups, run_group
from golden.errors import UserError
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
command = ["sh", "-c", f"echo $$ > {sys.argv[1]}; sleep 60 & sleep 60"]
start = lambda: run_group(command, cwd=pathlib.Path("."), env={"PATH": "/usr/bin:/bin"})
if len(sys.argv) > 2:
    def stop():
        while not pathlib.Path(sys.argv[1]).is_file():
            time.sleep(0.02)
        end_groups()
    threading.Thread(target=stop).start()
    assert start() == -signal.SIGTERM
    try:
        start()
    except UserError as error:
        sys.exit(str(error))
start()
"""


def members(group):
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue
    return found


def gone(marker):
    group = int(marker.read_text())
    deadline = time.monotonic() + 10
    while members(group):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def started(marker, *more):
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(marker), *more], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (marker.is_file() and marker.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_its_caller(tmp_path, kind):
    process = started(tmp_path / "group")
    process.send_signal(kind)
    process.communicate(timeout=20)
    assert gone(tmp_path / "group")


def test_groups_end_and_none_starts_any_more(tmp_path):
    process = started(tmp_path / "group", "end")
    assert process.communicate(timeout=20)[1].strip() == "interrupted"
    assert gone(tmp_path / "group")


def test_status_output_and_empty_input(tmp_path):
    with (tmp_path / "log").open("w") as log:
        status = run_group(
            ["sh", "-c", "cat; echo $1; exit 7", "sh", "a b"], cwd=tmp_path, env={}, stdout=log
        )
    assert status == 7
    assert (tmp_path / "log").read_text() == "a b\n"


@pytest.mark.cosim
@pytest.mark.long
@pytest.mark.parametrize("seconds", [3, 6, 9, 12])
def test_interrupted_suite_leaves_nothing(tmp_path, seconds):
    """Ctrl-C as a terminal sends it, into two workers that build and simulate."""
    root = Path(__file__).parent.parent
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from cosim import cli\n"
        "if __name__ == '__main__': cli.main()\n"
    )
    (tmp_path / "start.py").write_text(code)
    (tmp_path / "tmp").mkdir()
    process = subprocess.Popen(
        [sys.executable, "start.py", "cosim", "--level", "3", "--workers", "2", "--json", "x.json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root), "TMPDIR": str(tmp_path / "tmp")},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    before = set((root / "build").rglob("*.unfinished"))  # of others
    time.sleep(seconds)
    family = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    _, shown = process.communicate(timeout=60)
    assert process.returncode == 130, shown
    assert not psutil.wait_procs(family, timeout=10)[1]
    assert not list((tmp_path / "tmp").iterdir())
    assert set((root / "build").rglob("*.unfinished")) <= before
    assert not (tmp_path / "x.json").exists()
