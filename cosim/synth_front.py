"""The front of area against throughput over several settings of a block with an array.

``throughput = MACs a cycle x MHz`` (median of the seeds); ``area`` in LUT-eq. A point is on the
front if no other has less area and as much throughput, or more for the same area.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from cosim.synth import Synthesis
from cosim.synth_targets import macs_of
from golden.errors import UserError
from golden.files import atomic_write

__all__ = ["Point", "draw", "front", "point_of", "settings_of"]

POINTS_MAX = 200


@dataclass(frozen=True)
class Point:
    """One setting: what differs, LUT-eq, MACs a cycle times MHz (million MACs a second)."""

    label: str
    area: int
    throughput: float


def settings_of(words: Sequence[str]) -> Iterator[dict[str, Any]]:
    """``["rows=4,8", "decode=edge"]`` -> every combination; ``UserError`` for what is not so."""
    names, values = [], []
    for word in words:
        name, equals, text = (part.strip() for part in word.partition("="))
        choices = [choice.strip() for choice in text.split(",") if choice.strip()]
        if not (name and equals and choices) or name in names:
            raise UserError(f"--sweep must be NAME=VALUE,VALUE..., each name once; got {word!r}")
        names.append(name)
        values.append([int(c) if c.isdecimal() else c for c in choices])
    combinations = list(product(*values))
    if len(combinations) > POINTS_MAX:
        raise UserError(f"--sweep: {len(combinations)} points; allowed: at most {POINTS_MAX}")
    return (dict(zip(names, chosen, strict=True)) for chosen in combinations)


def point_of(result: Synthesis, setting: Mapping[str, Any]) -> Point:
    """Return the point of one run; ``UserError`` for a block without an array or without MHz."""
    macs = macs_of(result.name, result.parameters)
    if not macs or result.mhz is None:
        raise UserError(f"--sweep: block {result.name} has no array, or no MHz was measured")
    label = " ".join(f"{name}={value}" for name, value in setting.items())
    return Point(label, result.cells.lut_eq, round(macs * result.mhz_median, 1))


def front(points: Sequence[Point]) -> list[Point]:
    """Points that no other one beats, by area."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda p: (p.area, -p.throughput)):
        if not kept or point.throughput > kept[-1].throughput:
            kept.append(point)
    return kept


def draw(points: Sequence[Point], path: Path, title: str) -> None:
    """Draw all points, those of the front as numbers with a key, into a PNG or SVG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(9.5, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    best = front(points)
    axes.plot([p.area for p in best], [p.throughput / 1000 for p in best], color="0.7", zorder=1)
    others = [point for point in points if point not in best]
    axes.scatter(
        [p.area for p in others], [p.throughput / 1000 for p in others], s=30, color="0.6", zorder=2
    )
    for number, point in enumerate(best, 1):
        at = (point.area, point.throughput / 1000)
        axes.scatter(*at, s=70, color="C0", marker=f"${number}$", label=point.label, zorder=3)
    axes.margins(x=0.1)
    figure.legend(title="front", loc="outside right upper", fontsize=7, title_fontsize=8)
    axes.set(title=title, xlabel="area, LUT-eq", ylabel="throughput, 10^9 MACs a second")
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("{x:g}")
    axes.grid(visible=True, which="both", color="0.93")
    suffix = path.suffix.lstrip(".") or "png"
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format=suffix, dpi=120)
