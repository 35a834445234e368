"""The container of an artifact: tensors and one JSON text in a ``.safetensors`` file.

Any safetensors reader opens it. The bytes are canonical (one content, one file), every tensor and
the metadata carry a sha256, and ``unpack`` refuses whatever ``pack`` would not have written: a
changed byte anywhere, the header's padding included, is found.

File: 8 bytes little-endian header length, header JSON padded with spaces to a multiple of 8, data.
The header's ``__metadata__`` has one key, ``stepscale``:
``{"format": 2, "metadata": {...}, "sha256": hash of the metadata's canonical JSON}``.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from safetensors import SafetensorError

from golden.errors import UserError

__all__ = ["FORMAT", "canonical_json", "pack", "tensor_sha256", "unpack"]

FORMAT = 2
KEY = "stepscale"
Tensors = Mapping[str, npt.NDArray[Any]]
DTYPES = {"int8": "I8", "uint8": "U8", "int16": "I16", "uint16": "U16",
          "int32": "I32", "int64": "I64"}  # fmt: skip


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces; ``ValueError`` for NaN and infinities."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def tensor_sha256(tensor: npt.NDArray[Any]) -> str:
    """Hash of dtype, shape and little-endian elements."""
    digest = hashlib.sha256(f"{tensor.dtype.name}{list(tensor.shape)}".encode())
    digest.update(np.ascontiguousarray(tensor).astype(tensor.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def pack(tensors: Tensors, metadata: Mapping[str, Any]) -> bytes:
    """The file's bytes. ``metadata`` must be JSON without a key ``tensors``, which is added."""
    content = {**metadata, "tensors": {name: tensor_sha256(t) for name, t in tensors.items()}}
    digest = hashlib.sha256(canonical_json(content).encode()).hexdigest()
    envelope = {"format": FORMAT, "metadata": content, "sha256": digest}
    header: dict[str, Any] = {"__metadata__": {KEY: canonical_json(envelope)}}
    parts, offset = [], 0
    # wide elements first, so that every tensor lies aligned
    for name in sorted(tensors, key=lambda n: (-tensors[n].itemsize, n)):
        tensor = tensors[name]
        data = np.ascontiguousarray(tensor).astype(tensor.dtype.newbyteorder("<")).tobytes()
        header[name] = {
            "dtype": DTYPES[tensor.dtype.name],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + len(data)],
        }
        parts.append(data)
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(parts)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _envelope(data: bytes) -> dict[str, Any]:
    """The JSON under our key; ``UserError`` if the file has none."""
    length = int.from_bytes(data[:8], "little")
    try:
        text = json.loads(data[8 : 8 + length])["__metadata__"][KEY]
        envelope = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError("is a safetensors file, but not an artifact of stepscale") from error
    if not isinstance(envelope, dict):
        raise UserError("metadata: must be a JSON object")
    return envelope


def unpack(data: bytes) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """Tensors and metadata of a file's bytes.

    ``UserError`` (without the file's name) if the bytes are truncated or altered, of another
    format version, or not an artifact at all.
    """
    try:
        tensors = safetensors.numpy.load(data)
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"is truncated, altered or no safetensors file ({error})") from error
    envelope = _envelope(data)
    if envelope.get("format") != FORMAT:
        raise UserError(f"format version {envelope.get('format')!r}; this program reads {FORMAT}")
    metadata = envelope.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("tensors"), dict):
        raise UserError("metadata: must hold the object 'tensors'")
    if hashlib.sha256(canonical_json(metadata).encode()).hexdigest() != envelope.get("sha256"):
        raise UserError("metadata: sha256 differs, the file was altered")
    hashes = metadata["tensors"]
    for name in sorted(hashes.keys() | tensors.keys()):
        if name not in tensors:
            raise UserError(f"tensor {name}: is missing")
        if name not in hashes:
            raise UserError(f"tensor {name}: is not listed in the metadata")
        if tensors[name].dtype.name not in DTYPES:
            raise UserError(f"tensor {name}: dtype {tensors[name].dtype} is not allowed")
        if tensor_sha256(tensors[name]) != hashes[name]:
            raise UserError(f"tensor {name}: sha256 differs, the file was altered")
    metadata = {key: value for key, value in metadata.items() if key != "tensors"}
    if pack(tensors, metadata) != data:
        raise UserError("header: not as written, the file was altered")
    return tensors, metadata
