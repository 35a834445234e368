"""Where everything lies in a trace: derived from the ports alone, the same for writer and reader.

A trace is a folder of columns, each one file, little-endian, all cases one after the other:

- ``control``: one unsigned integer a cycle. From bit 0: ready that each input stream must show,
  valid that each output stream must show, ready that the sink drives on each output stream; ports
  in the order of the manifest.
- ``<input>.start``: uint32 a beat, the first cycle in which it may be offered.
- ``<stream>.payload``: the beat's bits, bit p at bit p % 8 of byte p // 8.
- ``<plain>.cycle``: uint32 a change, ``<plain>.value``: the port's bits from that cycle on.
- ``cases``: uint64 a word; of each case the cycles, the mode, then first entry and number of
  entries in every column of entries, in the order of ``Layout.columns``.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cosim.manifest import Manifest, Port
from golden.errors import UserError

__all__ = ["FORMAT", "Column", "Layout", "net_bytes"]

FORMAT = 1
CONTROL_BITS_MAX = 64


def net_bytes(width: int) -> int:
    """Return the bytes that Verilator's type of a net takes: 0, 1, 2, 4, 8 or 4 a 32-bit word."""
    for size in (0, 1, 2, 4, 8):
        if width <= 8 * size:
            return size
    return -(-width // 32) * 4


@dataclass(frozen=True)
class Column:
    """One file: ``name``, and the bytes of an entry."""

    name: str
    size: int


@dataclass(frozen=True)
class Layout:
    """Ports of a top in the order of the trace."""

    top: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    plain_in: tuple[Port, ...]
    plain_out: tuple[Port, ...]

    @classmethod
    def of(cls, manifest: Manifest) -> "Layout":
        """Return the layout of a folder of Verilog; ``UserError`` if it has too many streams."""

        def ports(kind: str, direction: str) -> tuple[Port, ...]:
            return tuple(
                port
                for port in manifest.ports
                if (port.kind, port.direction) == (kind, direction) and port.nets
            )

        layout = cls(
            manifest.top,
            ports("stream", "in"),
            ports("stream", "out"),
            ports("plain", "in"),
            ports("plain", "out"),
        )
        if layout.control_bits > CONTROL_BITS_MAX:
            raise UserError(
                f"{manifest.folder}: a trace holds at most {CONTROL_BITS_MAX} handshakes "
                f"(inputs + 2 x outputs), {manifest.top} has {layout.control_bits}"
            )
        return layout

    @property
    def control_bits(self) -> int:
        """Handshakes of a cycle."""
        return len(self.inputs) + 2 * len(self.outputs)

    @property
    def control_type(self) -> np.dtype[np.unsignedinteger[Any]]:
        """Unsigned type of an entry of ``control``."""
        sizes = (8, 16, 32, 64)
        return np.dtype(f"<u{next(bits for bits in sizes if self.control_bits <= bits) // 8}")

    @property
    def columns(self) -> Sequence[Column]:
        """Columns whose entries are beats or changes, in the order of ``cases``."""
        columns = []
        for port in self.inputs:
            columns.append(Column(f"{port.name}.start", 4))
            columns.append(Column(f"{port.name}.payload", net_bytes(port.width)))
        columns += [Column(f"{port.name}.payload", net_bytes(port.width)) for port in self.outputs]
        for port in (*self.plain_in, *self.plain_out):
            columns.append(Column(f"{port.name}.cycle", 4))
            columns.append(Column(f"{port.name}.value", net_bytes(port.width)))
        return columns

    @property
    def digest(self) -> str:
        """Name of the layout: a program refuses a trace that was made for another one."""
        ports = (self.inputs, self.outputs, self.plain_in, self.plain_out)
        text = repr((FORMAT, self.top, [[(p.nets, p.width) for p in kind] for kind in ports]))
        return hashlib.sha256(text.encode()).hexdigest()[:32]
