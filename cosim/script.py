"""A golden ``Case`` turned into what the simulator process needs: bits as text, nothing to compute.

Everything is packed here, on whole arrays: ``bits[beat][width - 1 - p]`` is bit p of the payload,
where lane l of a field lies at ``offset + l * width``. The simulator compares and drives strings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from cosim.manifest import Field, Manifest, Port
from golden.cycles import Case, StreamTrace
from golden.errors import UserError

__all__ = [
    "CaseScript",
    "InputScript",
    "OutputScript",
    "bit_matrix",
    "check_ports",
    "compile_case",
    "first_cycles",
    "pack_bits",
    "unpack_bits",
]


@dataclass(frozen=True)
class InputScript:
    """An input stream. ``start[n]``: first cycle in which beat n may be offered.

    ``ready[cycle]``: "1" where the RTL must be ready.
    """

    start: Sequence[int]
    payload: Sequence[str]
    ready: str


@dataclass(frozen=True)
class OutputScript:
    """An output stream. ``beat[cycle]``: beat that the RTL must offer, -1 for none.

    ``ready[cycle]``: what the sink drives; ``transfers``: beats that must have moved at the end.
    """

    beat: Sequence[int]
    payload: Sequence[str]
    ready: str
    transfers: int


@dataclass(frozen=True)
class CaseScript:
    """One run. ``plain_in``: changes, cycle -> bits; ``plain_out``: bits of every cycle."""

    name: str
    cycles: int
    inputs: Mapping[str, InputScript]
    outputs: Mapping[str, OutputScript]
    plain_in: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    plain_out: Mapping[str, Sequence[str]] = field(default_factory=dict)


def _bits(values: npt.NDArray[np.int64], width: int) -> npt.NDArray[np.uint8]:
    """(beats,) -> (beats, width) of 0 and 1, least significant first."""
    shifts = np.minimum(np.arange(width), 63)
    return ((values[:, None] >> shifts) & 1).astype(np.uint8)


def _checked(values: Any, part: Field, where: str) -> npt.NDArray[np.int64]:
    """Return (beats, count) int64 that fits the field; ``UserError`` otherwise."""
    array = np.asarray(values)
    if array.dtype.kind not in "iub":
        raise UserError(f"{where}: golden values must be integers, got {array.dtype}")
    array = array.astype(np.int64)
    array = array.reshape(len(array), 1) if array.ndim == 1 else array
    if array.ndim != 2 or array.shape[1] != part.count:
        raise UserError(f"{where}: shape {array.shape}, the port has {part.count} lanes")
    if part.width < 63 and array.size:
        low = -(1 << (part.width - 1)) if part.signed else 0
        high = (1 << (part.width - part.signed)) - 1
        if array.min() < low or array.max() > high:
            bad = array[(array < low) | (array > high)].flat[0]
            raise UserError(f"{where}: golden value {bad} does not fit {low}..{high}")
    return array


def bit_matrix(
    port: Port, payload: Mapping[str, Any], where: str = "payload"
) -> npt.NDArray[np.uint8]:
    """Pack field -> (beats,) or (beats, count) integers: (beats, width) of 0 and 1.

    Column p is bit p of the payload. ``UserError`` for unknown or missing fields, other shapes,
    and values that do not fit.
    """
    names = {part.name for part in port.fields if part.width * part.count}
    if names != set(payload) & names or set(payload) - {part.name for part in port.fields}:
        raise UserError(
            f"{where}: fields of stream {port.name!r} are {sorted(names)}, "
            f"the golden model gives {sorted(payload)}"
        )
    beats = {len(np.asarray(payload[name])) for name in names}
    if len(beats) > 1:
        raise UserError(f"{where}: fields of stream {port.name!r} differ in length: {beats}")
    count = beats.pop() if beats else 0
    matrix = np.zeros((count, port.width), dtype=np.uint8)
    for part in port.fields:
        if not part.width * part.count:
            continue
        values = _checked(payload[part.name], part, f"{where}.{part.name}")
        for lane in range(part.count):
            start = part.offset + lane * part.width
            matrix[:, start : start + part.width] = _bits(values[:, lane], part.width)
    return matrix


def pack_bits(port: Port, payload: Mapping[str, Any], where: str = "payload") -> list[str]:
    """Return ``bit_matrix`` as one string a beat, most significant bit first."""
    matrix = bit_matrix(port, payload, where)
    joined = (matrix[:, ::-1] + ord("0")).tobytes().decode("ascii")
    return [joined[n * port.width : (n + 1) * port.width] for n in range(len(matrix))]


def unpack_bits(port: Port, bits: str) -> dict[tuple[str, int], int]:
    """Return (field, lane) -> value of one beat."""
    values = {}
    for part in port.fields:
        for lane in range(part.count if part.width else 0):
            end = port.width - part.offset - lane * part.width
            word = bits[end - part.width : end]
            value = int(word, 2)
            values[part.name, lane] = value - (part.signed and word[0] == "1") * (1 << part.width)
    return values


def _flags(values: npt.NDArray[np.bool_]) -> str:
    return (values.astype(np.uint8) + ord("0")).tobytes().decode("ascii")


def first_cycles(stream: StreamTrace, where: str) -> list[int]:
    """First cycle of each beat; the golden source must hold a beat until it is accepted."""
    offered = np.where(stream.valid, stream.beat, -1)
    beats, first = np.unique(offered, return_index=True)
    first = first[beats >= 0]
    beats = beats[beats >= 0]
    if not np.array_equal(beats, np.arange(len(beats))) or np.any(np.diff(first) <= 0):
        raise UserError(f"{where}: golden trace does not offer its beats in order")
    return [int(cycle) for cycle in first]


def _need(kind: str, name: str, have: Mapping[str, Any], want: set[str]) -> None:
    if set(have) != want:
        raise UserError(
            f"{name}: golden trace has {kind} {sorted(have)}, the Verilog has {sorted(want)}"
        )


def check_ports(case: Case, manifest: Manifest) -> dict[tuple[str, str], dict[str, Port]]:
    """Return (kind, direction) -> name -> port.

    ``UserError`` where ``case`` and ``manifest`` disagree on a port, or a beat has no payload: a
    port that the golden model does not speak of would never be compared.
    """
    trace = case.trace
    ports: dict[tuple[str, str], dict[str, Port]] = {
        (kind, direction): {
            port.name: port
            for port in manifest.ports
            if (port.kind, port.direction) == (kind, direction)
        }
        for kind in ("stream", "plain")
        for direction in ("in", "out")
    }
    where = f"{case.block} {case.name}"
    _need("inputs", where, trace.inputs, set(ports["stream", "in"]))
    _need("outputs", where, trace.outputs, set(ports["stream", "out"]))
    _need("plain inputs", where, trace.plain_in, set(ports["plain", "in"]))
    _need("plain outputs", where, trace.plain_out, set(ports["plain", "out"]))
    for name, stream in trace.outputs.items():
        beats = min((len(values) for values in case.payloads[name].values()), default=0)
        offered = int(stream.beat.max(initial=-1))
        if ports["stream", "out"][name].width and offered >= beats:
            raise UserError(f"{where} {name}: beat {offered} has no golden payload")
    return ports


def compile_case(case: Case, manifest: Manifest) -> CaseScript:
    """Return the script of ``case`` for the ports of ``manifest``.

    ``UserError`` where the two disagree on a port, a field or a range.
    """
    trace = case.trace
    ports = check_ports(case, manifest)
    where = f"{case.block} {case.name}"
    inputs = {}
    for name, stream in trace.inputs.items():
        payload = pack_bits(ports["stream", "in"][name], case.payloads[name], f"{where} {name}")
        inputs[name] = InputScript(
            first_cycles(stream, f"{where} {name}"), payload, _flags(stream.ready)
        )
    outputs = {}
    for name, stream in trace.outputs.items():
        payload = pack_bits(ports["stream", "out"][name], case.payloads[name], f"{where} {name}")
        beat = np.where(stream.valid, stream.beat, -1)
        outputs[name] = OutputScript(
            beat.tolist(), payload, _flags(stream.ready), int(np.sum(stream.valid & stream.ready))
        )
    plain_in = {}
    for name, values in trace.plain_in.items():
        bits = _plain_bits(ports["plain", "in"][name], values)
        plain_in[name] = {
            cycle: word for cycle, word in enumerate(bits) if not cycle or word != bits[cycle - 1]
        }
    plain_out = {
        name: _plain_bits(ports["plain", "out"][name], values)
        for name, values in trace.plain_out.items()
    }
    return CaseScript(case.name, trace.cycles, inputs, outputs, plain_in, plain_out)


def _plain_bits(port: Port, values: npt.NDArray[np.int64]) -> list[str]:
    part = Field(port.name, 0, port.width, port.signed, 1, True)
    return pack_bits(
        Port(port.name, "stream", port.direction, port.width, port.signed, (part,)),
        {port.name: values},
        f"plain port {port.name}",
    )
