"""Pictures of an evaluation, as PNG on a solid light panel: readable on light and dark pages.

Activation ranges over the steps, levels of each code over a post-SiLU histogram
(``level_i = decode(code_i)``), error per step, bars of the ablation, float and integer images.

``python -m cosim.figures PAGE SIZE FILE`` draws the bars of a table that stands in a page, such as
``docs/quality.md 16x16 bars.png``.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, ScalarFormatter

from golden.calibration.region import U_BINS
from golden.calibration.topology import LayerSpec, layers
from golden.errors import UserError
from golden.evaluation.ablation import Evaluation
from golden.evaluation.report import page_rows
from golden.evaluation.simulated import CODES, best_code, silu_reals
from golden.files import atomic_write, ensure_writable_folder
from golden.network.image import grid

__all__ = ["write_ablation", "write_figures"]

Row = dict[str, Any]
Float64 = npt.NDArray[np.float64]

PANEL, INK, GRID, GREY = "#fbfbf9", "#2b2f36", "#dcdcd6", "#9a9da3"
COLOURS = ("#1f6f8b", "#c8553d", "#5b8c5a", "#8e5ea2", "#d19a2a", "#3c4a8a", "#7a5c46")
STYLE: Any = {
    "figure.facecolor": PANEL,
    "axes.facecolor": PANEL,
    "savefig.facecolor": PANEL,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "font.size": 9,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
NAMES = {"symmetric": "symmetric", "affine": "affine", "sign_split": "sign split",
         "region": "region code"}  # fmt: skip


def _save(figure: Figure, path: Path) -> Path:
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=140, format="png", metadata={"Software": "stepscale"})
    return path


def _boundaries(axes: Axes, evaluation: Evaluation) -> None:
    for boundary in evaluation.artifact.boundaries:
        axes.axvline(boundary - 0.5, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    axes.set_xlim(-0.5, evaluation.artifact.steps - 0.5)


def _quantile(counts: npt.NDArray[np.int64], values: Float64, share: float) -> Float64:
    """Value below which ``share`` of every row of counts (T, bins) lies."""
    order = np.argsort(values, kind="stable")
    below = np.cumsum(counts[:, order], axis=1) >= share * counts.sum(axis=1, keepdims=True)
    return values[order][below.argmax(axis=1)]


def _busiest(evaluation: Evaluation) -> list[LayerSpec]:
    """Post-SiLU layers whose range moves most over the steps: up to three."""
    histograms = evaluation.statistics().histograms
    values = silu_reals()
    moved = []
    for spec in layers(evaluation.checkpoint.config).values():
        if spec.source == "silu" and spec.norm is not None:
            high = _quantile(histograms[spec.norm], values, 0.999)
            moved.append((float(high.max() / max(high.min(), 1e-6)), spec))
    moved.sort(key=lambda pair: -pair[0])
    return [spec for _, spec in moved[:3]]


def _ranges(path: Path, evaluation: Evaluation) -> Path:
    statistics = evaluation.statistics()
    values = silu_reals()
    steps = np.arange(evaluation.artifact.steps)
    figure = Figure(figsize=(8, 4.6))
    upper, lower = figure.subplots(2, 1, sharex=True)
    for colour, spec in zip(COLOURS, _busiest(evaluation), strict=False):
        counts = statistics.histograms[spec.norm or ""]
        high = _quantile(counts, values, 0.9999)
        upper.step(steps, high, where="mid", color=colour, label=f"input of {spec.name}")
    upper.set_ylabel("SiLU output, 99.99 %")
    upper.set_title("Activation ranges over the denoising steps; dashed: timestep groups")
    upper.set_ylim(bottom=0)
    streams = [s for s in layers(evaluation.checkpoint.config).values() if s.source == "stream"]
    streams.sort(key=lambda s: -_drift(statistics.peaks[s.name].max(axis=1)))
    for colour, spec in zip(COLOURS[3:], streams[:3], strict=False):
        peak = statistics.peaks[spec.name].max(axis=1)
        lower.step(steps, peak, where="mid", color=colour, label=f"input of {spec.name}")
    lower.set_ylabel("largest |stream|")
    lower.set_ylim(bottom=0)
    lower.set_xlabel("step, from noise to image")
    for axes in (upper, lower):
        _boundaries(axes, evaluation)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7.5)
    return _save(figure, path)


def _drift(peaks: Float64) -> float:
    return float(peaks.max() / max(float(peaks.min()), 1e-9))


def _codes(path: Path, evaluation: Evaluation, bits: int = 6) -> Path:
    spec = next(s for s in layers(evaluation.checkpoint.config).values() if s.source == "silu")
    counts = evaluation.statistics().histograms[spec.norm or ""].sum(axis=0)
    values = silu_reals()
    top = float(values[np.flatnonzero(counts)].max())
    edges = np.concatenate([np.linspace(-0.29, 0, 30), np.linspace(0, top, 120)[1:]])
    density = np.histogram(values, edges, weights=counts, density=True)[0]
    figure = Figure(figsize=(8, 4.8))
    upper, *rows = figure.subplots(
        1 + len(CODES), 1, sharex=True, height_ratios=[4, *[0.8] * len(CODES)]
    )
    upper.stairs(density, edges, fill=True, color=COLOURS[0], alpha=0.35)
    upper.stairs(density, edges, color=COLOURS[0])
    upper.set_yscale("log")
    upper.set_ylabel("density")
    upper.set_title(f"SiLU output read by {spec.name}, and the levels of each {bits}-bit code")
    energy = float(counts @ values**2)
    for axes, code, colour in zip(rows, CODES, COLOURS[1:], strict=False):
        found = best_code(code, bits, counts, True)
        sweep = np.linspace(-0.6 * top if code == "symmetric" else -0.4, 1.2 * top, 40 * U_BINS)
        levels = np.unique(np.round(found.apply(sweep), 9))
        noise = float(counts @ (values - found.apply(values)) ** 2)
        axes.vlines(levels, 0, 1, color=colour, linewidth=0.8)
        decibels = 10 * np.log10(energy / max(noise, 1e-30))
        axes.set_ylabel(NAMES[code], rotation=0, ha="right", va="center")
        axes.text(1.01, 0.5, f"{decibels:.1f} dB", transform=axes.transAxes, va="center")
        axes.set_yticks([])
        axes.grid(visible=False)
        axes.spines["left"].set_visible(False)
    rows[-1].set_xscale("symlog", linthresh=0.5, linscale=1.0)
    ticks = [t for t in (-0.25, 0, 0.25, 0.5, 1, 2, 4, 8, 16) if t <= top]
    rows[-1].xaxis.set_major_locator(FixedLocator(ticks))
    rows[-1].xaxis.set_minor_locator(FixedLocator([]))
    rows[-1].xaxis.set_major_formatter(ScalarFormatter())
    rows[-1].xaxis.set_minor_formatter(NullFormatter())
    rows[-1].set_xlim(-0.4, top * 1.03)
    rows[-1].set_xlabel("value (linear to 0.5, logarithmic above); dB: SQNR over all steps")
    return _save(figure, path)


def _short(row: Row) -> str:
    return str(row["name"]).removesuffix(f", {row['bits']} bits")


def _errors(path: Path, evaluation: Evaluation, rows: Sequence[Row]) -> Path:
    wanted = ("static symmetric", "static affine", "affine + groups", "region + groups")
    chosen = [r for r in rows if r["bits"] == 8 and _short(r) in wanted]
    chosen += [r for r in rows if str(r["name"]).startswith("integer")]
    figure = Figure(figsize=(8, 3.8))
    axes = figure.subplots()
    steps = np.arange(evaluation.artifact.steps)
    for colour, row in zip(COLOURS, chosen, strict=False):
        integer = str(row["name"]).startswith("integer")
        axes.plot(
            steps,
            row["eps_sqnr_db"],
            color=INK if integer else colour,
            linewidth=2.2 if integer else 1.4,
            label="integer network" if integer else _short(row),
        )
    _boundaries(axes, evaluation)
    axes.set_xlabel("step, from noise to image; dashed: timestep groups")
    axes.set_ylabel("eps-SQNR, dB (more is better)")
    axes.set_title("Error of the predicted noise at each step, 8 bits")
    axes.legend(loc="lower left", frameon=True, facecolor=PANEL, edgecolor=GRID, framealpha=1)
    return _save(figure, path)


def write_ablation(path: Path, rows: Sequence[Row], title: str = "") -> Path:
    """Bars of what each variant keeps: eps-SQNR, image PSNR and, where measured, change of FID.

    ``rows``: of an evaluation, or read back from a page (``page_rows``). ``UserError`` if none of
    them is quantized and measured.
    """
    measured = [r for r in rows if r["bits"] is not None and r.get("psnr_db") is not None]
    if not measured:
        raise UserError("ablation: no row with bits and PSNR to draw")
    names = list(dict.fromkeys(_short(r) for r in measured))
    widths = sorted({r["bits"] for r in measured}, reverse=True)
    kinds = [
        ("eps_sqnr_db_mean", "eps-SQNR, mean over the steps", "dB (more is better)"),
        ("psnr_db", "images to float images, PSNR", "dB (more is better)"),
    ]
    if all((r.get("fid_change") or 0) > 0 for r in measured):  # a logarithm has no place for others
        kinds.append(("fid_change", "change of FID", "less is better, logarithmic"))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3 + 3 * len(kinds), 1.4 + 0.34 * len(names)))
        for axes, (key, heading, unit) in zip(
            figure.subplots(1, len(kinds), sharey=True), kinds, strict=True
        ):
            for place, bits in enumerate(widths):
                height = 0.8 / len(widths)
                offset = (place - (len(widths) - 1) / 2) * height
                here = {_short(r): r[key] for r in measured if r["bits"] == bits}
                places = [names.index(name) + offset for name in here]
                label = f"{bits} bits"
                axes.barh(places, here.values(), height, color=COLOURS[place], label=label)
            for at, name in enumerate(names):
                if name.startswith("integer"):  # the real thing among simulations
                    axes.axhspan(at - 0.5, at + 0.5, color=GRID, zorder=0)
            axes.set_title(heading)
            axes.set_xlabel(unit)
            axes.grid(visible=False, axis="y")
            if key == "fid_change":
                least = min(r[key] for r in measured)
                axes.set_xscale("log")
                axes.set_xlim(left=10.0 ** np.floor(np.log10(least)))
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        figure.axes[0].set_yticks(range(len(names)), names)
        figure.axes[0].set_ylim(len(names) - 0.4, -0.6)
        if title:
            figure.suptitle(title, x=0.0, ha="left")
        return _save(figure, path)


def _side_by_side(path: Path, evaluation: Evaluation, count: int = 24) -> Path:
    real, integer = evaluation.pictures(count)
    scale = max(1, 48 // evaluation.checkpoint.config.sample_size[0])
    figure = Figure(figsize=(8.4, 2.25))
    panels = figure.subplots(1, 3)
    apart = np.abs(real.astype(np.int16) - integer).astype(np.uint8)
    largest = int(apart.max())
    titles = ("float32", "integers only", f"difference x 8 (largest {largest} of 255)")
    enlarged = 255 - np.minimum(apart.astype(np.int64) * 8, 255).astype(np.uint8)
    for axes, images, title in zip(panels, (real, integer, enlarged), titles, strict=True):
        sheet = grid(images, 6, scale, gap=2)
        axes.imshow(sheet if sheet.shape[2] == 3 else sheet[:, :, 0], cmap="gray", vmin=0, vmax=255)
        axes.set_title(title)
        axes.axis("off")
    return _save(figure, path)


def write_figures(folder: Path, evaluation: Evaluation, rows: Sequence[Row]) -> list[Path]:
    """Write every picture for which ``rows`` has the figures; return their paths."""
    ensure_writable_folder(folder)
    with matplotlib.rc_context(STYLE):
        paths = [
            _ranges(folder / "ranges.png", evaluation),
            _codes(folder / "codes.png", evaluation),
            _errors(folder / "errors.png", evaluation, rows),
            write_ablation(folder / "ablation.png", rows),
            _side_by_side(folder / "samples.png", evaluation),
        ]
    return paths


def _main(arguments: Sequence[str]) -> int:
    try:
        if len(arguments) != 3:
            raise UserError("python -m cosim.figures: needs PAGE SIZE FILE")
        page, size, path = arguments
        write_ablation(Path(path), page_rows(Path(page), size), f"{size} images")
    except UserError as error:
        print(f"stepscale: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
