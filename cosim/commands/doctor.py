"""``stepscale doctor``: is everything there that a simulation needs?"""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["doctor"]


def doctor(
    json_file: Annotated[
        Path | None, typer.Option("--json", help="write the findings here")
    ] = None,
) -> None:
    """Check compiler, make, headers and a small Verilator build; exit 1 if something needed fails.

    Each miss comes with the line that mends it.
    """
    import json
    from dataclasses import asdict

    from rich.console import Console

    from cosim.commands._progress import shown
    from cosim.doctor import checkup
    from golden.files import atomic_write

    with shown() as progress:
        findings = checkup(progress)
    if json_file is not None:
        with atomic_write(json_file) as temporary:
            record = {"ok": all(f.ok or not f.needed for f in findings)}
            items = [asdict(finding) for finding in findings]
            temporary.write_text(json.dumps({**record, "checks": items}, indent=2) + "\n")
    console = Console(soft_wrap=True, highlight=False)
    for finding in findings:
        word = "ok" if finding.ok else "MISSING" if finding.needed else "absent"
        style = "green" if finding.ok else "red" if finding.needed else "yellow"
        console.print(f"[{style}]{word:8}[/] {finding.name}: ", end="")
        console.print(finding.text, markup=False)
        if not finding.ok:
            console.print(f"         mend: {finding.cure}", markup=False)
    if any(finding.needed and not finding.ok for finding in findings):
        raise typer.Exit(1)
