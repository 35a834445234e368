"""JUnit, the HTML page and the timing diagram: what they show is what the RTL did."""

import json
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
import pywellen

from cosim import cli, last_run, suites
from cosim.bench import run_cases
from cosim.html.diagram import diagram
from cosim.html.page import load_reports, render
from cosim.jobs import Job
from cosim.junit import junit_report
from cosim.last_run import last_failed, remember
from cosim.manifest import load_manifest
from cosim.report import BenchResult, CaseResult, report_json
from cosim.script import unpack_bits
from golden.errors import UserError
from tests import toy
from tests.test_cosim_bench import FAULTS

PORTS = {port.name: port for port in load_manifest(toy.FOLDER).ports}
CASES = toy.cases(seed=5)


def faulty(folder, fault, cases=CASES):
    rtl = toy.copy(folder / "rtl", *FAULTS[fault][:2])
    return run_cases("toy", toy.PARAMETERS, cases, rtl=rtl, seed=5, level=3)


@pytest.fixture(scope="module")
def red(tmp_path_factory):
    return faulty(tmp_path_factory.mktemp("red"), "value")


def words(waves, name):
    """Value of a port in a cycle, as a waveform reader sees it before the edge."""
    signal = next(var for var in waves.all_vars() if var.full_name == f"TOP.{name}").signal
    return lambda cycle: signal.value_at(10 * cycle)


def drawn(signal, offset):
    return (signal.expected if signal.got is None else signal.got)[offset]


@pytest.mark.cosim
@pytest.mark.parametrize("fault", ["value", "ready", "plain", "early", "no reset"])
def test_diagram_shows_what_the_waveform_shows(tmp_path, fault):
    result = faulty(tmp_path, fault)
    case, mismatch = result.first_mismatch()
    timing = case.timing
    assert (timing.stream, timing.cycle) == (mismatch.stream, mismatch.cycle)
    signals = {signal.name: signal for signal in timing.signals}
    cycles = range(timing.first, timing.first + len(timing.signals[0].expected))
    assert mismatch.cycle in cycles
    assert len(cycles) <= 12
    waves = pywellen.Waveform(result.waves)
    for offset, cycle in enumerate(cycles):
        where = f"cycle {cycle}"
        if timing.stream == "count":
            assert drawn(signals["count"], offset) == str(words(waves, "count")(cycle)), where
            continue
        port = PORTS[timing.stream]
        valid = words(waves, port.valid)(cycle)
        assert drawn(signals["valid"], offset) == str(valid), where
        assert drawn(signals["ready"], offset) == str(words(waves, port.ready)(cycle)), where
        assert (drawn(signals["beat"], offset) != "") == bool(valid), where
        if timing.stream == "o" and valid:
            [name] = set(signals) - {"valid", "ready", "beat"}
            bits = f"{words(waves, port.payload)(cycle):018b}"
            value = unpack_bits(port, bits)["sum", int(name[4])]
            assert drawn(signals[name], offset) in ("?", str(value)), where
    differing = [
        cycles[at]
        for signal in timing.signals
        if signal.got is not None
        for at, (a, b) in enumerate(zip(signal.expected, signal.got, strict=True))
        if a != b
    ]
    assert min(differing) == mismatch.cycle


def test_diagram_is_one_picture(red):
    case = next(case for case in red.cases if case.mismatches)
    record = case.timing.record()
    assert json.loads(json.dumps(record)) == record
    picture = str(diagram(record))
    assert picture.count('class="wrong"') == 2  # one wrong sum, which waits for a cycle
    assert picture.count('class="mark"') == 1
    assert ElementTree.fromstring(picture).tag == "svg"


ATTRIBUTES = {
    "testsuites": {"name", "time", "tests", "failures", "errors"},
    "testsuite": {"name", "tests", "failures", "errors", "skipped", "time"},
    "testcase": {"name", "classname", "time"},
    "failure": {"type", "message"},
    "property": {"name", "value"},
}


