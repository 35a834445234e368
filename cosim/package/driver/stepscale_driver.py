"""Driver of the stepscale accelerator in Python: the twin of stepscale.h, with no dependency.

``Device`` takes four functions that reach the hardware and speaks of regions, steps and causes.
SPDX-License-Identifier: Apache-2.0
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import stepscale_registers as r

__all__ = ["REGIONS", "Device", "DeviceError", "RunError"]

REGIONS = ("program", "weights", "tables", "data")
_BOTH = r.INTERRUPT_DONE | r.INTERRUPT_ERROR


class DeviceError(Exception):
    """The device is another one, refuses, or does not answer in time."""


class RunError(DeviceError):
    """A run ended with an error: ``cause``, ``offset`` of the instruction in the program."""

    def __init__(self, cause: int, offset: int) -> None:
        super().__init__(f"cause {cause}: {cause_text(cause)}, instruction at {offset:#x}")
        self.cause = cause
        self.offset = offset


def cause_text(cause: int) -> str:
    """What a number in the register cause means."""
    return r.CAUSES[cause] if cause < len(r.CAUSES) else "unknown cause"


@dataclass
class Device:
    """``read(offset)`` and ``write(offset, value)`` of registers, ``store``, ``fetch`` of memory.

    ``write`` returns whether the bus answered OKAY. ``wait()`` returns at the interrupt, or after a
    pause between two looks at the status.
    """

    read: Callable[[int], int]
    write: Callable[[int, int], bool]
    store: Callable[[int, bytes], None]
    fetch: Callable[[int, int], bytes]
    wait_once: Callable[[], None]
    regions: dict[str, tuple[int, int]] = field(default_factory=dict)

    def _put(self, offset: int, value: int) -> None:
        if not self.write(offset, value):
            raise DeviceError(f"register {offset:#x} refuses {value:#x}")

    def open(self) -> dict[str, int]:
        """Check identity and version; return the sizes that the hardware was made for."""
        identity, version = self.read(r.IDENTITY), self.read(r.VERSION)
        if (identity, version) != (r.IDENTITY_VALUE_RESET, r.VERSION_VALUE_RESET):
            raise DeviceError(f"identity {identity:#x}, version {version}: no stepscale device")
        shape, tables, blocks = self.read(r.SHAPE), self.read(r.TABLE_SIZES), self.read(r.BLOCKS)
        return {
            "size": r.field(shape, r.SHAPE_SIZE),
            "axi_bytes": r.field(shape, r.SHAPE_AXI_BYTES),
            "stream_banks": r.field(shape, r.SHAPE_STREAM_BANKS),
            "stream_words": self.read(r.STREAM_WORDS),
            "code_words": self.read(r.CODE_WORDS),
            "sum_chunks": r.field(tables, r.TABLE_SIZES_SUM_CHUNKS),
            "channel_tiles": r.field(tables, r.TABLE_SIZES_CHANNEL_TILES),
            "depth": self.read(r.DEPTH),
            "segments": r.field(blocks, r.BLOCKS_SEGMENTS),
            "outstanding": r.field(blocks, r.BLOCKS_OUTSTANDING),
        }

    def place(self, region: str, base: int, size: int) -> None:
        """Give a region its place; ``base`` is a multiple of the bus's bytes."""
        step = r.field(self.read(r.SHAPE), r.SHAPE_AXI_BYTES)
        if region not in REGIONS or base % step:
            raise DeviceError(
                f"{region} at {base:#x}: allowed: {', '.join(REGIONS)}, by {step} bytes"
            )
        at = {"program": r.PROGRAM_BASE_LOW, "weights": r.WEIGHTS_BASE_LOW,
              "tables": r.TABLES_BASE_LOW, "data": r.DATA_BASE_LOW}[region]  # fmt: skip
        for offset, value in ((0, base & 0xFFFF_FFFF), (4, base >> 32), (8, size)):
            self._put(at + offset, value)
        self.regions[region] = (base, size)

    def _place(self, region: str, offset: int, size: int) -> int:
        base, whole = self.regions.get(region, (0, 0))
        if offset < 0 or offset + size > whole:
            raise DeviceError(f"{region}: {offset}+{size} bytes, allowed: 0..{whole}")
        return base + offset

    def load(self, region: str, content: bytes, offset: int = 0) -> None:
        """Copy bytes into a region."""
        self.store(self._place(region, offset, len(content)), content)

    def fetch_from(self, region: str, size: int, offset: int = 0) -> bytes:
        """Copy bytes out of a region."""
        return self.fetch(self._place(region, offset, size), size)

    def start(self, first: int, last: int) -> None:
        """Start sampler steps ``first`` .. ``last``; an error of an earlier run is cleared."""
        if not 0 <= first <= last < 1 << 16:
            raise DeviceError(f"steps {first} to {last}: allowed: 0 <= first <= last <= 65535")
        status = self.read(r.STATUS)
        if status & r.STATUS_BUSY:
            raise DeviceError("a run is under way")
        if status:
            self._put(r.CONTROL, r.CONTROL_CLEAR)
        self._put(r.INTERRUPT, _BOTH)
        self._put(r.MASK, _BOTH)
        self._put(r.STEPS, first | last << 16)
        self._put(r.CONTROL, r.CONTROL_START)

    def wait(self, waits: int) -> None:
        """Wait for the end, at most ``waits`` times; ``RunError`` with the cause of an error."""
        for left in range(waits, -1, -1):
            status = self.read(r.STATUS)
            if not status & r.STATUS_BUSY and self.read(r.INTERRUPT):
                self._put(r.INTERRUPT, _BOTH)
                if status & r.STATUS_ERROR:
                    raise RunError(self.read(r.CAUSE), self.read(r.ADDRESS))
                return
            if left:
                self.wait_once()
        raise DeviceError(f"the run did not end within {waits} waits")

    def stop(self) -> None:
        """End a run; ``wait`` then raises ``RunError`` with cause 13."""
        self._put(r.CONTROL, r.CONTROL_STOP)

    def timeout(self, cycles: int) -> None:
        """Cycles without progress after which a run ends with cause 12; 0 for none."""
        self._put(r.TIMEOUT, cycles)

    def counters(self) -> dict[str, int]:
        """Counts of the last run; the low half is read first, it keeps the high one."""
        return {
            name: self.read(at) | self.read(at + 4) << 32
            for name, at in (
                ("cycles", r.CYCLES_LOW),
                ("array_beats", r.ARRAY_BEATS_LOW),
                ("vector_beats", r.VECTOR_BEATS_LOW),
                ("words_read", r.WORDS_READ_LOW),
                ("words_written", r.WORDS_WRITTEN_LOW),
            )
        }
