"""Runs a cocotb bench of this folder on a block behind its AXI wrapper.

The bench gets its task as a pickle and leaves a verdict; a run counts by what the verdict says was
compared, as in ``cosim.bench``.
"""

import json
import pickle
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cosim.build import Model, VerilatorRunner, build_model
from cosim.bus.verdict import BusVerdict
from cosim.generate import generate
from golden.errors import UserError
from golden.files import cache_folder, ensure_writable_folder
from hdl.axi_wrapper import wrap
from hdl.emit import write

__all__ = ["run_bus", "wrapped"]

SECONDS = 600.0


def wrapped(block: str, parameters: Mapping[str, Any], folder: Path) -> Path:
    """Write ``block`` and its wrapper into ``folder``, the wrapper as the manifest's top.

    ``folder/block`` holds the block alone.
    """
    design = generate(block, parameters)
    write(design, folder / "block")
    write(design, folder)
    wrapper = wrap(design.manifest)
    (folder / f"{wrapper.top}.v").write_text(wrapper.text)
    manifest = dict(design.manifest)
    manifest["top"] = wrapper.top
    manifest["files"] = [*design.files, f"{wrapper.top}.v"]
    manifest["ports"] = [
        {"name": p.name, "kind": "plain", "direction": p.direction, "width": p.width}
        for p in wrapper.ports
    ]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def run_bus(rtl: Path, bench: str, work: Mapping[str, Any], *, seed: int) -> BusVerdict:
    """Run ``cosim.bus.<bench>`` on the Verilog of folder ``rtl``; ``work`` is its task."""
    model = build_model(rtl)
    runs = ensure_writable_folder(cache_folder() / "runs")
    folder = Path(tempfile.mkdtemp(prefix=f"{model.manifest.block}-bus-", dir=runs))
    try:
        (folder / "task.pickle").write_bytes(pickle.dumps({**work, "seed": seed}))
        _simulate(model, folder, bench, seed)
        verdict = folder / "verdict.json"
        if not verdict.is_file():
            raise _failure(folder, f"{bench}: it wrote no verdict")
        return BusVerdict(**json.loads(verdict.read_text()))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _simulate(model: Model, folder: Path, bench: str, seed: int) -> None:
    runner = VerilatorRunner(timeout_seconds=SECONDS)
    try:
        runner.test(
            test_module=f"cosim.bus.{bench}",
            hdl_toplevel=model.manifest.top,
            hdl_toplevel_lang="verilog",
            build_dir=model.folder,
            test_dir=folder,
            results_xml=str(folder / "results.xml"),
            seed=seed,
            extra_env={"STEPSCALE_RUN": str(folder)},
            log_file=str(folder / "simulation.log"),
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{bench}: simulation did not end within {SECONDS:.0f} s") from error
    except (RuntimeError, SystemExit) as error:
        raise _failure(folder, f"{bench}: {error}") from error


def _failure(folder: Path, reason: str) -> UserError:
    kept = cache_folder() / "failed-simulation.log"
    log = folder / "simulation.log"
    text = log.read_text(errors="replace") if log.is_file() else ""
    kept.write_text(text)
    lines = [line.strip() for line in text.splitlines() if "Error" in line]
    return UserError(f"{reason}: {lines[-1] if lines else 'no message'} (log: {kept})")
