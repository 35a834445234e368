"""Registers, those of one clock and reset in one block, and the assertions of the source."""

from hdl.verilog.context import Context
from hdl.verilog.expressions import literal
from hdl.verilog.processes import block_of
from hdl.verilog.rtlil import Assign, Cell, Switch
from hdl.verilog.signals import bits_of, width_of
from hdl.verilog.statements import Block, If, Line, lines_of, merge, wrapped

__all__ = ["checks", "clocked", "edge"]


def edge(context: Context, cell: Cell, port: str = "CLK", key: str = "CLK_POLARITY") -> str:
    """Return ``always @(posedge clk)`` for the clock of ``cell``."""
    word = "posedge" if cell.parameters.get(key, 1) else "negedge"
    return f"always @({word} {context.expressions.text(cell.ports[port])})"


def clocked(context: Context) -> list[str]:
    """Print the registers, those of one clock and reset in one block."""
    groups: dict[tuple[str, str], tuple[Block, Block]] = {}
    initial: list[str] = []
    for cell in context.module.cells:
        if cell.kind != "$dff":
            continue
        q = cell.ports["Q"][0].wire or ""
        context.registers.add(q)
        init = context.module.wires[q].init
        if init is not None:
            initial.append(f"{context.names.wire[q]} = {literal(init)};")
        body, reset = _register_body(context, cell)
        key = (edge(context, cell), reset[0] if reset else "")
        resets, block = groups.setdefault(key, ([], []))
        if reset:
            resets.append(Line(f"{context.names.wire[q]} <= {literal(reset[1])};"))
        merge(block, body)
    lines: list[str] = []
    if initial:
        lines += ["  initial begin", *("    " + line for line in initial), "  end"]
    for (event, reset_name), (resets, block) in groups.items():
        lines.append("")
        inner: Block = [If([(reset_name, resets), ("", block)])] if reset_name else block
        lines += [f"  {event} begin", *lines_of(inner, 4), "  end"]
    return [line for index, line in enumerate(lines) if line or index]


def _register_body(context: Context, cell: Cell) -> tuple[Block, tuple[str, str] | None]:
    """Return the statements without the reset, and the reset's (port, value)."""
    q = cell.ports["Q"][0].wire or ""
    data = cell.ports["D"]
    source = data[0].wire if len(data) == 1 else None
    process = context.processes.get(source or "")
    whole = process and data[0].width == context.module.wires[source or ""].width
    only = source and context.reads[source] == 1 and source in context.names.auto
    if not (process and whole and only and source):
        return [Line(f"{context.names.wire[q]} <= {context.right_side(data)};")], None
    context.folded.add(source)
    body = list(process.body)
    reset = None
    last = body[-1]
    if isinstance(last, Switch) and width_of(last.select) == 1 and len(last.cases) == 1:
        patterns, inner = last.cases[0]
        is_constant = len(inner) == 1 and isinstance(inner[0], Assign)
        if patterns == ["1"] and is_constant and last.select[0].wire == "\\rst":
            assign = inner[0]
            assert isinstance(assign, Assign)
            constant = all(chunk.wire is None for chunk in assign.value)
            if constant and width_of(assign.target) == context.module.wires[source].width:
                reset = ("rst", "".join(c.bits for c in reversed(assign.value)))
                context.expressions.text(last.select)  # counts as read
                body.pop()
    first = body[0]
    if isinstance(first, Assign):
        hold = tuple(bits_of(first.value)) == tuple(bits_of(cell.ports["Q"]))
        if hold:
            body.pop(0)
    return block_of(context, body, q), reset


def checks(context: Context) -> list[str]:
    """Assertions of the source: a simulation stops where one fails."""
    lines: list[str] = []
    has_reset = "\\rst" in context.module.wires
    for cell in context.module.cells:
        if cell.kind != "$check" or cell.parameters["FLAVOR"] != "assert":
            continue
        terms = [context.expressions.negated(cell.ports["A"])]
        if cell.ports["EN"][0].bits != "1":
            terms.insert(0, context.expressions.operand(cell.ports["EN"]))
        if has_reset:
            terms.insert(0, "~rst")
            context.expressions.read["\\rst"] = 1
        event = edge(context, cell, "TRG", "TRG_POLARITY")
        lines += wrapped(f"{event} if ({' & '.join(terms)}) begin", 2)
        lines += [
            '    $display("%m: assertion failed at %0t", $time);',
            "    $stop;",
            "  end",
        ]
    return ["`ifndef SYNTHESIS", *lines, "`endif"] if lines else []
