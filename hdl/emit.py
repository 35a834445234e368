"""Turn a component into Verilog that ships: one module a file, and a manifest that describes it.

``emit`` is a function of the component alone: no date, path or random name enters the text, so the
same parameters give the same bytes.
"""

import gc
import hashlib
import importlib.metadata
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import Fragment, Shape, Value
from amaranth.lib import data, stream, wiring

from golden.errors import UserError
from golden.files import atomic_write, ensure_writable_folder
from hdl.verilog.ports import name_ports, split_ports
from hdl.verilog.rtlil import parse
from hdl.verilog.sharing import share
from hdl.verilog.simplify import simplify
from hdl.verilog.writer import WrittenModule, write_module

__all__ = ["MANIFEST", "EmittedDesign", "Origin", "emit", "snake_case", "write"]

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Origin:
    """Where the Verilog came from, for the proof that both are equal.

    ``rtlil`` is Amaranth's text; ``modules`` gives the Verilog module for each RTLIL module, and
    ``wires[Verilog module]`` the Verilog name for each RTLIL wire.
    """

    rtlil: str
    modules: dict[str, str]
    wires: dict[str, dict[str, str]]


@dataclass(frozen=True)
class EmittedDesign:
    """``files``: Verilog by file name, children first; ``manifest``: see ``docs/verilog.md``."""

    files: dict[str, str]
    manifest: dict[str, Any]
    origin: Origin = field(repr=False)


def snake_case(name: str) -> str:
    """``SiluQuantizer`` -> ``silu_quantizer``."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return name.lower().strip("_")


def emit(
    component: wiring.Component, *, block: str, parameters: Mapping[str, Any]
) -> EmittedDesign:
    """Generate the Verilog of ``component``; its top module is named ``block``.

    ``parameters`` go into the header and the manifest: sizes are fixed in generated Verilog.
    """
    parameters = {name: _plain_value(value) for name, value in parameters.items()}
    with _collection_paused():
        fragment = Fragment.get(component, None)
        signals = [Value.cast(value) for _, _, value in component.signature.flatten(component)]
        text = rtlil.convert(fragment, name=block, ports=signals, emit_src=False)
        modules = parse(text)
    split_ports(modules)
    name_ports(modules)
    origins = {f"\\{block}": component, **_origins(fragment, f"\\{block}")}
    base_names = {path: snake_case(type(part).__name__) for path, part in origins.items()}
    for name in modules:
        wish = name.rsplit(".", 1)[-1].lstrip("\\").rstrip("_0123456789") or "part"
        base_names.setdefault(name, wish)
    base_names[f"\\{block}"] = block

    ports = list(_ports(component))
    order = [
        "\\" + port[key]
        for port in ports
        for key in ("payload", "valid", "ready", "name")
        if key in port and (key != "name" or port["kind"] == "plain")
    ]
    written: dict[str, WrittenModule] = {}
    shared, new_names = share(modules, f"\\{block}", base_names)
    for name, module in shared.items():
        simplify(module, {child: done.outputs for child, done in written.items()})
        header = _header(name, block, parameters)
        written[name] = write_module(module, written, header, order if name == block else ())
    texts = {name: done.text for name, done in written.items()}
    for path, part in origins.items():
        if hasattr(part, "primitive") and path in new_names:
            name = new_names[path]
            texts[name] = _with_primitive(written[name].text, part)
    files = {f"{name}.v": text for name, text in texts.items()}
    hashes = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
    manifest: dict[str, Any] = {
        "format": 1,
        "generator": f"stepscale {_version()}",
        "block": block,
        "parameters": parameters,
        "top": block,
        "files": list(files),
        "latency": _latencies(component),
        "clock": "clk",
        "reset": "rst",
        "ports": ports,
        "sha256": hashes,
    }
    everything = json.dumps(manifest, sort_keys=True).encode()
    manifest["hash"] = hashlib.sha256(everything).hexdigest()
    wires = {name: done.all_names for name, done in written.items()}
    return EmittedDesign(files, manifest, Origin(text, new_names, wires))


def write(design: EmittedDesign, folder: Path) -> None:
    """Write ``design`` to ``folder``: all of it, the manifest last.

    An older manifest is removed first, with the files that it lists and that are not written
    again; so a folder with a manifest is complete. Files of anyone else are left alone.
    """
    ensure_writable_folder(folder)
    manifest_path = folder / MANIFEST
    stale = set(_listed_files(manifest_path)) - set(design.files)
    text = json.dumps(design.manifest, indent=2) + "\n"
    try:
        unchanged = manifest_path.read_text() == text and all(
            (folder / name).read_text() == content for name, content in design.files.items()
        )
    except (OSError, UnicodeDecodeError):
        unchanged = False
    if unchanged:
        return
    try:
        manifest_path.unlink(missing_ok=True)
        for name in sorted(stale):
            (folder / name).unlink(missing_ok=True)
        for name, content in design.files.items():
            with atomic_write(folder / name) as path:
                path.write_text(content)
        with atomic_write(manifest_path) as path:
            path.write_text(text)
    except OSError as error:
        raise UserError(f"output folder {folder}: cannot be written ({error.strerror})") from error


def _listed_files(manifest_path: Path) -> list[str]:
    """Return the plain ``.v`` names that an older manifest lists."""
    try:
        names = json.loads(manifest_path.read_text())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [name for name in names if isinstance(name, str) and re.fullmatch(r"\w+\.v", name)]


@contextmanager
def _collection_paused() -> Iterator[None]:
    """Elaboration makes millions of objects and no garbage: a third of the time is saved."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _version() -> str:
    return importlib.metadata.version("stepscale")


