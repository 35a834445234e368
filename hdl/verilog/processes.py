"""Processes as statements: switches become ``if`` chains or ``case``."""

from collections.abc import Sequence

from hdl.verilog.context import Context
from hdl.verilog.expressions import literal
from hdl.verilog.rtlil import Assign, Switch
from hdl.verilog.statements import Block, Case, If, Line, lines_of, wrapped

__all__ = ["block_of", "combinational"]


def combinational(context: Context) -> list[str]:
    """Print the processes that no register has taken, and the outputs that repeat a wire."""
    lines: list[str] = []
    for process in context.module.processes:
        if process.target in context.folded:
            continue
        value = process.simple_value()
        if value is not None:
            name = context.names.wire[process.target]
            lines += wrapped(f"assign {name} = {context.right_side(value)};", 2)
        else:
            context.registers.add(process.target)
            block = block_of(context, process.body, None)
            lines += ["  always @* begin", *lines_of(block, 4), "  end"]
    for left, right in context.module.connects:
        if context.is_output(left):
            text = f"assign {context.target(left)} = {context.right_side(right)};"
            lines += wrapped(text, 2)
    return lines


def block_of(context: Context, body: Sequence[Assign | Switch], register: str | None) -> Block:
    """Statements of ``body``; for a register its name stands in place of the target."""
    operator = "<=" if register else "="
    block: Block = []
    for statement in body:
        if isinstance(statement, Assign):
            target = context.target(statement.target, register)
            block.append(Line(f"{target} {operator} {context.right_side(statement.value)};"))
        elif not statement.select:
            for _, inner in statement.cases:
                block += block_of(context, inner, register)
        else:
            block += _switch(context, statement, register)
    return block


def _switch(context: Context, switch: Switch, register: str | None) -> Block:
    branches = [(patterns, block_of(context, inner, register)) for patterns, inner in switch.cases]
    while branches and not branches[-1][1]:
        branches.pop()
    if not branches:
        return []
    if not branches[0][0]:
        return branches[0][1]
    flat = [pattern for patterns, _ in branches for pattern in patterns]
    is_chain = all(len(patterns) <= 1 for patterns, _ in branches) and all(
        len(pattern) - pattern.count("-") == 1 for pattern in flat
    )
    if is_chain or _overlap(flat) or len(flat) == 1:
        chain: list[tuple[str, Block]] = []
        for patterns, block in branches:
            terms = [context.expressions.pattern(switch.select, p) for p in patterns]
            terms = [f"({t})" if len(terms) > 1 and " " in t else t for t in terms]
            chain.append((" | ".join(terms), block))
        if {"0", "1"} == set(flat) and len(flat) == 2:
            chain[1] = ("", chain[1][1])
        return [If(chain)]
    labels = [
        (
            ", ".join(
                literal(p) if "-" not in p else f"{len(p)}'b{p.replace('-', '?')}" for p in patterns
            ),
            block,
        )
        for patterns, block in branches
    ]
    if labels[-1][0]:
        labels.append(("", []))
    wild = any("-" in pattern for pattern in flat)
    select = context.expressions.text(switch.select)
    return [Case("casez" if wild else "case", select, labels)]


def _overlap(patterns: Sequence[str]) -> bool:
    """Whether two patterns match the same value."""
    if all("-" not in pattern for pattern in patterns):
        return len(set(patterns)) != len(patterns)
    return any(
        all(a in ("-", b) or b == "-" for a, b in zip(left, right, strict=True))
        for index, left in enumerate(patterns)
        for right in patterns[index + 1 :]
    )
