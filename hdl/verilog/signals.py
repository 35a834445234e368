"""Signals of RTLIL: tuples of chunks, least significant first."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

__all__ = [
    "Chunk",
    "Signal",
    "bits_of",
    "concat",
    "constant",
    "part",
    "replaced",
    "sign_extended",
    "width_of",
    "zero_extended",
]


@dataclass(frozen=True)
class Chunk:
    """``wire[offset + width - 1 : offset]``, or the constant ``bits`` (MSB first) if no wire."""

    wire: str | None
    offset: int
    width: int
    bits: str = ""


Signal = tuple[Chunk, ...]


def width_of(signal: Signal) -> int:
    """Bits in ``signal``."""
    return sum(chunk.width for chunk in signal)


def bits_of(signal: Signal) -> Iterator[Chunk]:
    """Yield the bits of ``signal``, least significant first, as chunks of width 1."""
    for chunk in signal:
        for index in range(chunk.width):
            if chunk.wire is None:
                yield Chunk(None, 0, 1, chunk.bits[chunk.width - 1 - index])
            else:
                yield Chunk(chunk.wire, chunk.offset + index, 1)


def concat(*signals: Signal) -> Signal:
    """Join signals, the first one least significant; neighbours that continue are merged."""
    chunks: list[Chunk] = []
    for signal in signals:
        for chunk in signal:
            last = chunks[-1] if chunks else None
            if chunk.width == 0:
                continue
            if last and last.wire is None and chunk.wire is None:
                chunks[-1] = Chunk(None, 0, last.width + chunk.width, chunk.bits + last.bits)
            elif (
                last
                and last.wire is not None
                and last.wire == chunk.wire
                and last.offset + last.width == chunk.offset
            ):
                chunks[-1] = Chunk(last.wire, last.offset, last.width + chunk.width)
            else:
                chunks.append(chunk)
    return tuple(chunks)


def part(signal: Signal, offset: int, width: int) -> Signal:
    """``signal[offset + width - 1 : offset]``."""
    return concat(*((bit,) for bit in list(bits_of(signal))[offset : offset + width]))


def constant(value: int, width: int) -> Signal:
    """``value`` modulo ``2**width``."""
    if width == 0:
        return ()
    return (Chunk(None, 0, width, format(value & ((1 << width) - 1), f"0{width}b")),)


def zero_extended(signal: Signal, width: int) -> Signal:
    """Cut or extend ``signal`` with zeros to ``width`` bits."""
    have = width_of(signal)
    if have >= width:
        return part(signal, 0, width)
    return concat(signal, constant(0, width - have))


def sign_extended(signal: Signal, width: int) -> Signal:
    """Cut or extend ``signal`` with its top bit to ``width`` bits."""
    have = width_of(signal)
    if have >= width or have == 0:
        return zero_extended(signal, width)
    return concat(signal, *[part(signal, have - 1, 1)] * (width - have))


def replaced(signal: Signal, values: Mapping[str, Signal]) -> Signal:
    """Put ``values[wire]`` in the place of ``wire``."""
    if not any(chunk.wire in values for chunk in signal):
        return signal
    return concat(
        *(
            part(values[chunk.wire or ""], chunk.offset, chunk.width)
            if chunk.wire in values
            else (chunk,)
            for chunk in signal
        )
    )
