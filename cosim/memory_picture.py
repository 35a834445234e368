"""Picture of a memory plan: which words of both scratchpads each tensor takes, and when."""

from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from cosim.figures import COLOURS, GREY, INK, PANEL, STYLE
from golden.accelerator.compiler import Program
from golden.accelerator.listing import short_name
from golden.accelerator.memory_plan import Life
from golden.accelerator.operations import Section, Space, Tensor
from golden.files import atomic_write

__all__ = ["write_memory_plan"]

KINDS = {
    "image, eps, noise": COLOURS[4],
    "stream": COLOURS[0],
    "logits": COLOURS[3],
    "codes of a conv": COLOURS[1],
    "q, k, v, attention": COLOURS[2],
}
LABEL_SHARE = 0.045  # of the axes' height that a label takes
LETTER_SHARE = 0.009  # of their width that a letter takes


def _kind(tensor: Tensor) -> str:
    if tensor.name in {"x", "noise", "image", "conv_out"}:
        return "image, eps, noise"
    if tensor.name.endswith("logits"):
        return "logits"
    if tensor.space is Space.CODES:
        return "codes of a conv" if tensor.name.endswith("codes") else "q, k, v, attention"
    return "stream"


def _draw(axes: Axes, program: Program, lives: list[Life], words: int, steps: int) -> None:
    for life in lives:
        at, tensor = program.plan.address[life.tensor], life.tensor
        width = min(life.last + 1, steps) - life.first
        colour = KINDS[_kind(tensor)]
        axes.add_patch(
            Rectangle(
                (life.first, at), width, tensor.words, facecolor=colour, edgecolor=PANEL,
                linewidth=0.6, alpha=0.85,
            )
        )  # fmt: skip
        text = short_name(tensor.name)
        if tensor.words > LABEL_SHARE * words and width > LETTER_SHARE * len(text) * steps:
            place = (life.first + width / 2, at + tensor.words / 2)
            axes.annotate(text, place, ha="center", va="center", fontsize=6, color="white")
    axes.set_xlim(0, steps)
    axes.set_ylim(0, words)
    axes.grid(visible=False)


def write_memory_plan(path: Path, program: Program) -> Path:
    """Write the plan of a step as PNG: stream above, codes below, operations from left to right."""
    config = program.header.config
    steps = sum(operation.section is not Section.FINISH for operation in program.operations)
    lives = [life for life in program.plan.lives if life.first < steps]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 6.4))
        upper, lower = figure.subplots(2, 1, sharex=True)
        for axes, space, words in (
            (upper, Space.STREAM, config.stream_words),
            (lower, Space.CODES, config.code_words),
        ):
            part = [life for life in lives if life.tensor.space is space]
            _draw(axes, program, part, words, steps)
            axes.set_ylabel(f"{space.value} scratchpad, words")
        lower.axhline(config.code_bank_words, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        lower.set_xlabel("operation of the step, in dispatch order; dashed: the two banks of codes")
        upper.set_title(
            f"Memory plan of a step on {config.size} x {config.size}: "
            f"{program.plan.peak(Space.STREAM)} of {config.stream_words} stream words, "
            f"{program.plan.peak(Space.CODES)} of {config.code_words} code words"
        )
        handles = [Patch(facecolor=colour, label=kind) for kind, colour in KINDS.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=5, labelcolor=INK)
        upper.tick_params(color=GREY)
        with atomic_write(path) as temporary:
            figure.savefig(temporary, dpi=140, format="png", metadata={"Software": "stepscale"})
    return path
