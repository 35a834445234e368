"""Level 3: the verdicts of level 2, at once; nothing that is not compared can look green."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pywellen

from cosim.bench import run_cases
from cosim.trace_checker import trace as trace_module
from cosim.trace_checker.build import build_program
from cosim.trace_checker.layout import Layout, net_bytes
from cosim.trace_checker.run import replay, run_trace, trace_of
from cosim.trace_checker.trace import TraceWriter, pack_words
from golden.errors import UserError
from tests import toy
from tests.test_cosim_bench import FAULTS

CASES = toy.cases(seed=5)
NAMES = [case.name for case in CASES]


@pytest.fixture(scope="module")
def program():
    return build_program(toy.FOLDER)


def test_good_block_is_green_and_everything_is_counted():
    result = run_cases("toy", toy.PARAMETERS, CASES, rtl=toy.FOLDER, seed=5, level=3)
    assert result.passed, result.text()
    assert result.cycles == sum(case.trace.cycles for case in CASES)
    assert result.beats == sum(case.trace.outputs["o"].transfers for case in CASES)
    assert result.level == 3
    assert "--level 3" in result.cases[0].repeat


@pytest.mark.cosim
@pytest.mark.parametrize("fault", FAULTS)
def test_both_levels_report_the_same(tmp_path, fault):
    old, new, _ = FAULTS[fault]
    rtl = toy.copy(tmp_path / "rtl", old, new)
    two, three = (
        run_cases("toy", toy.PARAMETERS, CASES, rtl=rtl, seed=5, level=level) for level in (2, 3)
    )
    assert not two.passed
    for slow, fast in zip(two.cases, three.cases, strict=True):
        assert replace(fast, repeat=slow.repeat) == slow


def test_stop_ends_at_the_first_mismatch(tmp_path):
    rtl = toy.copy(tmp_path / "rtl", *FAULTS["value"][:2])
    whole = replay(rtl, CASES)
    stopped = replay(rtl, CASES, stop=True)
    for full, cut in zip(whole.verdicts, stopped.verdicts, strict=True):
        assert cut.differences == full.differences[:1]
        if full.differences:
            assert cut.cycles == full.differences[0].cycle + 1


def test_mismatch_leaves_a_waveform_of_its_window(tmp_path):
    rtl = toy.copy(tmp_path / "rtl", *FAULTS["value"][:2])
    run = replay(rtl, CASES)
    assert run.waves is not None
    first = next(verdict for verdict in run.verdicts if verdict.differences)
    clock = next(var for var in pywellen.Waveform(run.waves).all_vars() if var.name == "clk")
    cycles = [time // 10 for time, _ in clock.signal]
    assert first.differences[0].cycle in cycles
    assert max(cycles) - min(cycles) == 64 + 16


def test_waves_of_a_green_run():
    assert replay(toy.FOLDER, CASES[:1]).waves is None
    kept = replay(toy.FOLDER, CASES[:1], waves=True).waves
    assert kept is not None
    assert Path(kept).stat().st_size > 1000


def test_bare_run_compares_nothing(tmp_path):
    rtl = toy.copy(tmp_path / "rtl", *FAULTS["value"][:2])
    wrong = build_program(rtl)
    with trace_of(wrong, CASES) as trace:
        run = run_trace(wrong, trace, NAMES, bare=True)
        checked = run_trace(wrong, trace, NAMES)
    assert [verdict.cycles for verdict in run.verdicts] == [v.cycles for v in checked.verdicts]
    assert sum(verdict.beats for verdict in run.verdicts) == 0
    assert sum(verdict.mismatches for verdict in run.verdicts) == 0
    assert sum(verdict.mismatches for verdict in checked.verdicts) > 0


def slower(folder):
    """The toy, but it takes a beat in every other cycle at most: beats right, cycles not."""
    rtl = toy.copy(folder)
    text = (rtl / "toy.v").read_text()
    for old, new in (
        ("assign i__ready = o__ready | ~valid2;", "assign i__ready = move & slow;"),
        ("reg [7:0] taken;", "reg [7:0] taken;\n  reg slow;\n  wire move = o__ready | ~valid2;"),
        ("if (i__ready) begin", "if (move) begin"),
        ("valid1 <= i__valid;", "valid1 <= i__valid & slow;"),
        ("if (rst) begin", "slow <= ~slow & ~rst;\n    if (rst) begin"),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (rtl / "toy.v").write_text(text)
    return rtl


def test_beats_alone_where_cycles_are_unpredictable(tmp_path):
    rtl = slower(tmp_path / "rtl")
    cases = [case for case in CASES if "reset" not in case.name]
    exact = replay(rtl, cases)
    assert any(verdict.mismatches for verdict in exact.verdicts)
    elastic = replay(rtl, cases, mode="beats")
    for case, verdict in zip(cases, elastic.verdicts, strict=True):
        assert not verdict.mismatches, verdict.differences[:2]
        assert verdict.beats == case.trace.outputs["o"].transfers
        assert verdict.cycles > case.trace.cycles - 8


def test_wrong_and_missing_beats_are_found_without_cycles(tmp_path):
    cases = [case for case in CASES if "reset" not in case.name]
    wrong = replay(toy.copy(tmp_path / "wrong", *FAULTS["value"][:2]), cases, mode="beats")
    assert {d.kind for verdict in wrong.verdicts for d in verdict.differences} == {"payload"}
    lost = replay(toy.copy(tmp_path / "lost", *FAULTS["drop"][:2]), cases[:1], mode="beats")
    assert lost.verdicts[0].mismatches > 32
    assert lost.verdicts[0].beats < cases[0].trace.outputs["o"].transfers


def test_second_case_starts_from_a_dirty_design(tmp_path):
    rtl = toy.copy(tmp_path / "rtl", *FAULTS["no reset"][:2])
    run = replay(rtl, CASES)
    assert not run.verdicts[0].mismatches
    assert any(verdict.mismatches for verdict in run.verdicts[1:])


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("layout", lambda data: data[::-1], "other ports"),
        ("control", lambda data: data[:-1], "truncated"),
        ("i.payload", lambda data: data[: len(data) // 2], "truncated"),
        ("cases", lambda data: data[:-8], "truncated"),
        ("cases", lambda data: b"\xff" * len(data), "truncated"),
    ],
)
def test_damaged_trace_is_refused(program, name, change, message):
    with trace_of(program, CASES) as trace:
        path = trace / name
        path.write_bytes(change(path.read_bytes()))
        with pytest.raises(UserError, match=message):
            run_trace(program, trace, NAMES)


def test_missing_column_is_refused(program):
    with trace_of(program, CASES) as trace:
        (trace / "i.start").unlink()
        with pytest.raises(UserError, match=r"i\.start: cannot be read"):
            run_trace(program, trace, NAMES)


def test_lost_verdict_is_not_green(program):
    with trace_of(program, CASES[:1]) as trace, pytest.raises(UserError, match="1 of 2 cases"):
        run_trace(program, trace, NAMES[:2])


def test_program_that_dies_is_not_green(program, tmp_path):
    script = tmp_path / "dies"
    script.write_text("#!/bin/sh\nkill -9 $$\n")
    script.chmod(0o755)
    with trace_of(program, CASES) as trace, pytest.raises(UserError, match="it wrote no verdict"):
        run_trace(replace(program, path=script), trace, NAMES)


def test_half_written_trace_is_refused(program, tmp_path):
    folder = tmp_path / "trace"
    with pytest.raises(RuntimeError), TraceWriter(folder, program.manifest) as writer:
        writer.add(CASES[0])
        raise RuntimeError("power cut")
    with pytest.raises(UserError, match="layout: cannot be read"):
        run_trace(program, folder, NAMES[:1])


def test_payload_is_packed_in_slices(monkeypatch):
    layout = Layout.of(build_program(toy.FOLDER).manifest)
    port = layout.inputs[0]
    payload = CASES[0].payloads["i"]
    whole = np.concatenate(list(pack_words(port, payload, "i")))
    monkeypatch.setattr(trace_module, "SLICE", 7)
    parts = list(pack_words(port, payload, "i"))
    assert len(parts) > 2
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    value = int.from_bytes(whole[3].tobytes(), "little")
    for field in port.fields:
        for lane in range(field.count):
            got = value >> (field.offset + lane * field.width) & ((1 << field.width) - 1)
            wanted = np.asarray(payload[field.name]).reshape(len(whole), -1)[3, lane]
            assert got == int(wanted) % (1 << field.width)


@pytest.mark.parametrize(
    ("width", "size"),
    [(0, 0), (1, 1), (8, 1), (9, 2), (17, 4), (33, 8), (64, 8), (65, 12), (97, 16)],
)
def test_bytes_of_a_net(width, size):
    assert net_bytes(width) == size


def test_program_without_a_trace_says_what_it_needs(program):
    done = subprocess.run([program.path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "Error: needs TRACE and VERDICT\n")
    done = subprocess.run(
        [program.path, "a", "b", "--fast"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (2, "Error: unknown option --fast\n")


def test_verdict_is_json(program, tmp_path):
    with trace_of(program, CASES) as trace:
        path = tmp_path / "verdict.json"
        subprocess.run([program.path, trace, path, "--case", "1"], check=True, capture_output=True)
        verdicts = json.loads(path.read_text())["verdicts"]
    assert [verdict["cycles"] for verdict in verdicts] == [CASES[1].trace.cycles]


def _flipped(path, bit):
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("bit", range(18))
def test_every_bit_of_a_payload_is_compared(program, bit):
    """One bit of one expected beat is turned in the trace: that beat and that bit are reported."""
    with trace_of(program, CASES[:1]) as trace:
        size = net_bytes(program.layout.outputs[0].width)
        _flipped(trace / "o.payload", 8 * size * 7 + bit)
        [verdict] = run_trace(program, trace, NAMES[:1]).verdicts
    assert verdict.mismatches
    for difference in verdict.differences:  # a beat that waits is compared in every cycle
        assert (difference.kind, difference.stream, difference.beat) == ("payload", "o", 7)
        assert int(difference.expected, 2) ^ int(difference.got, 2) == 1 << bit


@pytest.mark.parametrize(("bit", "kind", "stream"), [(0, "ready", "i"), (1, "valid", "o")])
@pytest.mark.parametrize("cycle", [0, 1, 63, 64, 409])
def test_every_handshake_is_compared_in_every_cycle(program, bit, kind, stream, cycle):
    with trace_of(program, CASES[:1]) as trace:
        size = program.layout.control_type.itemsize
        _flipped(trace / "control", 8 * size * cycle + bit)
        [verdict] = run_trace(program, trace, NAMES[:1]).verdicts
    first = verdict.differences[0]
    assert (first.kind, first.stream, first.cycle) == (kind, stream, cycle)


@pytest.mark.parametrize("bit", range(8))
def test_every_bit_of_a_plain_output_is_compared(program, bit):
    with trace_of(program, CASES[:1]) as trace:
        cycle = int(np.fromfile(trace / "count.cycle", dtype="<u4")[5])
        _flipped(trace / "count.value", 8 * 5 + bit)
        [verdict] = run_trace(program, trace, NAMES[:1]).verdicts
    first = verdict.differences[0]
    assert (first.kind, first.stream, first.cycle) == ("plain", "count", cycle)
    assert int(first.expected, 2) ^ int(first.got, 2) == 1 << bit
