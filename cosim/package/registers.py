"""The register description in every form that an integration wants, from one SystemRDL source.

PeakRDL writes the C header, the HTML pages and IP-XACT; the Python constants are a few lines.
"""

import re
import tempfile
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from peakrdl_cheader.exporter import CHeaderExporter
from peakrdl_html import HTMLExporter
from systemrdl import RDLCompiler
from systemrdl.node import AddrmapNode, FieldNode

from hdl.register_map import PARAMETERS, SOURCE, compiled

__all__ = ["causes", "has_ipxact", "rdl_text", "write_registers"]


def rdl_text(parameters: Mapping[str, int]) -> str:
    """The description with the values of one accelerator as its defaults."""
    text = SOURCE.read_text()
    for name in PARAMETERS:
        text, found = re.subn(
            rf"\b{name.upper()} = \d+", f"{name.upper()} = {parameters[name]}", text
        )
        if found != 1:
            raise ValueError(f"{SOURCE.name}: parameter {name.upper()} stands {found} times")
    return text


def causes() -> tuple[str, ...]:
    """Text of each value of the register cause."""
    compiler = RDLCompiler()
    compiler.compile_file(str(SOURCE))
    node = compiler.elaborate().top.find_by_path("cause.code")
    assert isinstance(node, FieldNode)
    members = list(node.get_property("encode") or ())
    if [int(member) for member in members] != list(range(len(members))):
        raise ValueError(f"{SOURCE.name}: causes must be 0, 1, 2, ...")
    return tuple(str(member.rdl_desc) for member in members)


def has_ipxact() -> bool:
    """Whether the extra ``ipxact`` is installed."""
    return find_spec("peakrdl_ipxact") is not None


def write_registers(folder: Path, parameters: Mapping[str, int], version: str) -> None:
    """Write ``registers.rdl``, headers for C and Python, ``html/``; IP-XACT with the extra."""
    source = folder / "registers.rdl"
    source.write_text(rdl_text(parameters))
    compiler = RDLCompiler()
    compiler.compile_file(str(source))
    top = compiler.elaborate().top
    (folder / "stepscale_registers.h").write_text(_header(top))
    (folder / "stepscale_registers.py").write_text("\n".join(_constants(parameters)) + "\n")
    if has_ipxact():
        from peakrdl_ipxact import IPXACTExporter  # noqa: PLC0415 (GPL: an extra of the user's own)

        xml = IPXACTExporter(vendor="stepscale", library="ip", version=version)
        xml.export(top, str(folder / "stepscale.ipxact.xml"))
    HTMLExporter().export(top, str(folder / "html"), skip_not_present=False)


def _header(top: AddrmapNode) -> str:
    with tempfile.TemporaryDirectory(prefix="stepscale-") as name:
        path = Path(name) / "stepscale_registers.h"
        CHeaderExporter().export(top, str(path))
        text = path.read_text()
    texts = ", \\\n    ".join(f'"{text}"' for text in causes())
    place = text.rindex("#endif")
    return f"{text[:place]}#define STEPSCALE_CAUSES \\\n    {texts}\n\n{text[place:]}"


def _constants(parameters: Mapping[str, int]) -> Iterator[str]:
    """Lines of the Python module: byte offsets, masks of fields, reset values."""
    yield '"""Registers of the stepscale accelerator, made from registers.rdl: do not edit.'
    yield ""
    yield "NAME: byte offset of a register; NAME_FIELD: mask of a field; NAME_FIELD_RESET."
    yield '"""'
    yield ""
    for register in compiled({name: parameters[name] for name in PARAMETERS}):
        name = register.name.upper()
        yield f"{name} = {register.address:#04x}"
        for field in register.fields:
            yield f"{name}_{field.name.upper()} = {field.mask:#x}"
            yield f"{name}_{field.name.upper()}_RESET = {field.reset:#x}"
    yield "CAUSES = ("
    yield from (f'    "{text}",' for text in causes())
    yield ")"
    yield ""
    yield ""
    yield "def field(word: int, mask: int) -> int:"
    yield '    """Return the field of ``word`` under ``mask``."""'
    yield "    return (word & mask) // (mask & -mask)"