def junit(results, **more):
    xml = junit_report(results, **{"suite": "blocks", "seed": 5, **more}).tostring()
    return ElementTree.fromstring(xml)


def test_diagram_ends_where_differences_were_no_longer_kept(tmp_path):
    for case in faulty(tmp_path, "early").cases:
        kept = case.mismatches[-1].cycle
        if case.mismatch_count > len(case.mismatches):
            last = case.timing.first + len(case.timing.signals[0].expected) - 1
            assert case.timing.cycle <= last < max(kept, case.timing.cycle + 1)


def test_junit_has_a_test_case_for_each_case(red):
    root = junit([red])
    for element in root.iter():  # what the schemas of Jenkins and GitLab know
        assert set(element.attrib) <= ATTRIBUTES.get(element.tag, set()), element.tag
    [suite] = root.findall("testsuite")
    properties = {p.get("name"): p.get("value") for p in suite.find("properties")}
    assert properties == {"seed": "5", "level": "3", "simulator": "verilator", "lanes": "2"}
    cases = suite.findall("testcase")
    assert [case.get("name") for case in cases] == [case.name for case in CASES]
    wrong = [case for case in red.cases if case.mismatches]
    failures = {case.get("name"): case.find("failure") for case in cases}
    assert {name for name, found in failures.items() if found is not None} == {
        case.name for case in wrong
    }
    assert (suite.get("tests"), suite.get("failures")) == (str(len(CASES)), str(len(wrong)))
    text = failures[wrong[0].name].text
    assert str(wrong[0].mismatches[0]) in text
    assert f"repeat: {wrong[0].repeat}" in text


def result_of(block, parameters, cycles=9, beats=1):
    case = CaseResult("a", block, 1, cycles, cycles, beats, 0, [], [], {}, "stepscale cosim")
    return BenchResult(block, parameters, [case], 1.0, 1.0)


def test_junit_tells_builds_of_one_block_apart_and_nothing_compared_from_green():
    results = [result_of("x", {"lanes": n, "w": 8}) for n in (1, 4)]
    names = [suite.get("name") for suite in junit(results).findall("testsuite")]
    assert names == ["blocks.x[lanes=1]", "blocks.x[lanes=4]"]
    for cycles, beats in ((0, 0), (9, 0)):
        [failure] = junit([result_of("x", {}, cycles, beats)]).iter("failure")
        assert failure.get("message") == "nothing was compared"


class Page(HTMLParser):
    """Checks that tags close in order, and that the page asks for nothing outside it."""

    def __init__(self, text):
        super().__init__()
        self.open: list[str] = []
        self.counts: dict[str, int] = {}
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert not {"src", "href"} & {name for name, _ in attrs}
        self.counts[tag] = self.counts.get(tag, 0) + 1
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.counts[tag] = self.counts.get(tag, 0) + 1

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


COVERAGE = {
    "seed": 1,
    "reached": True,
    "functional": {"x": {"bins": 4, "hit": 2, "excused": 1, "holes": ["swap <b>&"]}},
    "rtl": {"x": {"line": [9, 9], "branch": [1, 3], "toggle": [9999, 10000], "excused": 1,
                  "unread": 6, "holes": []}},
}  # fmt: skip
MUTATION = {
    "mutation": [
        {"block": "x", "parameters": {}, "seed": 1, "killed": 99, "equivalent": ["a"],
         "survivors": ["mutate -mode inv"], "score": 0.99}
    ]
}  # fmt: skip
PROOF = {"proof": "x.y", "claim": "c", "verdict": "proven", "engine": "z3", "seconds": 2.0,
         "detail": ""}  # fmt: skip
FORMAL = {"seconds": 2.0, "failed": 0, "proofs": [PROOF]}
SPEED = {"rows": 4, "cols": 4, "cycles": 10, "bare_cycles_per_second": 9.0,
         "level3_cycles_per_second": 8.0, "level2_cycles_per_second": 1.0, "level3_ratio": 0.9,
         "level2_ratio": 0.1}  # fmt: skip
