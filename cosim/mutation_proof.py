"""Proofs that a mutant is no fault: nobody can see it after a reset.

Two, the second only if the first fails. First, with registers, products and memories cut open
(``cosim.mutation_cut``): the reset takes any state to where it takes it without the mutant; and
from then on, by induction over a few cycles of the block without the mutant, both would do the same
next. Second, both whole blocks side by side over some cycles after a reset: the outputs are the
same, where a payload counts only while it is valid.
"""

from pathlib import Path

from cosim.manifest import Manifest, load_manifest
from cosim.mutation_cut import COPIES, cut, joined, payload_shown
from cosim.yosys import run_yosys

__all__ = ["is_equivalent"]

SECONDS = (180, 8)  # of a question of each proof
STEPS = (4, 12)

_MUTATE = """
read_rtlil base.il
{mutation}
write_rtlil mutated.il
"""
_JOIN = """
read_rtlil gold.il
read_rtlil gate.il
read_verilog top.v
hierarchy -top top
proc
flatten
opt -full
opt_merge -share_all
opt -full
opt_clean -purge
sat -verify -seq 1 -set-at 1 rst 1 -prove next_state 0 top
write_rtlil joined.il
"""
_INDUCTION = """
read_rtlil joined.il
delete -output top/next_state top/{other}
opt_clean -purge
sat -verify -tempinduct -seq 1 -set-at 1 rst 1 -prove {goal} 0 -maxsteps {steps} top
"""
_OVER_CYCLES = """
read_rtlil base.il
rename {top} gold
read_rtlil mutated.il
rename {top} gate
read_verilog wrapper.v
setattr -unset init */w:*
miter -equiv -flatten -make_outputs shown_gold shown_gate miter
memory_map
hierarchy -top miter
opt -full
opt_merge -share_all
opt -full
opt_clean
sat -verify -tempinduct -prove trigger 0 -set-at 1 in_rst 1 -seq 2 -maxsteps {steps} miter
"""


def is_equivalent(folder: Path, mutation: str) -> bool:
    """Whether yosys proves it of the command ``mutation`` on the netlist ``folder/base.il``.

    ``folder/rtl`` holds the block's manifest; files of the proof are left in ``folder``.
    """
    manifest = load_manifest(folder / "rtl")
    run_yosys(_MUTATE.format(mutation=mutation), folder)
    return _one_step(folder, manifest) or _over_cycles(folder, manifest)


def _holds(script: str, folder: Path, seconds: float) -> bool:
    """Whether ``script`` ends in time with its proof; ``RuntimeError`` if it breaks off."""
    try:
        run_yosys(script, folder, timeout_seconds=seconds)
    except RuntimeError as error:
        if not any(text in str(error) for text in ("proof did fail", "did not end within")):
            raise
        return False
    return True


def _one_step(folder: Path, manifest: Manifest) -> bool:
    gold, cuts = cut((folder / "base.il").read_text())
    gate, _ = cut((folder / "mutated.il").read_text(), cuts)
    for copy, text in zip(COPIES, (gold, gate), strict=True):
        renamed = text.replace(f"module \\{manifest.top}\n", f"module \\{copy}\n")
        (folder / f"{copy}.il").write_text(renamed)
    (folder / "top.v").write_text(joined(manifest, cuts))
    return _holds(_JOIN, folder, SECONDS[0]) and any(
        _holds(_INDUCTION.format(goal=goal, other=other, steps=STEPS[0]), folder, SECONDS[0])
        for goal, other in (("lenient", "strict"), ("strict", "lenient"))
    )


def _over_cycles(folder: Path, manifest: Manifest) -> bool:
    (folder / "wrapper.v").write_text("\n".join(_shown(manifest, copy) for copy in COPIES))
    return _holds(_OVER_CYCLES.format(top=manifest.top, steps=STEPS[1]), folder, SECONDS[1])


def _shown(manifest: Manifest, copy: str) -> str:
    """Verilog of a module ``shown_<copy>`` round ``copy`` whose payloads are 0 while not valid."""
    ports, pins, assigns = ["input clk", "input rst"], [".clk(clk)", ".rst(rst)"], []
    for net, width, driven, valid in payload_shown(manifest):
        ports.append(f"{'input' if driven else 'output'} [{width - 1}:0] {net}")
        pins.append(f".{net}({net}__inside)" if valid else f".{net}({net})")
        if valid:
            assigns.append(f"wire [{width - 1}:0] {net}__inside;")
            assigns.append(f"assign {net} = {{{width}{{{valid}}}}} & {net}__inside;")
    instance = f"{copy} inner({', '.join(pins)});"
    return "\n".join(
        [f"module shown_{copy}({', '.join(ports)});", *assigns, instance, "endmodule", ""]
    )
