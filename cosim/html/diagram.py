"""A mismatch as a timing diagram in SVG: expected above got, the cycles that differ marked.

Colours are classes of the page's style sheet, so that the picture follows light and dark.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from markupsafe import Markup

__all__ = ["diagram"]

CYCLE, ROW, LEVEL = 46, 26, 14  # pixels: width of a cycle, height of a row, swing of a bit
TOP = 24
SLANT = 4
CHARACTER = 7.3  # width of a letter in a name
GOT = "got"
FITS = 5  # characters in one cycle; longer values are set smaller

Row = tuple[str, bool, Sequence[str], Sequence[bool]]


def diagram(timing: Mapping[str, Any]) -> Markup:
    """Draw what ``cosim.timing.Timing.record`` holds."""
    first, at = timing["first"], timing["cycle"]
    rows = list(_rows(timing["signals"]))
    cycles = len(rows[0][2])
    left = round(16 + CHARACTER * max(len(row[0]) for row in rows))
    width, height = left + cycles * CYCLE + 8, TOP + (len(rows) + 1) * ROW + 6
    parts = [_box("mark", left + (at - first) * CYCLE, 0, height)]
    for number in range(cycles):
        parts.append(_text("cycle", left + (number + 0.5) * CYCLE, 14, str(first + number)))
    parts += _clock(left, cycles)
    for place, row in enumerate(rows, start=1):
        parts += _row(left, TOP + (place + 1) * ROW - 6, *row)
    head = Markup('<svg class="timing" width="{0}" height="{1}" viewBox="0 0 {0} {1}" role="img">')
    title = Markup("<title>{} round cycle {}</title>").format(timing["stream"], at)
    return Markup("").join([head.format(width, height), title, *parts, Markup("</svg>")])


def _rows(signals: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    """(name, is a bit, words, differs): one row where both agree, else expected, then got."""
    for signal in signals:
        expected, got = signal["expected"], signal["got"]
        if got is None or got == expected:
            yield signal["name"], signal["bit"], expected, [False] * len(expected)
            continue
        differs = [a != b for a, b in zip(expected, got, strict=True)]
        yield signal["name"], signal["bit"], expected, [False] * len(expected)
        yield GOT, signal["bit"], got, differs


def _text(kind: str, x: float, y: float, words: str) -> Markup:
    return Markup('<text class="{}" x="{:g}" y="{:g}">{}</text>').format(kind, x, y, words)


def _path(kind: str, words: str) -> Markup:
    return Markup('<path class="{}" d="{}"/>').format(kind, words)


def _box(kind: str, x: int, y: int, height: int) -> Markup:
    box = Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>')
    return box.format(kind, x, y, CYCLE, height)


def _clock(left: int, cycles: int) -> list[Markup]:
    """Draw the clock: a cycle ends with the rising edge at its right border."""
    low = TOP + ROW - 6
    half = CYCLE // 2
    wave = f"M{left} {low - LEVEL}" + f"h{half}v{LEVEL}h{CYCLE - half}v{-LEVEL}" * cycles
    return [_text("name", left - 10, low - 2, "clk"), _path("clock", wave)]


def _row(
    left: int, low: int, name: str, bit: bool, words: Sequence[str], differs: Sequence[bool]
) -> Iterator[Markup]:
    yield _text("name got" if name == GOT else "name", left - 10, low - 2, name)
    for number, wrong in enumerate(differs):
        if wrong:
            yield _box("wrong", left + number * CYCLE, low - LEVEL - 2, LEVEL + 4)
    if bit and set(words) <= {"0", "1"}:
        heights = [low - LEVEL * int(word) for word in words]
        wave = "".join(f"V{height}h{CYCLE}" for height in heights)
        yield _path("level", f"M{left} {heights[0]}{wave}")
    else:
        yield from _values(left, low, words)


def _values(left: int, low: int, words: Sequence[str]) -> Iterator[Markup]:
    """Draw runs of one value as boxes with slanted ends, and a line where there is none."""
    top, middle = low - LEVEL, low - LEVEL // 2
    for word, run in groupby(words):
        length = len(list(run))
        right = left + length * CYCLE
        if word:
            ends = f"L{right} {middle}L{right - SLANT} {low}H{left + SLANT}Z"
            yield _path("value", f"M{left} {middle}L{left + SLANT} {top}H{right - SLANT}{ends}")
            kind = "small" if len(word) > FITS * length else "word"
            yield _text(kind, (left + right) / 2, middle + 4, word)
        else:
            yield _path("idle", f"M{left} {middle}H{right}")
        left = right
