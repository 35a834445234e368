"""Builds the Verilog of a faulty copy of ``hdl/`` in a process of its own."""

import json
import os
import shutil
import subprocess
import sys
from functools import lru_cache
from importlib import import_module
from pathlib import Path

import hdl
from tests.faults.faults import PARAMETERS

__all__ = ["cases_of", "generate", "plant"]

SEED = 3
_GENERATE = """
import importlib, json, pathlib, sys
import hdl
assert pathlib.Path(hdl.__file__).parent.parent == pathlib.Path.cwd(), hdl.__file__
from hdl.emit import emit, write
block, parameters, folder = json.loads(sys.argv[1])
make = getattr(importlib.import_module(f"hdl.{block}"), block.title().replace("_", ""))
write(emit(make(**parameters), block=block, parameters=parameters), pathlib.Path(folder))
"""


def plant(folder, fault=None):
    """Copy ``hdl/`` into ``folder`` and replace the fault's text, which must occur once."""
    source = Path(hdl.__file__).parent
    copy = folder / "hdl"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
    if fault is not None:
        path = copy / fault.file
        text = path.read_text()
        count = text.count(fault.old)
        assert count == 1, f"{fault.name}: text occurs {count} times in hdl/{fault.file}"
        path.write_text(text.replace(fault.old, fault.new))
    return folder


def generate(folder, block):
    """Generate the Verilog of ``block`` from the copy of ``hdl/`` in ``folder``."""
    rtl = folder / "rtl"
    root = Path(hdl.__file__).parent.parent
    job = json.dumps([block, PARAMETERS[block], str(rtl)])
    done = subprocess.run(
        [sys.executable, "-c", _GENERATE, job],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{root}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return rtl


@lru_cache
def cases_of(block):
    """The block's normal cases."""
    return import_module(f"cosim.tb_{block}").cases(SEED, PARAMETERS[block])
