"""Block benches under Icarus Verilog, and what its x and z mean to the checker."""

import json
from pathlib import Path

import pytest

from cosim.bench import emit_verilog, run_cases
from cosim.checker import Checker
from cosim.cli import run
from cosim.doctor import checkup
from cosim.icarus import build_icarus, icarus_version
from cosim.script import CaseScript, OutputScript
from cosim.suites import block_jobs, block_names
from golden.errors import UserError

needs_icarus = pytest.mark.skipif(icarus_version() is None, reason="iverilog is not on PATH")


@needs_icarus
@pytest.mark.parametrize("block", block_names())
def test_bench_agrees(block: str, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    words = ["cosim", "--block", block, "--rows", "2", "--cols", "2", "--simulator", "icarus"]
    assert run([*words, "--json", str(report)]) == 0
    found = json.loads(report.read_text())
    assert found["mismatches"] == 0
    assert found["beats"] > 0


@needs_icarus
@pytest.mark.parametrize("value", ["x", "1"])
def test_fault_in_the_reset_is_red(value: str, tmp_path: Path) -> None:
    """Under reset the valid bit becomes x, which Verilator would read as 0, or 1."""
    job = block_jobs(block="operand", rows=2, cols=2, seed=1, parameters={})[0]
    rtl = emit_verilog("operand", job.parameters, tmp_path)
    text = (rtl / "operand.v").read_text()
    old = "o__valid <= 1'b0"
    assert old in text
    (rtl / "operand.v").write_text(text.replace(old, old[:-1] + value))
    result = run_cases(
        "operand", job.parameters, job.cases[:1], rtl=rtl, simulator="icarus", repeat=["x"]
    )
    assert result.mismatches > 0


def test_valid_of_x_is_a_mismatch() -> None:
    script = CaseScript("one", 1, {}, {"o": OutputScript([-1], [], "1", 0)})
    checker = Checker(script)
    checker.stream("o")(0, "x", "x")
    (difference,) = checker.stop(1).differences
    assert (difference.kind, difference.expected, difference.got) == ("valid", "0", "x")


def test_missing_icarus_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("cosim.icarus.shutil.which", lambda name: None)
    with pytest.raises(UserError, match=r"iverilog is not on PATH; .*apt-get install iverilog"):
        build_icarus(tmp_path)
    monkeypatch.setattr("cosim.doctor._build", lambda: None)
    found = {finding.name: finding for finding in checkup(lambda *args: None) if finding}
    assert not found["iverilog"].ok
    assert not found["iverilog"].needed
    assert "apt-get install iverilog" in found["iverilog"].cure


@pytest.mark.parametrize("extra", [["--level", "3"], ["--waves"], ["--suite", "demo"]])
def test_what_icarus_does_not_do_is_refused(extra: list[str]) -> None:
    assert run(["cosim", "--block", "operand", "--simulator", "icarus", *extra]) == 2
