"""Which memories the Verilog has, read from its text: a designer maps them to RAM, ROM, macros."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cosim.package.hierarchy import instances

__all__ = ["Memory", "instance_counts", "memories"]

_DECLARATION = re.compile(r"(\(\* no_rw_check \*\) )?\breg (?:\[(\d+):0\] )?(\w+) \[0:(\d+)\];")
_SLICE = re.compile(r"\[(\d+):(\d+)\]$|\[(\d+)\]$")


@dataclass(frozen=True)
class Memory:
    """An array of registers in a module.

    ``clocked``, ``unclocked``: read ports with and without a register behind them; ``lanes``: parts
    of a word that are written each by itself, 1 for a whole word, 0 for a memory that is only read;
    ``old``: a read of the word that is written gives the one before, otherwise either will do.
    """

    module: str
    name: str
    words: int
    width: int
    clocked: int
    unclocked: int
    lanes: int
    old: bool

    @property
    def bits(self) -> int:
        """Of one."""
        return self.words * self.width


def memories(files: Mapping[str, str]) -> list[Memory]:
    """Memories by module, as declared; ``files``: module -> Verilog as this project writes it."""
    return [
        _memory(module, text, name, int(words) + 1, int(high or 0) + 1, old=not free)
        for module, text in files.items()
        for free, high, name, words in _DECLARATION.findall(text)
    ]


def instance_counts(files: Mapping[str, str], top: str) -> dict[str, int]:
    """Return how often each module occurs in one ``top``."""
    below = instances(files)
    counts = dict.fromkeys(files, 0)

    def visit(module: str, times: int) -> None:
        counts[module] += times
        for child, number in below[module].items():
            visit(child, times * number)

    visit(top, 1)
    return counts


def _memory(module: str, text: str, name: str, words: int, width: int, *, old: bool) -> Memory:
    clocked = unclocked = 0
    lanes: set[str] = set()
    for before, index, after in _uses(text, name):
        if after.startswith("<="):
            part = _SLICE.search(index) if index.count("[") > 1 else None
            lanes.add(part.group() if part else "")
        elif after.startswith("="):
            continue  # of an initial block
        elif before.endswith("<="):
            clocked += 1
        else:
            unclocked += 1
    return Memory(module, name, words, width, clocked, unclocked, len(lanes), old)


def _uses(text: str, name: str) -> Iterator[tuple[str, str, str]]:
    """What stands before ``name``, its brackets, and what comes after, for every use of it."""
    for match in re.finditer(rf"\b{name}(?=\[)", text):
        end, depth = match.end(), 0
        while depth or text[end] == "[":
            depth += {"[": 1, "]": -1}.get(text[end], 0)
            end += 1
        yield (
            text[: match.start()].rstrip()[-2:],
            text[match.end() : end],
            text[end : end + 9].lstrip(),
        )