BENCH = {"cosim": {"sizes": [SPEED]}}


def test_page_of_a_red_run(red):
    text = render([report_json([red], suite="blocks", seed=5)])
    assert Page(text).counts["svg"] == sum(bool(case.mismatches) for case in red.cases)
    assert '<p class="verdict bad">failed</p>' in text
    case, first = red.first_mismatch()
    assert str(first) in text
    assert case.repeat in text
    for missing in ("Coverage", "Mutation", "Proofs", "Speed"):
        assert missing not in text


def test_page_of_everything_else():
    green = report_json([result_of("x", {})], suite="layers", seed=1, by="layer")
    text = render([green, COVERAGE, MUTATION, FORMAL, BENCH])
    Page(text)
    assert '<p class="verdict good">passed</p>' in text
    for words in ("swap &lt;b&gt;&amp;", "66.7 %", "33.3 %", "99.9 %", "99.0 %", "0.90", "x.y"):
        assert words in text
    for red in ({**FORMAL, "failed": 1}, {**COVERAGE, "reached": False}):
        assert '<p class="verdict bad">failed</p>' in render([red])


def test_nothing_compared_is_not_green():
    text = render([report_json([result_of("x", {}, 0, 0)], suite="blocks", seed=1)])
    assert "nothing was compared" in text
    assert '<p class="verdict bad">failed</p>' in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"x\.json: cannot be read"),
        ("[]", r"x\.json: is no report of cosim, coverage, mutation, formal, bench"),
        ('{"other": 1}', "is no report of"),
    ],
)
def test_report_refuses(tmp_path, text, message):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UserError, match=message):
        load_reports([tmp_path / "x.json"])


def test_report_with_a_figure_missing_leaves_no_page(tmp_path, capsys):
    (tmp_path / "x.json").write_text(json.dumps({**FORMAL, "proofs": [{}]}))
    assert cli.run(["report", str(tmp_path / "x.json"), "--out", str(tmp_path / "x.html")]) == 2
    shown = capsys.readouterr().err
    assert "a figure is missing" in shown
    assert shown.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


@pytest.mark.cosim
def test_command_writes_all_three_whether_red_or_green(monkeypatch, tmp_path, capsys):
    broken = toy.copy(tmp_path / "rtl", *FAULTS["value"][:2])
    for rtl, status in ((toy.FOLDER, 0), (broken, 1)):
        jobs = [Job("toy", toy.PARAMETERS, CASES[:1], rtl, ["--block", "toy"], 5)]
        monkeypatch.setattr(suites, "block_jobs", lambda jobs=jobs, **_: jobs)
        out = tmp_path / f"out{status}"
        options = [f"--{kind}={out / kind}" for kind in ("json", "junit", "html")]
        assert cli.run(["cosim", "--level", "3", *options]) == status
        assert sorted(path.name for path in out.iterdir()) == ["html", "json", "junit"]
        assert len(list(ElementTree.parse(out / "junit").iter("failure"))) == status
        assert ("<svg" in (out / "html").read_text()) == bool(status)
        page = tmp_path / "page.html"
        assert cli.run(["report", str(out / "json"), "--out", str(page)]) == 0
        assert page.read_text() == (out / "html").read_text()
    capsys.readouterr()


def test_failed_cases_stay_until_they_run_again(monkeypatch, tmp_path):
    monkeypatch.setattr(last_run, "cache_folder", lambda: tmp_path)
    remember("blocks", [result_of("x", {}, 0), result_of("y", {}, 0)])
    assert last_failed("blocks") == {("x", "a"), ("y", "a")}
    remember("blocks", [result_of("x", {})])
    assert last_failed("blocks") == {("y", "a")}
    (tmp_path / "runs" / "failed-blocks.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        last_failed("blocks")
    remember("blocks", [result_of("y", {})])
    with pytest.raises(UserError, match="no case of suite blocks failed"):
        last_failed("blocks")
