"""Source, sink, monitor and checker without a simulator: every kind of deviation is seen."""

import json
from dataclasses import replace

import numpy as np
import pytest

from cosim.checker import Checker, Difference
from cosim.manifest import load_manifest, same_parameters
from cosim.mismatch import locate
from cosim.report import BenchResult, CaseResult, describe, report_json
from cosim.report_table import report_table
from cosim.script import compile_case, pack_bits, unpack_bits
from cosim.sink import Sink, changes_of
from cosim.source import Source
from golden.errors import UserError
from tests import toy

MANIFEST = load_manifest(toy.FOLDER)
PORTS = {port.name: port for port in MANIFEST.ports}
CASE = toy.cases(seed=3, beats=40)[1]
SCRIPT = compile_case(CASE, MANIFEST)


def replay(change=None, script=SCRIPT, cycles=None):
    """Feed the checker what a perfect block would do, altered by ``change(cycle, valid, bits)``."""
    checker = Checker(script)
    checker.start()
    check = checker.stream("o")
    cycles = script.cycles if cycles is None else cycles
    for cycle in range(cycles):
        checker.ready("i")(cycle, script.inputs["i"].ready[cycle])
        beat = script.outputs["o"].beat[cycle]
        valid = "1" if beat >= 0 else "0"
        bits = script.outputs["o"].payload[beat] if beat >= 0 else ""
        check(cycle, *(change(cycle, valid, bits) if change else (valid, bits)))
        checker.plain("count")(cycle, script.plain_out["count"][cycle])
    return checker.stop(cycles)


def moved_cycles():
    stream = CASE.trace.outputs["o"]
    return np.flatnonzero(stream.valid & stream.ready)


def test_agreement_counts_every_beat_and_cycle():
    verdict = replay()
    assert (verdict.mismatches, verdict.beats, verdict.cycles) == (0, 40, CASE.trace.cycles)


def test_missing_beat():
    last = moved_cycles()[-1]

    def lose(cycle, valid, bits):
        return ("0", "") if cycle >= last else (valid, bits)

    verdict = replay(lose)
    assert verdict.beats == 39
    assert verdict.differences[-1] == Difference("missing", "o", SCRIPT.cycles - 1, 39, "40", "39")


def test_extra_beat():
    def repeat(cycle, valid, bits):
        late = cycle > moved_cycles()[-1] and SCRIPT.outputs["o"].ready[cycle] == "1"
        return ("1", "0" * 18) if late else (valid, bits)

    verdict = replay(repeat)
    assert verdict.differences[-1].kind == "extra"
    assert {difference.kind for difference in verdict.differences} == {"valid", "extra"}


def test_wrong_payload_names_field_lane_and_numbers():
    victim = moved_cycles()[7]

    def flip(cycle, valid, bits):
        flipped = "0" if bits[:1] == "1" else "1"  # the sign of lane 1
        return (valid, flipped + bits[1:]) if cycle == victim else (valid, bits)

    verdict = replay(flip)
    assert verdict.mismatches == 1
    found = locate(verdict.differences[0], PORTS, CASE)
    expected = int(CASE.payloads["o"]["sum"][7, 1])
    assert (found.beat, found.cycle, found.lane, found.field) == (7, victim, 1, "sum")
    assert found.expected == str(expected)
    assert abs(int(found.got) - expected) == 256
    assert found.group == CASE.groups[7]


def test_payload_must_stay_while_stalled():
    stream = CASE.trace.outputs["o"]
    stalled = int(np.flatnonzero(stream.valid & ~stream.ready)[0])

    def change(cycle, valid, bits):
        return (valid, bits[::-1] if cycle == stalled else bits)

    assert replay(change).differences[0].cycle == stalled


def test_zero_beats_compared_is_a_failure():
    empty = CaseResult("none", "toy", 1, 50, 50, 0, 0, [], [], {}, "")
    result = BenchResult("toy", {}, [empty], 1.0, 1.0)
    assert not result.passed
    assert "nothing was compared" in result.text()
    assert not BenchResult("toy", {}, [], 1.0, 1.0).passed
    assert not report_json([], suite="blocks", seed=1)["passed"]


def test_wrong_ready_and_wrong_plain_output():
    checker = Checker(SCRIPT)
    checker.start()
    good = SCRIPT.inputs["i"].ready[5]
    checker.ready("i")(5, "0" if good == "1" else "1")
    checker.plain("count")(6, "11111111")
    kinds = [difference.kind for difference in checker.stop(7).differences]
    assert kinds[:2] == ["ready", "plain"]