def _header(module: str, block: str, parameters: Mapping[str, Any]) -> list[str]:
    lines = [f"// {module}" + ("" if module == block else f", a part of {block}")]
    lines.append(f"// Generated by stepscale {_version()}; sizes are fixed at generation:")
    for name, value in parameters.items():
        text = json.dumps(value)
        lines.append(f"//   {name} = {text if len(text) <= 80 else f'{text[:77]}...'}")
    return [*lines, "// SPDX-License-Identifier: Apache-2.0"]


def _plain_value(value: Any) -> Any:
    """Return a JSON value: enumerations by value, arrays as lists."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, tuple | list):
        return [_plain_value(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain_value(item) for key, item in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return getattr(value, "value", value)
    if hasattr(value, "value"):
        return _plain_value(value.value)
    return str(value)


def _with_primitive(text: str, part: Any) -> str:
    """Return ``text``, and for who defines ``part.macro`` the module with the body of a primitive.

    Ports are what the parts around it drive: what they are called, and which bits are constants,
    differs between instances. So the primitive's inputs are read from the behavioural body.
    """
    inputs = {}
    for name, line in part.primitive_inputs.items():
        found = re.findall(f"^ *{line.format('(.+)')}$", text, re.MULTILINE)
        if len(found) != 1:
            raise RuntimeError(f"{name} of a primitive: {len(found)} lines {line!r} in:\n{text}")
        inputs[name] = found[0]
    lines = part.primitive(**inputs)
    head, directive, module = text.partition("`default_nettype none\n")
    body, end, rest = module.rpartition("endmodule\n")
    ports = body[: body.index(");\n") + 3].replace("output reg ", "output wire")
    other = ports + "".join(f"{line}\n" for line in lines)
    return f"{head}{directive}\n`ifdef {part.macro}{other}{end}`else{body}{end}`endif\n{rest}"


def _origins(fragment: Any, path: str) -> dict[str, wiring.Component]:
    """Return the component that each module below ``path`` came from, where there is one."""
    names: dict[str, wiring.Component] = {}
    for index, (child, name, _) in enumerate(fragment.subfragments):
        child_path = f"{path}.{name or f'U${index}'}"
        names.update(_origins(child, child_path))
        for origin in child.origins or ():
            if isinstance(origin, wiring.Component):
                names[child_path] = origin
                break
    return names


def _latencies(component: wiring.Component) -> dict[str, int]:
    """Return the clock cycles from input to output: of the block, or of each of its paths."""
    latency = getattr(component, "latency", None)
    if isinstance(latency, Mapping):
        return {str(key): int(value) for key, value in latency.items()}
    return {} if latency is None else {"cycles": int(latency)}


def _ports(component: wiring.Component) -> Iterator[dict[str, Any]]:
    for name, member in component.signature.members.items():
        direction = "in" if member.flow == wiring.In else "out"
        if member.is_port:
            yield _plain_port(name, member)
        elif _is_stream(member.signature):
            payload = member.signature.members["payload"].shape
            yield {
                "name": name,
                "kind": "stream",
                "direction": direction,
                "valid": f"{name}__valid",
                "ready": f"{name}__ready",
                "payload": f"{name}__payload",
                "width": Shape.cast(payload).width,
                "fields": list(_fields(payload)),
            }
        else:
            for part, inner in member.signature.members.items():
                if not inner.is_port:
                    raise TypeError(f"Port {name}.{part} must be plain, not {inner!r}")
                yield _plain_port(f"{name}__{part}", inner)


def _is_stream(signature: wiring.Signature | wiring.FlippedSignature) -> bool:
    return isinstance(signature, stream.Signature) or isinstance(signature.flip(), stream.Signature)


def _plain_port(name: str, member: wiring.Member) -> dict[str, Any]:
    shape = Shape.cast(member.shape)
    return {
        "name": name,
        "kind": "plain",
        "direction": "in" if member.flow == wiring.In else "out",
        "width": shape.width,
        "signed": shape.signed,
    }


def _fields(payload: Any) -> Iterator[dict[str, Any]]:
    """Members of a payload; an array of scalars is one field with a count."""
    if not isinstance(payload, data.Layout):
        shape = Shape.cast(payload)
        yield _field("payload", 0, shape, None)
        return
    for name, member in payload:
        if isinstance(member.shape, data.ArrayLayout):
            element = Shape.cast(member.shape.elem_shape)
            yield _field(str(name), member.offset, element, member.shape.length)
        else:
            yield _field(str(name), member.offset, Shape.cast(member.shape), None)


def _field(name: str, offset: int, shape: Shape, count: int | None) -> dict[str, Any]:
    return {
        "name": name,
        "offset": offset,
        "width": shape.width,
        "signed": shape.signed,
        "count": 1 if count is None else count,
        "scalar": count is None,
    }
