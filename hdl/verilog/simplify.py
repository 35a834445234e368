"""Remove what nothing reads, and narrow sums and products to the bits that are read.

``(a + b)[W-1:0]`` depends on the low W bits of a and b only; the same holds for a difference, a
product, a left shift and all bitwise operators, so the width moves from the result to the operands.
"""

from hdl.verilog.rtlil import Assign, Cell, Module, Process, Switch, substitute
from hdl.verilog.signals import (
    Chunk,
    Signal,
    concat,
    constant,
    part,
    replaced,
    sign_extended,
    width_of,
    zero_extended,
)

__all__ = ["driver_output", "simplify"]

_MODULAR = {"$add", "$sub", "$mul", "$neg", "$not", "$and", "$or", "$xor", "$shl"}
_ROOTS = {"$check"}


def driver_output(cell: Cell) -> Signal | None:
    """Return what a cell of Amaranth's drives: ``Y``, ``Q`` or the data of a read port."""
    if cell.kind == "$memrd_v2":
        return cell.ports["DATA"]
    return cell.ports.get("Q") or cell.ports.get("Y")


def simplify(module: Module, outputs_of: dict[str, set[str]]) -> None:
    """Change ``module`` in place. ``outputs_of`` names the output ports of each module type."""
    _shift_by_constant(module)
    _propagate(module)
    _merge_equal(module)
    while True:
        used = _live(module, outputs_of)
        if not _narrow(module, used):
            break


def _shift_by_constant(module: Module) -> None:
    """A shift by a constant is wiring."""
    kept: list[Cell] = []
    for cell in module.cells:
        count = cell.ports.get("B", ())
        is_shift = cell.kind in ("$shl", "$shr", "$sshr", "$shift")
        if not is_shift or any(chunk.wire for chunk in count):
            kept.append(cell)
            continue
        value, output = cell.ports["A"], cell.ports["Y"]
        amount = int("".join(chunk.bits for chunk in reversed(count)) or "0", 2)
        width = width_of(output)
        extend = sign_extended if cell.parameters["A_SIGNED"] else zero_extended
        if cell.kind == "$shl":
            shifted = part(concat(constant(0, amount), extend(value, width)), 0, width)
        else:
            inside = extend(value, max(width, width_of(value)))
            fill = extend if cell.kind in ("$sshr", "$shift") else zero_extended
            shifted = part(inside, amount, width_of(inside))
            shifted = fill(shifted or part(inside, width_of(inside) - 1, 1), width)
        module.processes.append(Process([Assign(output, shifted)]))
    module.cells = kept


def _propagate(module: Module) -> None:
    """Replace unnamed wires that only rearrange others by what they carry."""
    named = {
        chunk.wire
        for left, right in module.connects
        for chunk in right
        if not module.wires[left[0].wire or ""].port
    }
    values: dict[str, Signal] = {}
    for process in module.processes:
        value = process.simple_value()
        if value is not None and process.target.startswith("$") and process.target not in named:
            values[process.target] = value
    if not values:
        return
    for name in list(values):  # a value may read another such wire
        for _ in range(len(values)):
            if not any(chunk.wire in values for chunk in values[name]):
                break
            values[name] = replaced(values[name], values)
    module.processes = [p for p in module.processes if p.target not in values]
    substitute(module, values)


def _merge_equal(module: Module) -> None:
    """Compute an unnamed expression once, however often the source repeats it."""
    named = {chunk.wire for _, right in module.connects for chunk in right}
    while True:
        values: dict[str, Signal] = {}
        first: dict[tuple[object, ...], Signal] = {}
        kept: list[Cell] = []
        for cell in module.cells:
            output = cell.ports.get("Y")
            if cell.is_instance or not output:
                kept.append(cell)
                continue
            inputs = tuple((port, s) for port, s in cell.ports.items() if port != "Y")
            key = (cell.kind, tuple(cell.parameters.items()), inputs)
            name = output[0].wire or ""
            if key in first and name.startswith("$") and name not in named:
                values[name] = first[key]
            else:
                first.setdefault(key, output)
                kept.append(cell)
        if not values:
            return
        module.cells = kept
        substitute(module, values)


def _process_reads(body: list[Assign | Switch]) -> list[Signal]:
    reads: list[Signal] = []
    for statement in body:
        if isinstance(statement, Assign):
            reads.append(statement.value)
        else:
            reads.append(statement.select)
            for _, inner in statement.cases:
                reads.extend(_process_reads(inner))
    return reads


def _live(module: Module, outputs_of: dict[str, set[str]]) -> dict[str, int]:
    """Drop everything that no output, instance or check depends on.

    Returns for each wire the mask of bits that the rest reads.
    """
    drivers: dict[str, list[Cell | Process]] = {}
    writes: dict[str, list[Cell]] = {}
    work: list[Signal] = []
    alive: set[int] = set()
    for cell in module.cells:
        if cell.is_instance:
            alive.add(id(cell))
            work += [s for port, s in cell.ports.items() if port not in outputs_of[cell.kind[1:]]]
        elif cell.kind in _ROOTS:
            alive.add(id(cell))
            work += cell.ports.values()
        elif cell.kind in ("$memwr_v2", "$meminit_v2"):
            writes.setdefault(str(cell.parameters["MEMID"]), []).append(cell)
        else:
            output = driver_output(cell)
            assert output and output[0].wire, cell.kind
            drivers.setdefault(output[0].wire, []).append(cell)
    for process in module.processes:
        drivers.setdefault(process.target, []).append(process)
    ports = {name for name, wire in module.wires.items() if wire.port == "output"}
    for left, right in module.connects:
        if left[0].wire in ports:
            work.append(right)
    work += [_whole(module, name) for name in ports]

    used: dict[str, int] = {}
    while work:
        for chunk in work.pop():
            if chunk.wire is None:
                continue
            mask = ((1 << chunk.width) - 1) << chunk.offset
            used[chunk.wire] = used.get(chunk.wire, 0) | mask
            for driver in drivers.get(chunk.wire, []):
                if id(driver) in alive:
                    continue
                alive.add(id(driver))
                if isinstance(driver, Process):
                    work += _process_reads(driver.body)
                    continue
                work += [s for p, s in driver.ports.items() if p not in ("Y", "Q", "DATA")]
                if driver.kind == "$memrd_v2":
                    for write in writes.pop(str(driver.parameters["MEMID"]), []):
                        alive.add(id(write))
                        work += write.ports.values()
    module.cells = [cell for cell in module.cells if id(cell) in alive]
    module.processes = [process for process in module.processes if id(process) in alive]
    kept = {str(c.parameters["MEMID"]) for c in module.cells if c.kind == "$memrd_v2"}
    module.memories = {name: m for name, m in module.memories.items() if name in kept}
    return used


def _whole(module: Module, name: str) -> Signal:
    return (Chunk(name, 0, module.wires[name].width),)


def _narrow(module: Module, used: dict[str, int]) -> bool:
    changed = False
    for cell in module.cells:
        if cell.kind not in _MODULAR and cell.kind != "$mux":
            continue
        output = cell.ports["Y"]
        wire = module.wires[output[0].wire or ""]
        width = max(1, used.get(wire.name, 0).bit_length())
        if width < wire.width and not wire.port:
            wire.width = width
            cell.ports["Y"] = part(output, 0, width)
            changed = True
        for port in ("A", "B"):
            shift_count = cell.kind == "$shl" and port == "B"
            if port in cell.ports and width_of(cell.ports[port]) > wire.width and not shift_count:
                cell.ports[port] = part(cell.ports[port], 0, wire.width)
                changed = True
    return changed
