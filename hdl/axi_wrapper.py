"""A block's Verilog behind AMBA port names: AXI4-Stream for its streams, AXI4 and AXI4-Lite.

``wrap`` writes one module of wires: clock ``aclk`` and reset ``aresetn`` (active low, synchronous)
for ``clk`` and ``rst``; stream ``i_x`` as ``s_axis_x_*``, ``o_x`` as ``m_axis_x_*``, the payload as
``tdata`` padded with zeros to whole bytes; signals of AXI that the block does not have (IDs,
caches, protection) at their constants. No register, no logic: latency and handshake stay the
block's.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["BusPort", "Wrapper", "stream_prefix", "wrap"]

_HOST = ("s_axi_awprot", "s_axi_arprot")
_MASTER = {
    "ar": {"id": (1, 0), "lock": (1, 0), "cache": (4, 3), "prot": (3, 0), "qos": (4, 0)},
    "aw": {"id": (1, 0), "lock": (1, 0), "cache": (4, 3), "prot": (3, 0), "qos": (4, 0)},
}
"""Channel -> signal -> width, constant: ID 0, normal, modifiable and bufferable, data, secure."""
_RESPONSE = {"r": "m_axi_rid", "b": "m_axi_bid"}


@dataclass(frozen=True)
class BusPort:
    """A port of the wrapper. ``bus``: the interface it belongs to, empty for plain ports."""

    name: str
    direction: str
    width: int
    bus: str = ""


@dataclass(frozen=True)
class Wrapper:
    """``text``: Verilog of module ``top``; its ports in order."""

    top: str
    text: str
    ports: tuple[BusPort, ...]


def stream_prefix(name: str, direction: str) -> str:
    """``i_weights``, ``in`` -> ``s_axis_weights``; ``o``, ``out`` -> ``m_axis``."""
    side = "s_axis" if direction == "in" else "m_axis"
    rest = name[1:] if name[:1] in "io" and name[1:2] in ("", "_") else f"_{name}"
    return side + rest


def wrap(manifest: Mapping[str, Any]) -> Wrapper:
    """Return the wrapper of the block that ``manifest`` (of ``hdl.emit``) describes."""
    block = manifest["top"]
    ports = [BusPort("aclk", "in", 1), BusPort("aresetn", "in", 1)]
    pins = {"clk": "aclk", "rst": "!aresetn"}
    unread: list[str] = []
    assigns: list[str] = []
    for port in manifest["ports"]:
        if port["kind"] == "stream":
            _stream(port, ports, pins, unread, assigns)
        elif port["width"]:
            name = port["name"]
            bus = name[:5] if name[:6] in ("s_axi_", "m_axi_") else ""
            ports.append(BusPort(name, port["direction"], port["width"], bus))
            pins[name] = name
    _constants(ports, unread, assigns)
    ports = sorted(ports, key=lambda port: _place(port.bus, ports))
    return Wrapper(f"{block}_axi", _text(manifest, ports, pins, unread, assigns), tuple(ports))


def _place(bus: str, ports: Sequence[BusPort]) -> int:
    """Ports of one interface stand together, where its first one does."""
    return next(n for n, port in enumerate(ports) if port.bus == bus) if bus else -1


def _stream(
    port: Mapping[str, Any],
    ports: list[BusPort],
    pins: dict[str, str],
    unread: list[str],
    assigns: list[str],
) -> None:
    incoming = port["direction"] == "in"
    prefix = stream_prefix(port["name"], port["direction"])
    back = "out" if incoming else "in"
    ports += [
        BusPort(f"{prefix}_tvalid", port["direction"], 1, prefix),
        BusPort(f"{prefix}_tready", back, 1, prefix),
    ]
    pins[port["valid"]], pins[port["ready"]] = f"{prefix}_tvalid", f"{prefix}_tready"
    width = port["width"]
    if not width:
        return
    bits = -(-width // 8) * 8
    data = f"{prefix}_tdata"
    ports.append(BusPort(data, port["direction"], bits, prefix))
    pins[port["payload"]] = data if bits == width else f"{data}[{width - 1}:0]"
    if bits > width:
        padding = f"{data}[{bits - 1}:{width}]"
        if incoming:
            unread.append(padding)
        else:
            assigns.append(f"assign {padding} = {bits - width}'d0;")


def _constants(ports: list[BusPort], unread: list[str], assigns: list[str]) -> None:
    """Add what AXI has and the block has not."""
    names = {port.name for port in ports}
    if "s_axi_awaddr" in names:
        for name in _HOST:
            ports.append(BusPort(name, "in", 3, "s_axi"))
            unread.append(name)
    for channel, signals in _MASTER.items():
        if f"m_axi_{channel}addr" in names:
            for signal, (width, value) in signals.items():
                name = f"m_axi_{channel}{signal}"
                ports.append(BusPort(name, "out", width, "m_axi"))
                assigns.append(f"assign {name} = {width}'d{value};")
    for channel, name in _RESPONSE.items():
        if f"m_axi_{channel}resp" in names:
            ports.append(BusPort(name, "in", 1, "m_axi"))
            unread.append(name)


def _declaration(port: BusPort, last: bool) -> str:
    kind = "input " if port.direction == "in" else "output"
    size = f"[{port.width - 1}:0] " if port.width > 1 else ""
    return f"    {kind} wire {size}{port.name}{'' if last else ','}"


def _text(
    manifest: Mapping[str, Any],
    ports: Sequence[BusPort],
    pins: Mapping[str, str],
    unread: Sequence[str],
    assigns: Sequence[str],
) -> str:
    return "\n".join(_lines(manifest, ports, pins, unread, assigns)) + "\n"


def _lines(
    manifest: Mapping[str, Any],
    ports: Sequence[BusPort],
    pins: Mapping[str, str],
    unread: Sequence[str],
    assigns: Sequence[str],
) -> Iterator[str]:
    block = manifest["top"]
    yield f"// {block}_axi: {block} with the port names of AMBA AXI; wires only"
    yield f"// Generated by {manifest['generator']}"
    yield "// SPDX-License-Identifier: Apache-2.0"
    yield f"module {block}_axi ("
    for number, port in enumerate(ports):
        yield _declaration(port, number == len(ports) - 1)
    yield ");"
    for line in assigns:
        yield f"    {line}"
    if unread:
        yield "    wire unused_bits = &{1'b0,"
        yield ",\n".join(f"        {name}" for name in unread) + "};"
    yield f"    {block} core ("
    entries = [f"        .{name}({net})" for name, net in pins.items()]
    yield ",\n".join(entries)
    yield "    );"
    yield "endmodule"
