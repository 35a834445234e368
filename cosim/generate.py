"""From a block's name and settings to its Verilog; every wrong setting is one clear line."""

import gc
import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from amaranth.lib import wiring

from golden.errors import UserError
from hdl.blocks import BLOCKS, parameters_of
from hdl.emit import EmittedDesign, emit

__all__ = ["block_names", "block_parameters", "generate", "make_block", "parse_settings"]


def block_names(choice: str) -> list[str]:
    """Return the blocks that ``--block`` names; ``all`` stands for every one."""
    if choice == "all":
        return list(BLOCKS)
    if choice not in BLOCKS:
        raise UserError(f"--block must be one of {', '.join(BLOCKS)} or all, got {choice!r}")
    return [choice]


def parse_settings(words: Sequence[str]) -> dict[str, Any]:
    """``["rows=4", "decode=edge"]`` -> ``{"rows": 4, "decode": "edge"}``."""
    settings: dict[str, Any] = {}
    for word in words:
        name, equals, value = (part.strip() for part in word.partition("="))
        if not (name and equals and value):
            raise UserError(f"--set must be NAME=VALUE, got {word!r}")
        settings[name] = int(value) if value.removeprefix("-").isdecimal() else value
    return settings


def block_parameters(
    block: str, rows: int | None, cols: int | None, settings: Mapping[str, Any], *, strict: bool
) -> dict[str, Any]:
    """Return the parameters that differ from the block's own defaults.

    ``rows`` and ``cols`` are the size of the array; a block without columns has ``lanes``, one a
    column. ``strict`` refuses a setting that the block does not have; for several blocks at once
    it is left to those that have it.
    """
    known = inspect.signature(BLOCKS[block]).parameters
    parameters: dict[str, Any] = {}
    if rows is not None and "rows" in known:
        parameters["rows"] = rows
    if cols is not None and "cols" in known:
        parameters["cols"] = cols
    elif cols is not None and "lanes" in known:
        parameters["lanes"] = cols
    for name, value in settings.items():
        if name in known:
            parameters[name] = value
        elif strict:
            raise UserError(f"block {block} has no parameter {name!r}; it has {', '.join(known)}")
    return parameters


def make_block(block: str, parameters: Mapping[str, Any]) -> wiring.Component:
    """Build the component; a wrong parameter is a ``UserError`` with the constructor's text."""
    problem = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a refused block has parts that nobody will use
        try:
            return BLOCKS[block](**parameters)
        except (TypeError, ValueError) as error:
            problem = str(error)
        gc.collect()
    raise UserError(f"block {block}: {problem}")


def generate(block: str, parameters: Mapping[str, Any]) -> EmittedDesign:
    """Return the Verilog of ``block``; all its parameters stand in the manifest."""
    component = make_block(block, parameters)
    return emit(component, block=block, parameters=parameters_of(component))