def test_source_waits_for_the_ready_of_the_rtl():
    valid: list[str] = []
    payload: list[str] = []
    source = Source(replace(SCRIPT.inputs["i"], start=[0, 1, 6]), valid.append, payload.append)
    source.start()
    for cycle, ready in enumerate("00110000001"):
        source.clock(cycle, ready)
    # idle; beats 0 and 1 held; a pause until cycle 6
    assert valid == ["0", "1", "1", "0", "1", "0"]
    assert payload == list(SCRIPT.inputs["i"].payload[:3])


def test_sink_writes_changes_only():
    written: list[str] = []
    sink = Sink(changes_of("11011"), written.append, "0")
    sink.start()
    for cycle in range(4):
        sink.clock(cycle)
    sink.stop()
    assert written == ["1", "0", "1", "0"]


def test_packing_places_lane_0_in_the_low_bits():
    values = {"a": np.array([[-1, 2]]), "b": np.array([-128])}
    assert pack_bits(PORTS["i"], values) == ["10000000" + "00000010" + "11111111"]
    assert unpack_bits(PORTS["i"], pack_bits(PORTS["i"], values)[0]) == {
        ("a", 0): -1,
        ("a", 1): 2,
        ("b", 0): -128,
    }


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (
            {"a": np.array([[128, 0]]), "b": np.array([0])},
            "golden value 128 does not fit -128..127",
        ),
        ({"a": np.array([[0, 0]])}, "fields of stream 'i' are"),
        ({"a": np.array([[0]]), "b": np.array([0])}, "shape (1, 1), the port has 2 lanes"),
        ({"a": np.array([[0.5, 0]]), "b": np.array([0])}, "must be integers, got float64"),
    ],
    ids=["range", "field", "lanes", "float"],
)
def test_packing_refuses(payload, text):
    with pytest.raises(UserError) as caught:
        pack_bits(PORTS["i"], payload)
    assert text in str(caught.value)


def test_a_port_that_golden_does_not_speak_of_is_refused():
    silent = replace(CASE, trace=replace(CASE.trace, plain_out={}))
    with pytest.raises(UserError, match=r"plain outputs \[\], the Verilog has \['count'\]"):
        compile_case(silent, MANIFEST)


def test_report_content():
    difference = Difference("payload", "o", 17, 7, "0" * 18, "0" * 17 + "1")
    mismatch = locate(difference, PORTS, CASE)
    command = "stepscale cosim --suite blocks --block toy --seed 3 --case light --waves"
    case = CaseResult("light", "toy", 3, 90, 90, 40, 1, [mismatch], [1, 2, 4], CASE.labels, command)
    result = BenchResult("toy", {}, [case], 1.0, 0.5)
    text = describe(case)
    for word in ("cycle 17", "beat 7", "lane 0", "field sum", "expected 0, got 1", "seed 3"):
        assert word in text
    assert "timestep group 1" in text
    assert "layer conv_in" in text
    assert command in text
    report = json.loads(json.dumps(report_json([result], suite="blocks", seed=3)))
    keys = {"suite", "seed", "mismatches", "beats", "cycles", "cycles_per_second", "items"}
    assert keys <= set(report)
    item = report["items"][0]
    keys = {"name", "timestep_groups", "beats", "cycles", "predicted_cycles", "mismatches"}
    assert keys <= set(item)
    assert item["timestep_groups"] == [1, 2, 4]
    assert report["cycles_per_second"] == 180
    assert report["first_mismatches"][0]["repeat"] == command
    table = report_table([result], suite="blocks", seed=3)
    assert [column.header for column in table.columns][2:5] == [
        "beats",
        "cycles\ncompared",
        "mismatches",
    ]
    assert next(iter(table.columns[1].cells)) == "1-2 4"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a manifest"),
        ("{}", "key 'format' is missing"),
        ('{"format": 9}', "format must be 1, got 9"),
        ('{"format": 1, "files": ["x.v"], "block": "b", "parameters": {}, "top": "t", "ports": []}',
         "lists x.v, which is not in"),
    ],
    ids=["empty", "no-keys", "format", "file"],
)  # fmt: skip
def test_bad_manifest(tmp_path, text, message):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(UserError) as caught:
        load_manifest(tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_manifest(tmp_path):
    with pytest.raises(UserError, match=r"manifest\.json: cannot be read"):
        load_manifest(tmp_path)


def test_parameters_of_the_folder_must_match():
    same_parameters(MANIFEST, "toy", {"lanes": 2})
    with pytest.raises(UserError, match="generated with lanes = 2, the bench wants 3"):
        same_parameters(MANIFEST, "toy", {"lanes": 3})
    with pytest.raises(UserError, match="holds block 'toy', the bench wants 'operand'"):
        same_parameters(MANIFEST, "operand", {})
