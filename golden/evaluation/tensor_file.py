"""Small safetensors files with a digest: ``sha256`` over names, types, shapes and bytes.

Format: named tensors, and the metadata ``format``, ``record`` (JSON) and ``sha256``.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from golden.errors import UserError
from golden.files import atomic_write

__all__ = ["digest", "read_tensors", "write_tensors"]


def digest(tensors: Mapping[str, Tensor], record: str) -> str:
    """Return the sha256 of ``tensors`` in the order of their names, and of ``record``."""
    state = hashlib.sha256(record.encode())
    for name, tensor in sorted(tensors.items()):
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        state.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return state.hexdigest()


def write_tensors(
    path: Path, kind: str, tensors: Mapping[str, Tensor], record: Mapping[str, Any]
) -> None:
    """Write ``tensors`` and ``record`` as a file of format ``kind``, atomically."""
    text = json.dumps(record, sort_keys=True)
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"format": kind, "record": text, "sha256": digest(plain, text)}
    with atomic_write(path) as temporary:
        safetensors.torch.save_file(plain, temporary, metadata=metadata)


def read_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and record of a file of format ``kind``.

    ``UserError`` if it is missing, truncated, altered or of another format.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as stream:
            metadata = stream.metadata() or {}
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    except (safetensors.SafetensorError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: truncated or not safetensors ({error})") from error
    if metadata.get("format") != kind:
        raise UserError(f"{path}: format must be {kind!r}, got {metadata.get('format')!r}")
    text = metadata.get("record", "")
    if metadata.get("sha256") != digest(tensors, text):
        raise UserError(f"{path}: altered: the sha256 of its contents is not the one written in it")
    return tensors, json.loads(text)
