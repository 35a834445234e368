"""What a folder of Verilog says about itself: ``manifest.json`` read, checked and typed.

The bench takes every name and bit position from here, so that generated Verilog, a hand-edited
copy and a netlist with the same top are all driven alike.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from golden.errors import UserError

__all__ = ["Field", "Manifest", "Port", "load_manifest", "same_parameters"]

FORMAT = 1


@dataclass(frozen=True)
class Field:
    """One member of a payload: ``count`` lanes of ``width`` bits from bit ``offset`` on."""

    name: str
    offset: int
    width: int
    signed: bool
    count: int
    scalar: bool


@dataclass(frozen=True)
class Port:
    """A stream (``valid``, ``ready``, ``payload`` name its nets) or a plain port (``name``)."""

    name: str
    kind: str
    direction: str
    width: int
    signed: bool
    fields: tuple[Field, ...]
    valid: str = ""
    ready: str = ""
    payload: str = ""

    @property
    def nets(self) -> tuple[str, ...]:
        """Names in the Verilog; a stream without payload bits has no payload net."""
        if self.kind == "plain":
            return (self.name,) if self.width else ()
        return (self.valid, self.ready, *([self.payload] if self.width else []))


@dataclass(frozen=True)
class Manifest:
    """The parts of ``manifest.json`` that co-simulation needs."""

    folder: Path
    block: str
    parameters: Mapping[str, Any]
    top: str
    files: tuple[str, ...]
    ports: tuple[Port, ...]
    hash: str

    @property
    def sources(self) -> tuple[Path, ...]:
        """Verilog files, in the order of the manifest."""
        return tuple(self.folder / name for name in self.files)

    def port(self, name: str) -> Port:
        """Return the port or stream called ``name``; ``UserError`` if there is none."""
        for port in self.ports:
            if port.name == name:
                return port
        raise UserError(
            f"{self.folder}/manifest.json: block {self.block!r} has no port {name!r}, only "
            f"{', '.join(port.name for port in self.ports)}"
        )


def _port(entry: Mapping[str, Any]) -> Port:
    fields = tuple(
        Field(
            field["name"],
            int(field["offset"]),
            int(field["width"]),
            bool(field["signed"]),
            int(field.get("count", 1)),
            bool(field.get("scalar", True)),
        )
        for field in entry.get("fields", ())
    )
    return Port(
        entry["name"],
        entry["kind"],
        entry["direction"],
        int(entry["width"]),
        bool(entry.get("signed", False)),
        fields,
        *(entry.get(net, "") for net in ("valid", "ready", "payload")),
    )


def load_manifest(folder: Path) -> Manifest:
    """Read ``folder/manifest.json``; ``UserError`` for anything missing or malformed."""
    path = folder / "manifest.json"
    try:
        data = json.loads(path.read_text())
        if data["format"] != FORMAT:
            raise UserError(f"{path}: format must be {FORMAT}, got {data['format']!r}")
        files = tuple(str(name) for name in data["files"])
        manifest = Manifest(
            folder.resolve(),
            data["block"],
            dict(data["parameters"]),
            data["top"],
            files,
            tuple(_port(entry) for entry in data["ports"]),
            data.get("hash", ""),
        )
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: is not a manifest ({error})") from error
    except KeyError as error:
        raise UserError(f"{path}: key {error} is missing") from error
    for source in manifest.sources:
        if not source.is_file():
            raise UserError(f"{path}: lists {source.name}, which is not in {folder}")
    return manifest


def content_hash(manifest: Manifest) -> str:
    """Hash of the Verilog as it lies there now, edited or not, and of the ports."""
    digest = hashlib.sha256(manifest.top.encode())
    for source in manifest.sources:
        content = source.read_bytes()
        digest.update(f"\0{source.name}\0{len(content)}\0".encode())
        digest.update(content)
    for port in manifest.ports:
        digest.update(repr((port.nets, port.direction)).encode())
    return digest.hexdigest()


def same_parameters(manifest: Manifest, block: str, parameters: Mapping[str, Any]) -> None:
    """Raise ``UserError`` unless the folder holds ``block`` made with ``parameters``.

    Only names that both know are compared; a wrong port is found when the cases are packed.
    """
    if manifest.block != block:
        raise UserError(
            f"{manifest.folder}: holds block {manifest.block!r}, the bench wants {block!r}"
        )
    for name, wanted in parameters.items():
        got = manifest.parameters.get(name, wanted)
        if json.loads(json.dumps(wanted, default=str)) != got:
            raise UserError(
                f"{manifest.folder}: {block} was generated with {name} = {got!r}, "
                f"the bench wants {wanted!r}"
            )
