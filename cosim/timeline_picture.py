"""Picture of a step on the accelerator: array, vector unit and memory over the cycles."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from cosim.figures import COLOURS, GREY, INK, STYLE
from golden.accelerator.compiler import Program
from golden.accelerator.instruction import Unit
from golden.accelerator.timing.latencies import Memory, Timeline
from golden.accelerator.timing.step_report import kind_of, read_share, step_timeline
from golden.files import atomic_write

__all__ = ["write_timeline"]

KINDS = {
    "3x3 conv": COLOURS[0],
    "1x1 conv": COLOURS[5],
    "matmul": COLOURS[3],
    "norm": COLOURS[2],
    "edge": COLOURS[4],
    "softmax": COLOURS[1],
    "sample": COLOURS[6],
}
ROWS = {Unit.ARRAY: 1.0, Unit.VECTOR: 0.0}
BINS = 400
WINDOW = 0.1  # of the step, shown larger


def _draw(axes: Axes, timeline: Timeline, first: float, last: float) -> None:
    """Units as bars; a bar is as wide as the instruction's beats, from its first one on."""
    for unit, place in ROWS.items():
        lines = [line for line in timeline.lines if line.instruction.unit is unit]
        ends = [line.start for line in lines[1:]] + [timeline.cycles]
        for line, end in zip(lines, ends, strict=True):
            if line.beats:
                span = (line.start, max(min(end, line.end) - line.start, 1))
                colour = KINDS[kind_of(line.instruction)]
                axes.broken_barh([span], (place + 0.1, 0.8), color=colour, alpha=0.25, lw=0)
                share = min(line.beats / span[1], 1.0)
                axes.broken_barh([span], (place + 0.1, 0.8 * share), color=colour, lw=0)
    edges = np.linspace(0, timeline.cycles, BINS + 1)
    axes.stairs(0.8 * read_share(timeline, BINS) - 0.9, edges, baseline=-0.9, fill=True, color=GREY)
    axes.set_xlim(first, last)
    axes.set_ylim(-1, 2)
    axes.set_yticks([-0.5, 0.5, 1.5], ["memory", "vector unit", "array"])
    axes.grid(visible=False)


def write_timeline(path: Path, program: Program, memory: Memory) -> Path:
    """Write a step as PNG: the whole of it, and its tenth with the most vector work."""
    timeline = step_timeline(program, memory)
    vector = [line for line in timeline.lines if line.instruction.unit is Unit.VECTOR]
    width = WINDOW * timeline.cycles
    starts = [min(line.start, timeline.cycles - width) for line in vector]
    busiest = max(
        starts,
        key=lambda first: sum(v.beats for v in vector if first <= v.start < first + width),
    )
    size = program.header.config.size
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 4.8))
        upper, lower = figure.subplots(2, 1)
        _draw(upper, timeline, 0, timeline.cycles)
        _draw(lower, timeline, busiest, busiest + width)
        upper.axvspan(busiest, busiest + width, color=INK, alpha=0.08, lw=0)
        beats = timeline.beats(Unit.ARRAY)
        upper.set_title(
            f"A step on {size} x {size}: {timeline.cycles:,} cycles, "
            f"{100 * beats / timeline.cycles:.1f} % with a beat of the array"
        )
        lower.set_title("the shaded part: height is the share of cycles with a beat")
        lower.set_xlabel(
            f"cycle, predicted; memory {memory.width} bytes a cycle, latency {memory.latency}"
        )
        handles = [Patch(facecolor=colour, label=kind) for kind, colour in KINDS.items()]
        handles.append(Patch(facecolor=GREY, label="data arrive"))
        figure.legend(handles=handles, loc="outside lower center", ncols=8, labelcolor=INK)
        with atomic_write(path) as temporary:
            figure.savefig(temporary, dpi=140, format="png", metadata={"Software": "stepscale"})
    return path
