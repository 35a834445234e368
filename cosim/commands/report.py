"""``stepscale report``: what the other commands found, on one page for a browser."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["report"]


def report(
    files: Annotated[
        list[Path],
        typer.Argument(help="JSON files of cosim, coverage, mutation, formal or bench"),
    ],
    out: Annotated[Path, typer.Option(help="the page")] = Path("out/report.html"),
) -> None:
    """Write one HTML page of JSON reports: tables, coverage, and a picture of each mismatch.

    The page needs no other file. The exit status is 0 even if a run in it failed.
    """
    from cosim.html.page import load_reports, write_page

    reports = load_reports(files)
    write_page(reports, out)
    typer.echo(f"{out}: {len(reports)} report{'s' if len(reports) > 1 else ''}")
