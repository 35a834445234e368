"""Checkpoint folders: ``config.json``, weights and ``scheduler_config.json``, checked on load.

Reads what ``stepscale train`` writes, a diffusers model folder, and a diffusers pipeline folder
(``unet/`` and ``scheduler/`` inside). Weights are safetensors, or ``.bin`` read without unpickling
code.
"""

import hashlib
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from golden.errors import UserError
from golden.files import atomic_write, ensure_writable_folder
from golden.network.config import UNetConfig
from golden.network.presets import EMBEDDED
from golden.network.samplers import SchedulerConfig
from golden.network.unet import UNet

__all__ = ["Checkpoint", "embedded_checkpoint", "load_checkpoint", "save_checkpoint"]

CONFIG = "config.json"
SCHEDULER = "scheduler_config.json"
SAFETENSORS = "diffusion_pytorch_model.safetensors"
PICKLED = "diffusion_pytorch_model.bin"

OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Attention layers in checkpoints made before diffusers 0.15, and their names since."""


@dataclass(frozen=True)
class Checkpoint:
    """A loaded network: ``unet`` is in eval mode, ``sha256`` is of the weights' file."""

    config: UNetConfig
    scheduler: SchedulerConfig
    unet: UNet
    sha256: str


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except safetensors.SafetensorError as error:
        raise UserError(f"checkpoint {path}: truncated or not safetensors ({error})") from error
    except OSError as error:
        raise UserError(f"checkpoint {path}: cannot be read ({error.strerror})") from error
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(f"checkpoint {path}: truncated, or holds more than tensors") from error
    if not isinstance(state, dict):
        raise UserError(f"checkpoint {path}: must hold named tensors, got {type(state).__name__}")
    return state


def _modern_name(name: str) -> str:
    parts = name.split(".")
    if "attentions" in parts:
        parts = [OLD_NAMES.get(part, part) for part in parts]
    return ".".join(parts)


def _check_weights(path: Path, state: Mapping[str, Any], unet: UNet) -> dict[str, Tensor]:
    """Return the weights by their present names; ``UserError`` on the first that does not fit."""
    weights = {_modern_name(name): tensor for name, tensor in state.items()}
    wanted = unet.state_dict()
    missing, unexpected = sorted(wanted.keys() - weights), sorted(weights.keys() - wanted)
    if missing:
        raise UserError(f"checkpoint {path}: {len(missing)} tensors missing, first {missing[0]}")
    if unexpected:
        first = f"{len(unexpected)} tensors not in the network of config.json, first"
        raise UserError(f"checkpoint {path}: {first} {unexpected[0]}")
    for name, expected in wanted.items():
        tensor = weights[name]
        if not isinstance(tensor, Tensor) or tensor.dtype != torch.float32:
            kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise UserError(f"checkpoint {path}: {name} must be float32, got {kind}")
        if tensor.shape != expected.shape:
            shapes = f"{tuple(expected.shape)}, got {tuple(tensor.shape)}"
            raise UserError(f"checkpoint {path}: {name} must have shape {shapes}")
        if not torch.isfinite(tensor).all():
            bad = "NaN" if torch.isnan(tensor).any() else "Inf"
            raise UserError(f"checkpoint {path}: {name} holds {bad}; allowed: finite values")
    return weights


def load_checkpoint(folder: Path) -> Checkpoint:
    """Load and check a checkpoint folder; ``UserError`` says what is wrong and where."""
    if not folder.is_dir():
        raise UserError(f"checkpoint {folder}: no such folder")
    model = folder / "unet" if (folder / "unet").is_dir() else folder
    config = UNetConfig.from_file(model / CONFIG)
    if config.out_channels != config.in_channels:
        channels = f"{config.out_channels} is not supported; allowed: in_channels, "
        raise UserError(
            f"{model / CONFIG}: network option out_channels = {channels}{config.in_channels}"
        )
    schedulers = [folder / "scheduler" / SCHEDULER, model / SCHEDULER]
    found = [path for path in schedulers if path.exists()]
    scheduler = SchedulerConfig.from_file(found[0] if found else schedulers[-1])
    candidates = [path for path in (model / SAFETENSORS, model / PICKLED) if path.exists()]
    if not candidates:
        raise UserError(f"checkpoint {model}: holds neither {SAFETENSORS} nor {PICKLED}")
    path = candidates[0]
    unet = UNet(config)
    unet.load_state_dict(_check_weights(path, _read_weights(path), unet))
    unet.eval().requires_grad_(False)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Checkpoint(config, scheduler, unet, digest)


def embedded_checkpoint() -> Checkpoint:
    """The trained ``fashion16`` network that comes with the package."""
    return load_checkpoint(EMBEDDED)


def save_checkpoint(
    folder: Path,
    config: UNetConfig,
    scheduler: SchedulerConfig,
    weights: Mapping[str, Tensor],
    training: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint folder; each file is either the old one or complete.

    ``training`` is the record of the run, written to ``training.json`` if given.
    """
    ensure_writable_folder(folder)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    texts = {CONFIG: config.to_dict(), SCHEDULER: scheduler.to_dict()}
    if training is not None:
        texts["training.json"] = dict(training)
    with atomic_write(folder / SAFETENSORS) as temporary:
        safetensors.torch.save_file(tensors, temporary, metadata={"format": "pt"})
    for name, options in texts.items():
        with atomic_write(folder / name) as temporary:
            temporary.write_text(json.dumps(options, indent=2) + "\n", encoding="utf-8")
