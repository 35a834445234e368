"""Proves that a multiplier's ECP5 primitive computes what its behavioural Verilog does.

The emitted module has two bodies (``hdl.registered_multiplier``). Both are read, one with a model
of MULT18X18D below it, split into bits and compared register by register (``equiv_make``,
``equiv_induct``). The model is ours, after Lattice's description of the sysDSP: operands of 18
bits, signed where SIGNEDA and SIGNEDB say so, and a register with enable and synchronous reset
wherever ``REG_*_CLK`` is not ``NONE``. It is no proof about silicon.
"""

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cosim.yosys import run_yosys
from hdl.registered_multiplier import RegisteredMultiplier

__all__ = ["mult18x18d_model", "prove_primitives"]

_REGISTERS = {"a_register": "a_held", "b_register": "b_held"}  # the model's, the block's
_SETTINGS = ("REG_INPUTA_CLK", "REG_INPUTB_CLK", "REG_OUTPUT_CLK", "GSR", "RESETMODE")


def mult18x18d_model() -> str:
    """Return the Verilog of MULT18X18D on clock 0, but for pipeline register, C, shift chains."""
    a, b, c = ([f"{pin}{bit}" for bit in reversed(range(18))] for pin in "ABC")
    p = [f"P{bit}" for bit in reversed(range(36))]
    settings = ", ".join(f'parameter {name} = "NONE"' for name in _SETTINGS)
    controls = "CLK0, CE0, RST0, SIGNEDA, SIGNEDB, SOURCEA, SOURCEB"
    return f"""module MULT18X18D #({settings}) (
  input {", ".join([*a, *b, *c])},
  input {controls},
  output {", ".join(p)}
);
  wire [17:0] a = {{{", ".join(a)}}};
  wire [17:0] b = {{{", ".join(b)}}};
  reg [17:0] a_register, b_register;
  reg [35:0] p_register;
  wire [17:0] x = REG_INPUTA_CLK == "NONE" ? a : a_register;
  wire [17:0] y = REG_INPUTB_CLK == "NONE" ? b : b_register;
  wire signed [35:0] xs = {{{{18{{SIGNEDA & x[17]}}}}, x}};
  wire signed [35:0] ys = {{{{18{{SIGNEDB & y[17]}}}}, y}};
  wire [35:0] p = xs * ys;
  always @(posedge CLK0)
    if (RST0) begin
      a_register <= 0;
      b_register <= 0;
      p_register <= 0;
    end else if (CE0) begin
      a_register <= a;
      b_register <= b;
      p_register <= p;
    end
  assign {{{", ".join(p)}}} = REG_OUTPUT_CLK == "NONE" ? p : p_register;
endmodule
"""


def prove_primitives(files: Mapping[str, str]) -> int:
    """Return how many bits of registers and outputs were proven equal over all such modules.

    ``files``: emitted Verilog by name. ``RuntimeError`` if a bit is not equal, or there are none.
    """
    condition = f"`ifdef {RegisteredMultiplier.macro}"
    found = {name: text for name, text in files.items() if condition in text}
    if not found:
        raise RuntimeError("no module has a primitive")
    return sum(_prove(Path(name).stem, text) for name, text in found.items())


def _prove(module: str, text: str) -> int:
    flat = "proc; flatten; opt -full; wreduce; opt_clean; setattr -unset init w:*; splitnets"
    names = "; ".join(f"rename multiplier.{old} {new}" for old, new in _REGISTERS.items())
    with tempfile.TemporaryDirectory(prefix="stepscale-proof-") as name:
        folder = Path(name)
        (folder / "module.v").write_text(text)
        (folder / "model.v").write_text(mult18x18d_model())
        log = run_yosys(
            "\n".join(
                [
                    f"read_verilog module.v; hierarchy -check -top {module}; {flat}",
                    f"rename {module} gold; design -stash gold",
                    f"read_verilog -D{RegisteredMultiplier.macro}=1 module.v model.v",
                    f"hierarchy -check -top {module}; proc; flatten",
                    f"cd {module}; {names}; cd ..",
                    f"{flat}; rename {module} gate; design -stash gate",
                    "design -copy-from gold -as gold gold",
                    "design -copy-from gate -as gate gate",
                    "equiv_make gold gate equiv; hierarchy -top equiv; opt_clean",
                    "equiv_simple; equiv_induct -seq 2",
                    "tee -a yosys.log equiv_status -assert",
                ]
            ),
            folder,
        )
    proven = re.findall(r"Of those cells (\d+) are proven", log)
    if not proven or not int(proven[-1]):
        raise RuntimeError("yosys compared nothing")
    return int(proven[-1])
