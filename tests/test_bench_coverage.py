"""Coverage of the benches: bins, Verilator's counters, exceptions, and the command."""

import json
from collections import Counter

import numpy as np
import pytest

from cosim.cli import run
from cosim.coverage.bins import BLOCKS, functional
from cosim.coverage.observed import longest_run
from cosim.coverage.rtl import Point, exceptions, read_counters, summarize, unread_bits
from cosim.coverage.run import PARAMETERS, SIZE
from cosim.suites import block_jobs
from golden.errors import UserError

MODULE = """module m(input wire a);
  wire [3:0] b;
  always @* begin
    if (a) x = 1;
    if (a) x = 1;
  end
  wire unused_bits = &{1'b0, b[3:2], c__d,
    e[7]};
endmodule
"""


def cases_of(block, seed=1):
    parameters = PARAMETERS.get(block, {})
    jobs = block_jobs(block=block, rows=SIZE, cols=SIZE, seed=seed, parameters=parameters)
    return [case for job in jobs for case in job.cases]


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("seed", [1, 2])  # bins must be met by what is made, not by what is drawn
def test_every_bin_is_hit_or_excused(block, seed):
    bins = functional(cases_of(block, seed))
    excused = set(exceptions(block)) & set(bins)
    assert {name for name, hit in bins.items() if not hit} == excused


def test_thinner_stimulus_leaves_holes():
    """Each of these cases was needed: the bins are not met by whatever is driven."""
    corners, *others = cases_of("requantizer")
    holes = [name for name, hit in functional(others).items() if not hit]
    assert "wide: one below the least" in holes
    holes = [name for name, hit in functional([corners]).items() if not hit]
    assert "reset with beats inside" in holes and "o: a beat waits for ready" in holes
    thinner = [case for case in cases_of("scale_file") if case.name not in ("stalls12", "stalls13")]
    holes = [name for name, hit in functional(thinner).items() if not hit]
    assert "row 7 of the resident groups" in holes


def test_longest_run():
    assert longest_run(np.array([], dtype=bool)) == 0
    assert longest_run(np.array([1, 1, 0, 1, 1, 1], dtype=bool)) == 3


def entry(kind, line, what, count, module="m"):
    fields = {"f": "/gone/m.v", "l": line, "page": f"v_{kind}/{module}", "o": what}
    return "C '" + "".join(f"\x01{k}\x02{v}" for k, v in fields.items()) + f"' {count}\n"


def test_counters_of_a_file(tmp_path):
    (tmp_path / "m.v").write_text(MODULE)
    file = tmp_path / "coverage.dat"
    file.write_text(
        "# SystemC::Coverage-3\n"
        + entry("toggle", 2, "b[0]:0->1", 3)
        + entry("toggle", 2, "b[0]:0->1", 2)  # another instance
        + entry("toggle", 2, "b[3]:0->1", 0)  # nothing reads it
        + entry("branch", 4, "if", 0)
        + entry("branch", 5, "if", 7)
        + entry("user", 5, "cover", 7)
    )
    points = Counter(
        {
            Point("toggle", "m", "b[0]:0->1"): 5,
            Point("branch", "m", "if if (a) x = 1;"): 0,
            Point("branch", "m", "if if (a) x = 1; (2)"): 7,
        }
    )
    assert read_counters(file, tmp_path) == (points, {Point("toggle", "m", "b[3]:0->1")})
    file.write_text("# nothing\n")
    with pytest.raises(UserError, match="holds no coverage counters"):
        read_counters(file, tmp_path)


def test_bits_that_nothing_reads():
    assert unread_bits(MODULE) == {"unused_bits", "b[2]", "b[3]", "c__d", "e[7]"}


def test_exceptions_excuse_holes_and_nothing_else(tmp_path):
    counts = {Point("toggle", "m", "a:0->1"): 0, Point("toggle", "m", "b:0->1"): 4}
    assert summarize(counts, {})["toggle"].share == 0.5
    found = summarize(counts, {"toggle m: a": "constant"})["toggle"]
    assert (found.share, found.excused, found.holes) == (1.0, 1, ())
    with pytest.raises(UserError, match="'toggle m: b' excuses nothing"):
        summarize(counts, {"toggle m: b": "it is covered"})
    file = tmp_path / "exceptions.toml"
    file.write_text('[[exception]]\nblock = "m"\npoint = "a"\n')
    with pytest.raises(UserError, match="an exception lacks reason"):
        exceptions("m", file)


def test_command(tmp_path, capsys):
    report = tmp_path / "coverage.json"
    assert run(["coverage", "--block", "operand", "--json", str(report)]) == 0
    record = json.loads(report.read_text())
    assert record["reached"] is True
    assert record["functional"]["operand"]["holes"] == []
    hit, total = record["rtl"]["operand"]["toggle"]
    assert hit == total > 500
    assert record["rtl"]["operand"]["unread"] == 0
    assert run(["coverage", "--block", "adder"]) == 2
    assert "block 'adder' has no bins; allowed: operand" in capsys.readouterr().err


@pytest.mark.long
def test_all_blocks_reach_the_goals():
    assert run(["coverage"]) == 0
