"""Writes golden cases as a trace: packed on whole arrays, appended case by case.

Only one case is ever in memory, and of its payloads only a slice in packed form; the reader maps
the files, so neither side has a limit but the disk.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from cosim.manifest import Field, Manifest, Port
from cosim.script import bit_matrix, check_ports, first_cycles
from cosim.trace_checker.layout import Layout, net_bytes
from golden.cycles import Case, StreamTrace
from golden.errors import UserError

__all__ = ["MODES", "TraceWriter", "pack_words"]

MODES = {"cycles": 0, "beats": 1}
SLICE = 1 << 15  # beats that are packed at a time
CYCLES_MAX = (1 << 32) - 1

Words = npt.NDArray[np.uint8]


def pack_words(port: Port, payload: Mapping[str, Any], where: str) -> Iterator[Words]:
    """Pack field -> (beats,) or (beats, count) integers: (n, bytes) uint8, a slice at a time."""
    beats = {len(np.asarray(values)) for values in payload.values()}
    count = max(beats, default=0)
    for first in range(0, count, SLICE):
        part = {name: np.asarray(v)[first : first + SLICE] for name, v in payload.items()}
        matrix = bit_matrix(port, part, where)
        packed = np.packbits(matrix, axis=1, bitorder="little")
        yield np.pad(packed, ((0, 0), (0, net_bytes(port.width) - packed.shape[1])))


class TraceWriter:
    """Appends cases to a new folder; a context manager, the trace is whole after its end.

    ``UserError`` where a case does not fit the ports, as ``cosim.script.compile_case``.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self.layout = Layout.of(manifest)
        self._columns = list(self.layout.columns)
        self._entries = [0] * len(self._columns)
        self._cycles = 0
        self.bytes = 0  # of the whole trace, known at its end
        self._files: dict[str, BinaryIO] = {}
        self._open = ExitStack()

    def __enter__(self) -> "TraceWriter":
        self.folder.mkdir(parents=True, exist_ok=False)
        for name in ("control", "cases", *(column.name for column in self._columns)):
            self._files[name] = self._open.enter_context((self.folder / name).open("wb"))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.bytes = sum(file.tell() for file in self._files.values())
        self._open.close()
        if kind is None:
            (self.folder / "layout").write_text(self.layout.digest)

    def add(self, case: Case, mode: str = "cycles") -> None:
        """Append a case. ``mode``: "cycles" compares every cycle, "beats" the order of beats only.

        "beats" is for surroundings whose cycles the golden model does not predict: the case then
        runs until every beat has moved, and the sink's pattern of ready repeats.
        """
        check_ports(case, self.manifest)
        if case.trace.cycles > CYCLES_MAX:
            raise UserError(f"{case.name}: a case has at most 2**32 - 1 cycles")
        trace, where = case.trace, f"{case.block} {case.name}"
        record = [trace.cycles, MODES[mode], self._cycles]
        self._control(case)
        column = 0
        counts = []
        for port in (*self.layout.inputs, *self.layout.outputs):
            if port.direction == "in":
                stream = trace.inputs[port.name]
                starts = np.array(first_cycles(stream, f"{where} {port.name}"), dtype="<u4")
                counts.append(self._append(column, [starts.reshape(-1, 1)]))
                column += 1
            payload = case.payloads[port.name]
            if port.width:
                counts.append(self._append(column, pack_words(port, payload, where)))
            else:
                counts.append(_beats(trace.outputs.get(port.name), payload))
            column += 1
        plain = [(port, trace.plain_in) for port in self.layout.plain_in]
        plain += [(port, trace.plain_out) for port in self.layout.plain_out]
        for port, values in plain:
            cycles, words = _changes(port, values[port.name])
            counts.append(self._append(column, [cycles.reshape(-1, 1)]))
            counts.append(self._append(column + 1, words))
            column += 2
        for index, count in enumerate(counts):
            record += [self._entries[index], count]
            self._entries[index] += count
        np.array(record, dtype="<u8").tofile(self._files["cases"])

    def _control(self, case: Case) -> None:
        trace = case.trace
        flags: list[npt.NDArray[np.bool_]] = [
            *(trace.inputs[port.name].ready for port in self.layout.inputs),
            *(trace.outputs[port.name].valid for port in self.layout.outputs),
            *(trace.outputs[port.name].ready for port in self.layout.outputs),
        ]
        kind = np.dtype(self.layout.control_type)
        control = np.zeros(trace.cycles, dtype=kind)
        for bit, flag in enumerate(flags):
            control |= flag[: trace.cycles].astype(kind) << kind.type(bit)
        control.tofile(self._files["control"])
        self._cycles += trace.cycles

    def _append(self, column: int, parts: Sequence[npt.NDArray[Any]] | Iterator[Words]) -> int:
        count = 0
        for part in parts:
            np.ascontiguousarray(part).tofile(self._files[self._columns[column].name])
            count += len(part)
        return count


def _beats(stream: StreamTrace | None, payload: Mapping[str, Any]) -> int:
    """Beats of a stream without payload bits."""
    if stream is not None:
        return stream.transfers
    return max((len(np.asarray(values)) for values in payload.values()), default=0)


def _changes(
    port: Port, values: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.uint32], Iterator[Words]]:
    """Cycles in which a plain port changes, the first included, and its bits from there on."""
    values = np.asarray(values)
    at = np.flatnonzero(np.r_[True, values[1:] != values[:-1]]) if len(values) else np.zeros(0, int)
    part = Field(port.name, 0, port.width, port.signed, 1, True)
    stream = Port(port.name, "stream", port.direction, port.width, port.signed, (part,))
    words = pack_words(stream, {port.name: values[at]}, f"plain port {port.name}")
    return at.astype("<u4"), words
