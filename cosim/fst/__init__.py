"""Waveforms in FST without a library of the system: what a build needs besides ``--trace-fst``.

Verilator's FST writer calls two functions of LZ4 and two of zlib. The headers beside this file
stand in for both, so neither is included from the system nor linked.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

__all__ = ["fst_make_words", "fst_options"]

HEADERS = Path(__file__).resolve().parent


def fst_options() -> list[str]:
    """Return Verilator's options; the hash of the headers makes a changed one a new program."""
    text = b"".join(path.read_bytes() for path in sorted(HEADERS.glob("*.h")))
    digest = hashlib.sha256(text).hexdigest()[:12]
    return ["--trace-fst", "-CFLAGS", f"-I{HEADERS} -DSTEPSCALE_FST_HEADERS=0x{digest}"]


def fst_make_words(options: Sequence[str]) -> list[str]:
    """Return words for ``make`` that leave both libraries out of the link of an FST program."""
    return ["LDLIBS=$(filter-out -lz,$(VM_USER_LDLIBS))"] * ("--trace-fst" in options)
