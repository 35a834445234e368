"""Which module instantiates which, read from the Verilog itself, as a Mermaid diagram."""

import re
from collections import Counter
from collections.abc import Mapping

__all__ = ["instances", "mermaid"]

_INSTANCE = re.compile(r"^\s*(\w+)\s+\w+\s*\($", re.MULTILINE)


def instances(files: Mapping[str, str]) -> dict[str, Counter[str]]:
    """Return module -> child -> number of instances; ``files``: module -> Verilog."""
    return {
        name: Counter(kind for kind in _INSTANCE.findall(text) if kind in files and kind != name)
        for name, text in files.items()
    }


def mermaid(files: Mapping[str, str], top: str) -> str:
    """Flowchart of what is below ``top``, each module once; numbers on edges count instances."""
    children = instances(files)
    lines, todo, seen = ["flowchart LR"], [top], {top}
    while todo:
        name = todo.pop(0)
        for child, count in children[name].items():
            label = f"|{count}|" if count > 1 else ""
            lines.append(f"  {name} -->{label} {child}")
            if child not in seen:
                seen.add(child)
                todo.append(child)
    return "\n".join(lines if len(lines) > 1 else [*lines, f"  {top}"])
