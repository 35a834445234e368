"""What an evaluation says: one record for programs, one table for readers, from the same rows.

``change = fid - fid_float``; a change whose interval holds 0 is printed as not resolved.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from golden.errors import UserError
from golden.evaluation.ablation import Evaluation
from golden.evaluation.fid import (
    FeatureNetwork,
    Reference,
    embedded_reference,
    load_reference,
    load_torchscript,
)
from golden.evaluation.variants import BITS
from golden.files import atomic_write
from golden.network.config import UNetConfig

__all__ = ["COLUMNS", "cells", "check_markdown", "markdown_table", "measures", "page_rows",
           "parse_bits", "summary", "write_markdown"]  # fmt: skip

Row = dict[str, Any]

COLUMNS = (
    "model",
    "bits",
    "eps-SQNR dB",
    "least dB",
    "PSNR dB",
    "FID",
    "change",
    "95 % interval",
    "extra MACs %",
    "table kB",
)
OWN_SIZES = ((16, 16), (32, 32))
IMAGES = re.compile(r"(\d+) images of seed")  # as markdown_table writes it


def parse_bits(text: str) -> tuple[int, ...]:
    """Widths separated by commas, each of 8, 7, 6; ``UserError`` otherwise."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    allowed = {str(b): b for b in BITS}
    if not parts or any(part not in allowed for part in parts):
        raise UserError(f"bits {text!r}: allowed: {', '.join(allowed)}, separated by commas")
    return tuple(allowed[part] for part in dict.fromkeys(parts))


def measures(
    config: UNetConfig, features: Path | None, reference: Path | None, device: str
) -> tuple[FeatureNetwork | None, Reference | None]:
    """Feature network and reference statistics of a network's images; ``None`` without them.

    ``features``: a TorchScript file, which needs a ``reference``; left out: ours where they take
    such images, with the embedded statistics unless a ``reference`` is given. ``UserError`` if the
    statistics are of other features.
    """
    size, own = config.sample_size, config.in_channels == 1 and config.sample_size in OWN_SIZES
    if features is not None:
        if reference is None:
            raise UserError("--features needs --reference: statistics of the same features")
        network = load_torchscript(features, torch.device(device))
    elif own:
        network = FeatureNetwork.load(size[0], torch.device(device))
    elif reference is not None:
        shape = f"{config.in_channels} x {size[0]} x {size[1]}"
        raise UserError(f"--reference needs --features: none of ours takes {shape} images")
    else:
        return None, None
    if reference is None:
        statistics = embedded_reference(f"fashion{size[0]}")
    else:
        statistics = load_reference(reference)
    if statistics.features and statistics.features != network.sha256:
        was, now = statistics.features[:12], network.sha256[:12]
        raise UserError(f"reference: is of the features {was}..., not of {now}...")
    if statistics.width != network.width:
        raise UserError(f"reference: has {statistics.width} features, not {network.width}")
    return network, statistics


def _number(value: Any, form: str, scale: float = 1.0) -> str:
    return "-" if value is None else format(value * scale, form)


def cells(row: Row) -> list[str]:
    """One row as texts, in the order of ``COLUMNS``; "-" for what is not known."""
    name = str(row["name"]).removesuffix(f", {row['bits']} bits")
    interval = change = "-"
    if row.get("fid_change") is not None:
        change = f"{row['fid_change']:+.3f}" + ("" if row["fid_resolved"] else " (not resolved)")
        interval = f"{row['fid_change_low']:+.3f} .. {row['fid_change_high']:+.3f}"
    return [
        name,
        "-" if row["bits"] is None else str(row["bits"]),
        _number(row.get("eps_sqnr_db_mean"), ".2f"),
        _number(row.get("eps_sqnr_db_min"), ".2f"),
        _number(row.get("psnr_db"), ".2f"),
        _number(row.get("fid"), ".3f"),
        change,
        interval,
        _number(row.get("extra_macs"), ".2f", 100),
        _number(row.get("table_bytes"), ".1f", 1e-3),
    ]


