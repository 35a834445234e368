"""Reference statistics of a Fréchet distance: mean (F,) and covariance (F, F) of real images.

``covariance = sum((f - mean) (f - mean)^T) / (count - 1)``, float64. They stand for the data set,
so that a distance can be measured without it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from golden.errors import UserError
from golden.evaluation.tensor_file import read_tensors, write_tensors

__all__ = ["Reference", "embedded_reference", "load_reference", "save_reference"]

DATA = Path(__file__).parent / "data"
FORMAT = "stepscale reference 1"


@dataclass(frozen=True, eq=False)
class Reference:
    """``mean`` (F,) and ``covariance`` (F, F) float64 of ``count`` images.

    ``floor`` is the distance between training and test images, None if not known; ``features`` is
    the sha256 of the feature network's file; ``provenance`` says what the images were.
    """

    mean: Tensor
    covariance: Tensor
    count: int
    floor: float | None = None
    features: str = ""
    provenance: str = ""

    def __post_init__(self) -> None:
        width = self.mean.shape[0] if self.mean.dim() == 1 else -1
        if width < 1 or self.covariance.shape != (width, width):
            shapes = f"{tuple(self.mean.shape)} and {tuple(self.covariance.shape)}"
            raise UserError(f"reference: mean and covariance must be (F,) and (F, F), got {shapes}")
        for name in ("mean", "covariance"):
            tensor = getattr(self, name)
            if tensor.dtype != torch.float64 or not torch.isfinite(tensor).all():
                raise UserError(f"reference: {name} must be finite float64")
        if not torch.allclose(self.covariance, self.covariance.T, rtol=1e-9, atol=1e-12):
            raise UserError("reference: covariance must be symmetric")
        if self.count < 2:
            raise UserError(f"reference: needs 2 images or more, got {self.count}")

    @classmethod
    def of(cls, features: Tensor, /, **about: Any) -> "Reference":
        """Statistics of ``features`` (N, F); ``about`` gives floor, features and provenance."""
        wide = features.detach().double().cpu()
        if len(wide) < 2:
            raise UserError(f"reference: needs 2 images or more, got {len(wide)}")
        return cls(wide.mean(dim=0), torch.cov(wide.T), len(wide), **about)

    @property
    def width(self) -> int:
        """Number of features, F."""
        return self.mean.shape[0]


def save_reference(path: Path, reference: Reference) -> None:
    """Write ``reference`` to the safetensors file ``path``, atomically."""
    record = {
        "count": reference.count,
        "floor": reference.floor,
        "features": reference.features,
        "provenance": reference.provenance,
    }
    tensors = {"mean": reference.mean, "covariance": reference.covariance}
    write_tensors(path, FORMAT, tensors, record)


def load_reference(path: Path) -> Reference:
    """Read and check a reference; ``UserError`` if the file is missing, damaged or altered."""
    tensors, record = read_tensors(path, FORMAT)
    try:
        return Reference(tensors["mean"], tensors["covariance"], **record)
    except (KeyError, TypeError, UserError) as error:
        raise UserError(f"{path}: {error}") from error


def embedded_reference(network: str) -> Reference:
    """Statistics that come with the package, for "fashion16" or "fashion32"."""
    path = DATA / f"reference_{network}.safetensors"
    if network not in ("fashion16", "fashion32"):
        raise UserError(f"no reference {network!r}; allowed: fashion16, fashion32, or a file")
    return load_reference(path)
