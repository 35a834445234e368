"""The registers as ``hdl/data/registers.rdl`` describes them: SystemRDL, compiled once for a size.

Everything that names an address, a field or a reset value takes it from here: the RTL's decode,
the programs of the co-simulation, and what a package carries.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from systemrdl import RDLCompiler
from systemrdl.node import AddrmapNode, FieldNode, RegNode

__all__ = ["ADDRESS_BITS", "PARAMETERS", "SOURCE", "Field", "Register", "addresses", "compiled"]

SOURCE = Path(__file__).parent / "data" / "registers.rdl"
ADDRESS_BITS = 8
PARAMETERS = ("size", "stream_words", "stream_banks", "code_words", "sum_chunks", "depth",
              "channel_tiles", "axi_bytes", "outstanding", "segments")  # fmt: skip
"""Parameters of the accelerator that the host can read; the description has them in capitals."""


@dataclass(frozen=True)
class Field:
    """Bits ``low`` .. ``low + width - 1``; ``access``: r, w, rw, or w1c (written 1 clears)."""

    name: str
    low: int
    width: int
    access: str
    reset: int
    hardware: bool
    pulse: bool

    @property
    def mask(self) -> int:
        """Its bits in the word."""
        return ((1 << self.width) - 1) << self.low


@dataclass(frozen=True)
class Register:
    """One word. ``path``: such as ``program.size``; ``while_busy``: may be written in a run."""

    path: str
    address: int
    fields: tuple[Field, ...]
    while_busy: bool

    @property
    def name(self) -> str:
        """The path as one word, such as ``program_size``."""
        return self.path.replace(".", "_")

    @property
    def writable(self) -> bool:
        """Whether a write to it is answered OKAY."""
        return any("w" in field.access for field in self.fields)

    @property
    def moves(self) -> bool:
        """Whether reading it can show anything but its reset value."""
        return any(f.access != "w" and (f.hardware or "w" in f.access) for f in self.fields)

    @property
    def reset(self) -> int:
        """The word after a reset, as it is read."""
        return sum(f.reset << f.low for f in self.fields if f.access != "w")


def tree(parameters: Mapping[str, int]) -> AddrmapNode:
    """Compile the description for ``parameters`` (of ``PARAMETERS``; the others as it has them)."""
    compiler = RDLCompiler()
    compiler.compile_file(str(SOURCE))
    values = {name.upper(): value for name, value in parameters.items()}
    return compiler.elaborate(parameters=values).top


@cache
def _registers(parameters: tuple[tuple[str, int], ...]) -> tuple[Register, ...]:
    return tuple(
        _register(node)
        for node in tree(dict(parameters)).descendants()
        if isinstance(node, RegNode)
    )


def compiled(parameters: Mapping[str, int] | None = None) -> tuple[Register, ...]:
    """Return the registers by address."""
    return _registers(tuple(sorted((parameters or {}).items())))


@cache
def addresses() -> Mapping[str, int]:
    """Return name -> byte address; these do not depend on parameters."""
    return {register.name: register.address for register in compiled()}


def _register(node: RegNode) -> Register:
    path = node.get_rel_path(node.owning_addrmap)
    fields = tuple(_field(field) for field in node.fields())
    return Register(path, node.absolute_address, fields, bool(_property(node, "while_busy")))


def _field(node: FieldNode) -> Field:
    access = node.get_property("sw").name
    clears = node.get_property("onwrite")
    if clears is not None:
        if clears.name != "woclr":
            raise ValueError(f"{node.get_path()}: onwrite must be woclr, got {clears.name}")
        access = "w1c"
    return Field(
        node.inst_name,
        node.low,
        node.width,
        access,
        int(node.get_property("reset")),
        node.is_hw_writable,
        bool(node.get_property("singlepulse")),
    )


def _property(node: RegNode, name: str) -> Any:
    return node.get_property(name, default=False)
