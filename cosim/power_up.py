"""Power-up as silicon has it: nothing but the reset gives a register its first value.

The Verilog loses its ``initial`` blocks and every register and memory starts at random. The same
cases must give the same cycles, whatever the seed of the power-up.
"""

import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cosim.bench import emit_verilog, run_model
from cosim.build import build_model
from cosim.manifest import load_manifest
from cosim.report import BenchResult
from golden.cycles import Case
from golden.errors import UserError

__all__ = ["run_power_up", "strip_initial"]

_INITIAL = re.compile(
    r"^  initial (?:begin\n.*?^  end\n|for \([^\n]*\n(?:[^\n]*\n)??    [^\n]*;\n)",
    re.MULTILINE | re.DOTALL,
)
_ASSIGNED = re.compile(r"^    (\w+)\[.*\] = ", re.MULTILINE)
_OPTIONS = ("--x-initial", "unique", "--x-assign", "unique")


def strip_initial(text: str, keep: Collection[str] = ()) -> tuple[str, int]:
    """Return Verilog without its ``initial`` blocks, and how many there were.

    ``keep``: arrays whose blocks stay, such as those that are only read. ``UserError`` for a block
    of a form that this project does not write.
    """
    blocks = _INITIAL.findall(text)
    if len(blocks) != len(re.findall(r"^\s*initial\b", text, re.MULTILINE)):
        raise UserError("holds an initial block of a form that is not known")
    stripped = [block for block in blocks if not set(_ASSIGNED.findall(block)) & set(keep)]
    for block in stripped:
        text = text.replace(block, "", 1)
    return text, len(stripped)


def run_power_up(
    block: str,
    parameters: Mapping[str, Any],
    cases: Sequence[Case],
    seeds: Sequence[int],
    *,
    rtl: Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[BenchResult]:
    """Run ``cases`` once for each of ``seeds`` (1 or more) of the power-up.

    ``rtl``: folder with ``manifest.json`` and Verilog to use a copy of in place of a fresh one.
    """
    with tempfile.TemporaryDirectory(prefix="stepscale-") as temporary:
        folder = Path(temporary) / "rtl"
        if rtl is None:
            emit_verilog(block, parameters, folder)
        else:
            shutil.copytree(rtl, folder)
        count = 0
        for path in load_manifest(folder).sources:
            text, found = strip_initial(path.read_text())
            path.write_text(text)
            count += found
        if not count:
            raise UserError(f"block {block}: has no initial value to strip")
        model = build_model(folder, more_options=_OPTIONS)
        results = []
        for seed in seeds:
            plusargs = ["+verilator+rand+reset+2", f"+verilator+seed+{seed}"]
            result = run_model(model, cases, seed=seed, plusargs=plusargs, progress=progress)
            results.append(replace(result, parameters=dict(parameters)))
    return results
