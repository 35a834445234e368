"""Statements of an ``always`` block, and how the blocks of several registers become one.

Registers of one clock assign without blocking, so their statements commute: those under the same
condition are printed under one ``if``.
"""

import textwrap
from dataclasses import dataclass, field

__all__ = ["Block", "Case", "If", "Line", "Statement", "lines_of", "merge", "wrapped"]


@dataclass
class Line:
    """One assignment."""

    text: str


@dataclass
class If:
    """``if ... else if ... else``; the last condition may be empty: ``else``."""

    branches: list[tuple[str, "Block"]] = field(default_factory=list)


@dataclass
class Case:
    """``case`` or ``casez``; an empty label is the default."""

    keyword: str
    select: str
    branches: list[tuple[str, "Block"]] = field(default_factory=list)


Statement = Line | If | Case
Block = list[Statement]


def _same_shape(left: Statement, right: Statement) -> bool:
    if isinstance(left, If) and isinstance(right, If):
        pairs = zip(left.branches, right.branches, strict=False)
        return all(one == other for (one, _), (other, _) in pairs)
    if isinstance(left, Case) and isinstance(right, Case):
        labels = [c for c, _ in left.branches] == [c for c, _ in right.branches]
        return labels and (left.keyword, left.select) == (right.keyword, right.select)
    return False


def merge(into: Block, new: Block) -> None:
    """Add the statements of one more register to ``into``, keeping their own order."""
    position = 0
    for statement in new:
        for index in range(position, len(into)):
            if _same_shape(into[index], statement):
                old = into[index].branches  # type: ignore[union-attr]
                more = statement.branches  # type: ignore[union-attr]
                for (_, block), (_, added) in zip(old, more, strict=False):
                    merge(block, added)
                old += more[len(old) :]  # a longer chain adds its last branches
                position = index
                break
        else:
            into.append(statement)
            position = len(into)


def wrapped(text: str, indent: int) -> list[str]:
    """Break one statement at blanks so that it stays within 100 columns."""
    pad = " " * indent
    if len(pad + text) <= 100:
        return [pad + text]
    return textwrap.wrap(
        text,
        100,
        initial_indent=pad,
        subsequent_indent=pad + "    ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _negated(branches: list[tuple[str, Block]]) -> list[tuple[str, Block]]:
    """``if (c) nothing; else x`` becomes ``if (!c) x``."""
    if len(branches) == 2 and not branches[0][1] and not branches[1][0]:
        condition = branches[0][0]
        name = condition.removeprefix("~")
        simple = name.replace("_", "").isalnum()
        if simple:
            return [(name if condition != name else f"~{name}", branches[1][1])]
        return [(f"~({condition})", branches[1][1])]
    return branches


def _flattened(branches: list[tuple[str, Block]]) -> list[tuple[str, Block]]:
    """``else`` with nothing but an ``if`` inside becomes ``else if``."""
    condition, inner = branches[-1]
    if not condition and len(branches) > 1 and len(inner) == 1 and isinstance(inner[0], If):
        return [*branches[:-1], *_flattened(inner[0].branches)]
    return branches


def _body(block: Block, head: str, indent: int) -> list[str]:
    """``head`` and a block: on one line if it is one short assignment."""
    pad = " " * indent
    if len(block) == 1 and isinstance(block[0], Line):
        one = f"{pad}{head} {block[0].text}"
        if len(one) <= 100:
            return [one]
    return [f"{pad}{head} begin", *lines_of(block, indent + 2), f"{pad}end"]


def lines_of(block: Block, indent: int) -> list[str]:
    """Print a block."""
    pad = " " * indent
    lines: list[str] = []
    for statement in block:
        if isinstance(statement, Line):
            lines += wrapped(statement.text, indent)
        elif isinstance(statement, If):
            for index, (condition, inner) in enumerate(_flattened(_negated(statement.branches))):
                head = ("else " if index else "") + (f"if ({condition})" if condition else "")
                if index and lines[-1] == f"{pad}end":
                    lines.pop()
                    head = f"end {head}"
                printed = _body(inner, head.strip(), indent)
                # An empty or nested body keeps begin and end, so no else can dangle.
                lines += printed
        else:
            lines.append(f"{pad}{statement.keyword} ({statement.select})")
            for label, inner in statement.branches:
                if inner:
                    lines += _body(inner, f"{label or 'default'}:", indent + 2)
                else:
                    lines.append(f"{pad}  {label or 'default'}: ;")
            lines.append(f"{pad}endcase")
    return lines
