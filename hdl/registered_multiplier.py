"""A signed multiplier with registers at both ends; on an ECP5 those of its MULT18X18D."""

from typing import ClassVar

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.checks import check_size

__all__ = ["RegisteredMultiplier"]

_WIDTH = 18  # of an operand of the MULT18X18D


class RegisteredMultiplier(wiring.Component):
    """``product = a * b``, exact, two enabled clock edges later.

    yosys infers a MULT18X18D without its registers: its 3.9 ns then stand between two routes.
    This block is the same product with the input and output registers inside the multiplier,
    which costs no register of the fabric. They have no reset: who needs one carries a valid bit.

    The behavioural text is what everything reads; ``primitive`` is the text that the emitter
    adds for who defines ``macro`` when reading the Verilog, with what ``primitive_inputs`` finds
    in the behavioural one.

    Parameters
    ----------
    a_width, b_width : int
        Bits of the operands, signed, 1..18 each.

    Members
    -------
    enable : all registers take their next value at this clock edge
    a, b : signed operands
    product : a_width + b_width bits, signed

    Timing
    ------
    Latency 2 enabled cycles (operands, product), one product a cycle.
    """

    macro = "STEPSCALE_ECP5"
    primitive_inputs: ClassVar = {
        "enable": r"if \({}\) begin",
        "a": "a_held <= {};",
        "b": "b_held <= {};",
    }

    def __init__(self, *, a_width=8, b_width=12):
        self.a_width = check_size("a_width", a_width, 1, _WIDTH)
        self.b_width = check_size("b_width", b_width, 1, _WIDTH)
        super().__init__(
            {
                "enable": In(1),
                "a": In(signed(a_width)),
                "b": In(signed(b_width)),
                "product": Out(signed(a_width + b_width)),
            }
        )

    @property
    def latency(self):
        """Registers between the operands and ``product``."""
        return 2

    def elaborate(self, platform):
        m = Module()
        a_held = Signal(signed(self.a_width), reset_less=True)
        b_held = Signal(signed(self.b_width), reset_less=True)
        # named like its port, which the emitted module then calls so
        held = Signal(signed(self.a_width + self.b_width), reset_less=True, name="product")
        with m.If(self.enable):
            m.d.sync += [a_held.eq(self.a), b_held.eq(self.b), held.eq(a_held * b_held)]
        m.d.comb += self.product.eq(held)
        return m

    def primitive(self, *, enable, a, b):
        """Return the Verilog lines of the module's body on an ECP5.

        ``enable``, ``a``, ``b``: Verilog expressions of the inputs. Operands are sign-extended to
        18 bits. Clock 0 and clock enable 0 serve all registers; the register between partial
        products stays unused. Pins are bits of unsigned wires: if signed ones meet a cell that
        yosys learns later, it reads a mapped module anew.
        """
        width = self.a_width + self.b_width
        settings = [f'.REG_{name}_CLK("CLK0")' for name in ("INPUTA", "INPUTB", "OUTPUT")]
        settings += ['.GSR("DISABLED")', '.RESETMODE("SYNC")']
        pins = [".CLK0(clk)", f".CE0({enable})", ".RST0(1'b0)", ".SIGNEDA(1'b1)", ".SIGNEDB(1'b1)"]
        pins += [".SOURCEA(1'b0)", ".SOURCEB(1'b0)"]
        for pin in "AB":
            pins += [f".{pin}{bit}({pin.lower()}_wide[{bit}])" for bit in range(_WIDTH)]
        pins += [f".C{bit}(1'b0)" for bit in range(_WIDTH)]
        pins += [f".P{bit}(whole[{bit}])" for bit in range(2 * _WIDTH)]
        return [
            f"  wire [{self.a_width - 1}:0] a_operand = {a};",
            f"  wire [{self.b_width - 1}:0] b_operand = {b};",
            f"  wire [{_WIDTH - 1}:0] a_wide = {_extended('a_operand', self.a_width)};",
            f"  wire [{_WIDTH - 1}:0] b_wide = {_extended('b_operand', self.b_width)};",
            f"  wire [{2 * _WIDTH - 1}:0] whole;",
            f"  assign product = whole[{width - 1}:0];",
            "  MULT18X18D #(",
            *_rows(settings),
            "  ) multiplier (",
            *_rows(pins),
            "  );",
            f"  wire unused_bits = &{{1'b0, rst, whole[{2 * _WIDTH - 1}:{width - 1}]}};",
        ]


def _extended(name, width):
    """``name`` of ``width`` bits, signed, as 18 bits."""
    return f"{{{{{_WIDTH - width}{{{name}[{width - 1}]}}}}, {name}}}" if width < _WIDTH else name


def _rows(items, columns=96):
    """Join ``items`` by commas, as many a line as fit."""
    lines = [""]
    for index, item in enumerate(items):
        text = item + ("," if index + 1 < len(items) else "")
        if lines[-1] and len(lines[-1]) + 1 + len(text) + 4 > columns:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + text
    return [f"    {line}" for line in lines]
