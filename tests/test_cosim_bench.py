"""The bench on a small block under Verilator: green when right, red for every kind of fault."""

import multiprocessing
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cosim import bench, build, cache, process_group
from cosim.bench import run_cases, run_model
from cosim.trace_checker.build import build_program
from golden.errors import UserError
from tests import toy

pytestmark = pytest.mark.cosim


def test_good_block_is_green_and_everything_is_counted():
    cases = toy.cases(seed=5)
    result = run_cases("toy", toy.PARAMETERS, cases, rtl=toy.FOLDER, seed=5)
    assert result.passed, result.text()
    assert result.cycles == sum(case.trace.cycles for case in cases)
    assert result.beats == sum(case.trace.outputs["o"].transfers for case in cases)
    assert [case.name for case in result.cases] == [case.name for case in cases]
    assert result.cases[0].groups == list(range(8))


FAULTS = {
    "value": ("second1 <= first1", "second1 <= first1 + (a0 == 8'd77)", {"payload"}),
    "stall": ("if (i__ready) begin", "if (i__ready | i__valid) begin", {"payload", "missing"}),
    "drop": ("valid1 <= i__valid;", "valid1 <= i__valid & (taken != 8'd9);", {"missing"}),
    "repeat": ("valid1 <= i__valid;", "valid1 <= i__valid | (taken == 8'd9);", {"extra"}),
    "ready": ("o__ready | ~valid2", "o__ready", {"ready"}),
    "early": ("assign o__valid = valid2", "assign o__valid = valid2 | valid1", {"valid"}),
    "plain": ("if (clear)", "if (clear & ~i__valid)", {"plain"}),
    "no reset": ("      valid2 <= 1'b0;\n", "", {"valid"}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_block_is_red(tmp_path, fault):
    old, new, kinds = FAULTS[fault]
    rtl = toy.copy(tmp_path / "rtl", old, new)
    result = run_cases("toy", toy.PARAMETERS, toy.cases(seed=5), rtl=rtl, seed=5)
    assert not result.passed
    seen = {mismatch.kind for case in result.cases for mismatch in case.mismatches}
    assert kinds & seen or result.mismatches > 32
    found = result.first_mismatch()
    assert found is not None
    case, first = found
    assert first.stream in ("o", "i", "count")
    words = case.repeat.split()
    assert words[:4] == ["stepscale", "cosim", "--suite", "blocks"]
    assert words[words.index("--seed") + 1] == "5"
    assert words[words.index("--case") + 1] == case.name
    assert words[-1] == "--waves"
    assert words[words.index("--rtl") + 1] == str(rtl)


def test_second_run_takes_the_program_from_the_cache(tmp_path):
    build.build_model(toy.FOLDER)
    began = time.perf_counter()
    model = build.build_model(toy.copy(tmp_path / "same"))
    assert time.perf_counter() - began < 1
    assert build.build_model(toy.FOLDER).folder == model.folder


def test_waves_are_kept():
    result = run_cases("toy", toy.PARAMETERS, toy.cases(5)[:1], rtl=toy.FOLDER, waves=True)
    assert result.waves is not None
    assert Path(result.waves).stat().st_size > 1000


def _build(kept, level, folder, queue):
    cache.cache_folder = lambda: kept
    built = build.build_model(folder).folder if level == 2 else build_program(folder).path.parent
    queue.put(str(built))


@pytest.mark.parametrize("level", [2, 3])
def test_two_processes_build_one_program(tmp_path, level):
    rtl = toy.copy(tmp_path / "rtl")
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    kept = tmp_path / "cache"
    workers = [context.Process(target=_build, args=(kept, level, rtl, queue)) for _ in range(2)]
    for worker in workers:
        worker.start()
    folders = {queue.get(timeout=120) for _ in workers}
    for worker in workers:
        worker.join()
    assert len(folders) == 1
    models = [path for path in (kept / "models").iterdir() if path.suffix != ".lock"]
    assert [str(path) for path in models] == list(folders)  # nothing unfinished lies about
    assert [worker.exitcode for worker in workers] == [0, 0]


def test_verilog_that_does_not_build_is_a_user_error(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(cache, "cache_folder", lambda: tmp_path / "cache")
    rtl = toy.copy(tmp_path / "rtl", "assign count = taken;", "assign count = nothing;")
    with pytest.raises(UserError) as caught:
        build.build_model(rtl)
    assert "nothing" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache" / "models").glob("toy*"))


def test_simulation_that_dies_is_not_green(monkeypatch):
    model = build.build_model(toy.FOLDER)
    monkeypatch.setattr(bench, "pickle", type("Broken", (), {"dumps": lambda *_: b"no"}))
    with pytest.raises(UserError, match="simulation failed"):
        run_model(model, toy.cases(5)[:1])


def test_lost_verdict_is_not_green(monkeypatch):
    model = build.build_model(toy.FOLDER)
    cases = toy.cases(5)[:2]
    monkeypatch.setattr(
        bench.pickle, "dumps", lambda data, dumps=bench.pickle.dumps: dumps((data[0], data[1][:1]))
    )
    with pytest.raises(UserError, match="1 of 2 cases have a verdict"):
        run_model(model, cases)


def test_failed_assertion_of_the_rtl_is_not_green(tmp_path):
    rtl = toy.copy(
        tmp_path / "rtl",
        "  assign count = taken;",
        "  assign count = taken;\n  always @(posedge clk) assert (taken != 8'd9);",
    )
    with pytest.raises(UserError, match="simulation failed"):
        run_cases("toy", toy.PARAMETERS, toy.cases(5)[:1], rtl=rtl)


def test_no_case_is_an_error():
    with pytest.raises(UserError, match="there is no case to run"):
        run_cases("toy", toy.PARAMETERS, [], rtl=toy.FOLDER)


def test_interrupt_leaves_no_process_and_no_file(tmp_path):
    marker = tmp_path / "child"
    code = (
        "import sys, pathlib, signal\n"
        "from cosim.process_group import run_group\n"
        # a shell starts background jobs with the interrupt ignored, and children inherit that
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "command = ['sh', '-c', f'echo $$ > {sys.argv[1]}; sleep 60 & sleep 60']\n"
        "run_group(command, cwd=pathlib.Path('.'), env={'PATH': '/usr/bin:/bin'})\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(marker)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not (marker.is_file() and marker.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=20)
    group = marker.read_text().strip()
    deadline = time.monotonic() + 10
    while _alive(group):
        assert time.monotonic() < deadline, "a child outlived the interrupt"
        time.sleep(0.02)


def _alive(group):
    """Processes of a group that are not zombies, from fields 3 and 5 of /proc/*/stat."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, of_group = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if of_group == group and state != "Z":
            found.append(path)
    return found


def test_interrupt_while_a_process_starts_leaves_none(tmp_path, monkeypatch):
    """Ctrl-C inside Popen, after the child runs: the caller never saw the process."""
    started = []
    start = subprocess.Popen

    def interrupted(*arguments, **options):
        started.append(start(*arguments, **options))
        signal.raise_signal(signal.SIGINT)
        return started[0]

    monkeypatch.setattr(process_group.subprocess, "Popen", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            process_group.run_group(["sleep", "60"], cwd=tmp_path, env={"PATH": "/usr/bin:/bin"})
    finally:
        signal.signal(signal.SIGINT, before)
    assert started[0].wait(timeout=10) == -signal.SIGTERM
