"""Proofs of the RTL: green as it stands, red for a fault planted in a copy of it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from amaranth.hdl import Signal

import hdl
from cosim.cli import run as command_line
from cosim.formal.catalogue import PROOFS
from cosim.formal.harness import Harness
from cosim.formal.proof import Proof, run
from tests.faults.plant import plant

QUICK = (
    "operand.passes",
    "operand.reset",
    "requantizer.counter",
    "requantizer.sum_of_products",
    "skid_buffer.stream",
    "residual.stream",
    "sampler.stream",
    "group_norm.stream",
    "axi_reader.bus",
    "axi_writer.bus",
    "registers.bus",
)


@dataclass(frozen=True)
class Fault:
    """``old`` becomes ``new`` in ``hdl/file`` and turns ``proof`` red."""

    proof: str
    file: str
    old: str
    new: str

    @property
    def name(self):
        """What a message calls it."""
        return self.proof


FAULTS = (
    Fault("operand.stream", "operand.py", "self.i.ready.eq(enable)", "self.i.ready.eq(1)"),
    Fault("operand.passes", "operand.py", "code[4:12]", "code[3:11]"),
    Fault(
        "mac_array.sums",
        "mac_array.py",
        "valid, side = self.i.valid & self.i.ready, beat.side",
        "valid, side = self.i.valid, beat.side",
    ),
    Fault(
        "mac_array.sums_by_product_shift",
        "mac_array.py",
        "self.i_weights.ready.eq(~full | swap)",
        "self.i_weights.ready.eq(1)",
    ),
    Fault("accumulator.tiles", "accumulator.py", "Mux(same[2], 3, 0)", "Mux(same[2], 0, 0)"),
    Fault(
        "requantizer.stream",
        "requantizer.py",
        "enable.eq(self.o.ready | ~self.o.valid)",
        "enable.eq(1)",
    ),
    Fault(
        "requantizer.counter", "requantizer.py", "total[:-1] | total[-1]", "total[:-1] & ~total[-1]"
    ),
    Fault(
        "requantizer.products",
        "requantizer_lane.py",
        "acc[_LOW_WIDTH:].as_signed()",
        "acc[_LOW_WIDTH:]",
    ),
    Fault(
        "requantizer.value",
        "requantizer_lane.py",
        "over = named(over | lost,",
        "over = named(lost | Const(0, 1),",
    ),
    Fault(
        "requantizer.value_of_edge",
        "requantizer_lane.py",
        "Cat(Const(1, 1), bias if",
        "Cat(~negative, bias if",
    ),
    Fault(
        "silu_quantizer.stream",
        "silu_quantizer.py",
        "valid.eq(Cat(self.i.valid, valid[:-1]))",
        "valid.eq(Cat(self.i.valid & ~valid[0], valid[:-1]))",
    ),
    Fault(
        "silu_quantizer.curve", "silu_lane.py", "half - intercept for", "half - 1 - intercept for"
    ),
    Fault("silu_quantizer.curve_of_16", "silu_lane.py", "knot <= index for", "knot < index for"),
    Fault("silu_quantizer.value", "silu_lane.py", "over | low[7:-1].any()", "low[7:-1].any()"),
    Fault("silu_quantizer.error", "silu_quantizer.py", "(beat.k - 1)[:2]", "(beat.k - 2)[:2]"),
    Fault(
        "scale_file.constants",
        "scale_file.py",
        "takes[bank].eq(is_open[bank] & ~self.bank_busy[bank])",
        "takes[bank].eq(is_open[bank])",
    ),
    Fault(
        "scale_file.lookup",
        "tile_lookup.py",
        "front_moves.eq(~checked_valid | passes)",
        "front_moves.eq(~checked_valid | back_moves)",
    ),
    Fault(
        "skid_buffer.stream",
        "skid_buffer.py",
        "m.d.sync += [tail.eq(self.i.payload), tail_valid.eq(1)]",
        "m.d.sync += tail.eq(self.i.payload)",
    ),
    Fault("residual.stream", "residual.py", "Mux(total[-1], -(1", "Mux(total[-2], -(1"),
    Fault(
        "sampler.stream",
        "sampler.py",
        "self.i_row.ready.eq(~valid.any())",
        "self.i_row.ready.eq(~valid[-1])",
    ),
    Fault(
        "group_norm.stream",
        "group_norm.py",
        "waits.eq(due & (~full | leaving))",
        "waits.eq(due & ~full)",
    ),
    Fault(
        "residual.reset",
        "residual.py",
        "        valid = Signal()",
        "        valid = Signal(reset_less=True)",
    ),
    Fault(
        "sampler.reset",
        "sampler.py",
        "valid = Signal(self.latency)",
        "valid = Signal(self.latency, reset_less=True)",
    ),
    Fault(
        "group_norm.reset",
        "group_norm.py",
        "        full = Signal()",
        "        full = Signal(reset_less=True)",
    ),
    Fault(
        "softmax.reset",
        "softmax.py",
        "held = Signal(range(self.ahead + 1))",
        "held = Signal(range(self.ahead + 1), reset_less=True)",
    ),
    Fault("operand.reset", "operand.py", "self.o.valid.eq(self.i.valid), ", ""),
    Fault(
        "mac_array.reset",
        "mac_array.py",
        "loaded = Signal(range(self.rows + 1))",
        "loaded = Signal(range(self.rows + 1), reset_less=True)",
    ),
    Fault(
        "accumulator.reset",
        "accumulator.py",
        "        drain_bank = Signal()",
        "        drain_bank = Signal(reset_less=True)",
    ),
    Fault(
        "requantizer.reset",
        "requantizer.py",
        "valid = Signal(latency)",
        "valid = Signal(latency, reset_less=True)",
    ),
    Fault(
        "silu_quantizer.reset",
        "silu_quantizer.py",
        "valid = Signal(self.latency)",
        "valid = Signal(self.latency, reset_less=True)",
    ),
    Fault(
        "scale_file.reset",
        "scale_file.py",
        'committed = Signal(name=f"committed_{bank}")',
        'committed = Signal(name=f"committed_{bank}", reset_less=True)',
    ),
    Fault(
        "datapath.edge",
        "datapath.py",
        "skid.o.ready.eq(requantizer.i.ready)",
        "skid.o.ready.eq(1)",
    ),
    Fault(
        "datapath.activation", "datapath.py", "skid.o.ready.eq(silu.i.ready)", "skid.o.ready.eq(1)"
    ),
    Fault(
        "datapath.front", "datapath.py", "skid.o.ready.eq(operand.i.ready)", "skid.o.ready.eq(1)"
    ),
    Fault("datapath.back", "datapath.py", "held.eq(constants.payload.side)", "held.eq(acc)"),
    Fault(
        "axi_reader.bus",
        "axi_reader.py",
        "limit.eq(Mux(to_page < BURST, to_page, BURST))",
        "limit.eq(BURST)",
    ),
    Fault(
        "axi_writer.bus",
        "axi_writer.py",
        "self.m_axi_wlast.eq(sent + 1 == length)",
        "self.m_axi_wlast.eq(sent + 2 == length)",
    ),
    Fault(
        "registers.bus",
        "registers.py",
        "acts.eq(has_address & has_value & ~self.s_axi_bvalid)",
        "acts.eq(has_address & has_value)",
    ),
    Fault("datapath.reset", "scale_file.py", "known = Signal()", "known = Signal(reset_less=True)"),
)


def proof_of(title):
    return next(proof for proof in PROOFS if proof.title == title)


def prove(folder, title):
    """Run one proof with the ``hdl`` of ``folder``; return its record and the exit status."""
    root = Path(hdl.__file__).parent.parent
    figures = folder / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "cosim.cli", "formal", "--proof", title, "--json", str(figures)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{root}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert figures.is_file(), done.stdout + done.stderr
    return json.loads(figures.read_text())["proofs"][0], done.returncode


def faults():
    """Faults of quick proofs belong to every run, the others to the long one."""
    for fault in FAULTS:
        marks = [] if fault.proof in QUICK else [pytest.mark.long]
        yield pytest.param(fault, id=fault.proof, marks=marks)


def test_every_proof_has_a_fault_but_the_one_without_rtl():
    titles = [proof.title for proof in PROOFS]
    assert len(set(titles)) == len(titles)
    assert set(titles) - {fault.proof for fault in FAULTS} == {"requantizer.sum_of_products"}


@pytest.mark.parametrize("title", QUICK)
def test_quick_proof_is_green(title):
    result = run(proof_of(title))
    assert result.verdict == "proven", result.detail


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.proof)
def test_text_of_fault_occurs_once(fault, tmp_path):
    plant(tmp_path, fault)


@pytest.mark.parametrize("fault", list(faults()))
def test_fault_turns_its_proof_red(fault, tmp_path):
    record, status = prove(plant(tmp_path, fault), fault.proof)
    assert (record["verdict"], status) == ("failed", 1), record
    assert record["detail"]


def counter(limit, reachable=3):
    """Counts the cycles in which ``up`` is set; claims that it stays below ``limit``."""
    h = Harness()
    up = h.free(1, "up")
    count = Signal(4, name="count")
    h.m.d.sync += count.eq((count + up)[:4])
    h.check("below", count < limit)
    h.cover("reached", count == reachable)
    return h


def test_a_bound_that_is_too_short_does_not_prove():
    result = run(Proof("toy", "counter", "below 9", lambda: counter(9), bmc=5, cover=5))
    assert result.verdict == "failed"
    assert "induction" in result.detail and "below" in result.detail


def test_a_counterexample_names_the_property_and_keeps_a_trace():
    result = run(Proof("toy", "counter", "below 2", lambda: counter(2), bmc=5, cover=5))
    assert result.verdict == "failed"
    assert "bmc: below" in result.detail
    assert result.answers[-1].trace is not None and result.answers[-1].trace.is_file()


def test_a_proof_of_nothing_fails():
    def harness():
        h = counter(16, reachable=5)
        h.assume("never", h.inputs[0] == 0)
        return h

    result = run(Proof("toy", "counter", "nothing", harness, bmc=3, cover=12))
    assert (result.verdict, result.answers[-1].detail) == ("failed", "reached")


def test_contradictory_assumptions_fail():
    def harness():
        h = counter(16)
        h.assume("up", h.inputs[0])
        h.assume("down", ~h.inputs[0])
        return h

    result = run(Proof("toy", "counter", "nothing", harness, bmc=3, cover=12))
    assert (result.verdict, result.detail) == ("failed", "bmc: contradictory assumptions")


def test_no_register_starts_at_its_initial_value_but_by_the_reset():
    def harness():
        h = Harness()
        count = Signal(4, name="count", init=5, reset_less=True)
        h.m.d.sync += count.eq(count)
        h.check("five", count == 5)
        h.cover("seven", count == 7)
        return h

    assert run(Proof("toy", "init", "init holds", harness, bmc=3, cover=3)).verdict == "failed"


def test_unknown_names_are_refused(capsys):
    assert command_line(["formal", "--proof", "operand.speed"]) == 2
    assert command_line(["formal", "--block", "fpga"]) == 2
    assert "--block must be one of" in capsys.readouterr().err


def test_command_writes_the_figures(tmp_path, capsys):
    path = tmp_path / "figures.json"
    assert command_line(["formal", "--proof", "skid_buffer.stream", "--json", str(path)]) == 0
    figures = json.loads(path.read_text())
    assert figures["failed"] == 0
    assert figures["proofs"][0]["verdict"] == "proven"
    assert "1 of 1 shown" in capsys.readouterr().out


@pytest.mark.long
@pytest.mark.parametrize("title", [p.title for p in PROOFS if p.title not in QUICK])
def test_proof_is_green(title):
    result = run(proof_of(title))
    assert result.holds, result.detail
