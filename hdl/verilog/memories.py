"""Memories stay memories: an array, its first contents, one block for each port."""

from hdl.verilog.context import Context
from hdl.verilog.expressions import literal, span
from hdl.verilog.registers import edge
from hdl.verilog.rtlil import Cell
from hdl.verilog.signals import bits_of, part
from hdl.verilog.statements import Block, If, Line, lines_of, merge, wrapped

__all__ = ["memories"]


def memories(context: Context) -> list[str]:
    """Print all memories of the module."""
    lines: list[str] = []
    for cell in context.module.cells:
        if cell.kind == "$meminit_v2":
            lines += _init(context, cell)
    for cell in context.module.cells:
        if cell.kind == "$memwr_v2":
            lines += _write(context, cell)
    for cell in context.module.cells:
        if cell.kind == "$memrd_v2":
            lines += _read(context, cell)
    return lines


def _init(context: Context, cell: Cell) -> list[str]:
    memory = context.module.memories[str(cell.parameters["MEMID"])]
    name = context.names.wire[memory.name]
    bits = "".join(chunk.bits for chunk in reversed(cell.ports["DATA"]))
    words = [bits[index : index + memory.width] for index in range(0, len(bits), memory.width)]
    words.reverse()
    if len(words) > 4 and len(set(words)) == 1:
        return [
            f"  integer {name}_word;",
            *wrapped(
                f"initial for ({name}_word = 0; {name}_word < {len(words)}; "
                f"{name}_word = {name}_word + 1)",
                2,
            ),
            f"    {name}[{name}_word] = {literal(words[0])};",
        ]
    inner = [f"    {name}[{index}] = {literal(word)};" for index, word in enumerate(words)]
    return ["  initial begin", *inner, "  end"]


def _word(context: Context, cell: Cell) -> str:
    memory = context.module.memories[str(cell.parameters["MEMID"])]
    address = context.expressions.text(cell.ports["ADDR"]) if cell.ports["ADDR"] else "0"
    return f"{context.names.wire[memory.name]}[{address}]"


def _write(context: Context, cell: Cell) -> list[str]:
    word, enable, data = _word(context, cell), cell.ports["EN"], cell.ports["DATA"]
    block: Block = []
    bits = list(bits_of(enable))
    start = 0
    while start < len(bits):
        stop = start
        while stop < len(bits) and bits[stop] == bits[start]:
            stop += 1
        target = word + span(start, stop - start, len(bits))
        line = Line(f"{target} <= {context.expressions.text(part(data, start, stop - start))};")
        if bits[start].bits == "1":
            merge(block, [line])
        elif bits[start].bits != "0":
            merge(block, [If([(context.expressions.text((bits[start],)), [line])])])
        start = stop
    return ["  " + edge(context, cell) + " begin", *lines_of(block, 4), "  end"]


def _read(context: Context, cell: Cell) -> list[str]:
    output = cell.ports["DATA"][0].wire or ""
    name, word = context.names.wire[output], _word(context, cell)
    if not cell.parameters["CLK_ENABLE"]:
        return wrapped(f"assign {name} = {word};", 2)
    context.registers.add(output)
    block: Block = [Line(f"{name} <= {word};")]
    mask = str(cell.parameters["TRANSPARENCY_MASK"] or "0")
    transparent = int(mask) if mask.isdigit() else 0
    for write in context.module.cells:
        same = write.parameters.get("MEMID") == cell.parameters["MEMID"]
        if write.kind != "$memwr_v2" or not same:
            continue
        if transparent >> int(write.parameters["PORTID"]) & 1:
            block += _bypass(context, cell, write, name)
    enable = cell.ports["EN"]
    if enable[0].bits != "1":
        block = [If([(context.expressions.text(enable), block)])]
    return ["  " + edge(context, cell) + " begin", *lines_of(block, 4), "  end"]


def _bypass(context: Context, cell: Cell, write: Cell, name: str) -> Block:
    enable = write.ports["EN"]
    if len(set(bits_of(enable))) != 1:
        raise NotImplementedError("transparent read beside a write port with byte enables")
    read_at = context.expressions.operand(cell.ports["ADDR"])
    write_at = context.expressions.operand(write.ports["ADDR"])
    bit = context.expressions.operand(part(enable, 0, 1))
    condition = f"{bit} & ({read_at} == {write_at})"
    data = context.expressions.text(write.ports["DATA"])
    return [If([(condition, [Line(f"{name} <= {data};")])])]