def summary(evaluation: Evaluation, rows: Sequence[Row]) -> Row:
    """The record of an evaluation: figures of the last row (the integer model) and all ``rows``.

    ``None`` for what lacked its input.
    """
    final, real, s = rows[-1], rows[0], evaluation.settings
    reference = evaluation.reference
    return {
        "eps_sqnr_db_mean": final["eps_sqnr_db_mean"],
        "eps_sqnr_db_min": final["eps_sqnr_db_min"],
        "fid_float": real["fid"],
        "fid_int": final["fid"],
        "fid_change": final["fid_change"],
        "fid_change_low": final["fid_change_low"],
        "fid_change_high": final["fid_change_high"],
        "fid_resolved": final["fid_resolved"],
        "fid_floor": None if reference is None else reference.floor,
        "features": None if evaluation.features is None else evaluation.features.name,
        "psnr_db": final["psnr_db"],
        "samples": s.samples,
        "seed": s.seed,
        "calibration_seed": s.calibration_seed,
        "sqnr_images": s.sqnr_images,
        "extra_macs": final["extra_macs"],
        "size": "x".join(map(str, evaluation.checkpoint.config.sample_size)),
        "checkpoint": evaluation.checkpoint.sha256,
        "sampler": evaluation.artifact.sampler,
        "steps": evaluation.artifact.steps,
        "groups": evaluation.artifact.groups,
        "device": s.device,
        "rows": [{k: v for k, v in row.items() if k != "key"} for row in rows],
    }


def markdown_table(report: Row) -> str:
    """The table of a record of ``summary`` with a line on how it was measured."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" + "|---:" * (len(COLUMNS) - 1) + "|"]
    lines += ["| " + " | ".join(cells(row)) + " |" for row in report["rows"]]
    floor = "" if report["fid_floor"] is None else f", floor {report['fid_floor']:.4f}"
    features = report["features"] or "none"
    about = (
        f"Checkpoint {report['checkpoint'][:12]}, {report['sampler']}-{report['steps']}, "
        f"{report['groups']} groups, {report['samples']} images of seed {report['seed']}, "
        f"eps-SQNR on {report['sqnr_images']} of them, ranges from seed "
        f"{report['calibration_seed']}, features: {features}{floor}, {report['device']}."
    )
    return "\n".join([about, "", *lines])


def _place(path: Path, size: str) -> tuple[str, str, str]:
    """The page up to its table of ``size`` with the mark, the table, and the rest."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"page {path}: cannot be read ({error.strerror})") from error
    start, end = f"<!-- table {size} -->", "<!-- end -->"
    before, found, rest = text.partition(start)
    table, closed, after = rest.partition(end)
    if not found or not closed:
        raise UserError(f"page {path}: has no place {start} ... {end}")
    return before + start, table, end + after


def page_rows(path: Path, size: str) -> list[Row]:
    """Rows of the table of ``size``, HxW, that stands in the page: the inverse of ``cells``.

    ``None`` where a cell is "-"; ``extra_macs`` a share, ``table_bytes`` to the hundred.
    ``UserError`` if the page has no such table, or one of other columns.
    """
    _, table, _ = _place(path, size)
    lines = [line for line in table.splitlines() if line.startswith("|")]
    if not lines or [c.strip() for c in lines[0].strip("|").split("|")] != list(COLUMNS):
        raise UserError(f"page {path}: table {size} has not the columns {', '.join(COLUMNS)}")
    return [_row([c.strip() for c in line.strip("|").split("|")]) for line in lines[2:]]


def _row(texts: list[str]) -> Row:
    name, bits, mean, least, psnr, fid, change, interval, extra, size = texts

    def number(text: str, scale: float = 1.0) -> float | None:
        return None if text == "-" else float(text) * scale

    low, _, high = interval.partition(" .. ")
    return {
        "name": name if bits == "-" else f"{name}, {bits} bits",
        "bits": None if bits == "-" else int(bits),
        "eps_sqnr_db_mean": number(mean),
        "eps_sqnr_db_min": number(least),
        "psnr_db": number(psnr),
        "fid": number(fid),
        "fid_change": number(change.removesuffix(" (not resolved)")),
        "fid_resolved": None if change == "-" else "(not resolved)" not in change,
        "fid_change_low": number(low),
        "fid_change_high": number(high or "-"),
        "extra_macs": number(extra, 0.01),
        "table_bytes": number(size, 1000),
    }


def check_markdown(path: Path, size: str, samples: int, replace: bool = False) -> None:
    """``UserError`` if ``path`` has no place for a table of ``size``, HxW, or one of more images.

    ``replace``: a table of more images may go.
    """
    _, table, _ = _place(path, size)
    there = max((int(count) for count in IMAGES.findall(table)), default=0)
    if samples < there and not replace:
        raise UserError(
            f"page {path}: its table {size} is of {there} images, this one would be of {samples}; "
            f"take --samples {there} or more, or --replace to put it there all the same"
        )


def write_markdown(path: Path, report: Row, replace: bool = False) -> None:
    """Put the table between ``<!-- table HxW -->`` and ``<!-- end -->`` of the page ``path``.

    HxW: size of the images. ``UserError`` as ``check_markdown``.
    """
    check_markdown(path, report["size"], report["samples"], replace)
    before, _, after = _place(path, report["size"])
    with atomic_write(path) as temporary:
        page = f"{before}\n{markdown_table(report)}\n{after}"
        temporary.write_text(page, encoding="utf-8")
