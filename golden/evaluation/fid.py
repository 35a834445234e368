"""Fréchet distance: ``|m - m'|^2 + tr(S) + tr(S') - 2 tr((S S')^(1/2))`` of feature statistics.

The distance is torchmetrics' ``FrechetInceptionDistance`` on features of ours. Resampling needs
hundreds of distances; these come from float64 linear algebra here, equal to torchmetrics' to
rounding: ``tr((S S')^(1/2)) = sum sqrt(eig(R S R))``, ``R = S'^(1/2)``, all matrices symmetric.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from golden.errors import UserError
from golden.evaluation.features import FeatureNetwork, load_torchscript
from golden.evaluation.reference import (
    Reference,
    embedded_reference,
    load_reference,
    save_reference,
)

__all__ = [
    "FeatureNetwork",
    "FidChange",
    "Reference",
    "embedded_reference",
    "fid_change",
    "frechet_distance",
    "load_reference",
    "load_torchscript",
    "save_reference",
]

COVERAGE = 0.95
"""Part of the resampled changes inside the interval."""


@dataclass(frozen=True)
class FidChange:
    """Distances of two sets of images of the same noise, and their difference.

    ``change = fid_b - fid_a``; ``low`` and ``high`` bound 95 % of it over resampled images;
    ``resolved`` is False if the interval holds 0.
    """

    fid_a: float
    fid_b: float
    change: float
    low: float
    high: float
    resolved: bool


class _Given(nn.Module):
    """A feature network whose images are features already, (N, F) float64."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width

    def forward(self, features: Tensor) -> Tensor:
        return features


def _check(features: Tensor, reference: Reference) -> Tensor:
    if features.dim() != 2 or features.shape[1] != reference.width:
        shape = tuple(features.shape)
        raise UserError(f"features must be (N, {reference.width}) for this reference, got {shape}")
    if len(features) < 2:
        raise UserError(f"a Fréchet distance needs 2 images or more, got {len(features)}")
    if not torch.isfinite(features).all():
        raise UserError("features hold NaN or infinity")
    return features.detach().double().cpu()


def frechet_distance(features: Tensor, reference: Reference) -> float:
    """Return the distance of ``features`` (N, F) from ``reference``; the same bits on repeat.

    Computed on the CPU in float64. ``UserError`` if shapes do not fit or fewer than 2 images.
    """
    wide = _check(features, reference)
    metric = FrechetInceptionDistance(feature=_Given(reference.width)).set_dtype(torch.float64)
    count, mean = reference.count, reference.mean
    metric.real_features_num_samples = torch.tensor(count)
    metric.real_features_sum = mean * count
    outer = torch.outer(mean, mean)
    metric.real_features_cov_sum = reference.covariance * (count - 1) + outer * count
    metric.update(wide, real=False)
    return float(metric.compute())


class _Resampler:
    """Distances of weighted features from a reference; holds the root of its covariance."""

    def __init__(self, reference: Reference) -> None:
        values, vectors = torch.linalg.eigh(reference.covariance)
        self.root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
        self.reference, self.trace = reference, reference.covariance.trace()

    def distance(self, features: Tensor, weights: Tensor) -> Tensor:
        """Distance of ``features`` (N, F), each counted ``weights`` (N,) times, float64."""
        count = weights.sum()
        mean = weights @ features / count
        scaled = features * weights[:, None]
        covariance = (scaled.T @ features - count * torch.outer(mean, mean)) / (count - 1)
        middle = self.root @ covariance @ self.root
        root_trace = torch.linalg.eigvalsh((middle + middle.T) / 2).clamp(min=0).sqrt().sum()
        shift = (mean - self.reference.mean).square().sum()
        return shift + self.trace + covariance.trace() - 2 * root_trace


def fid_change(
    features_a: Tensor,
    features_b: Tensor,
    reference: Reference,
    seed: int = 0,
    resamples: int = 200,
) -> FidChange:
    """Return how far ``features_b`` (N, F) are from ``reference`` beyond ``features_a`` (N, F).

    Row i of both must be of the same noise: each of the ``resamples`` draws N rows with
    replacement, the same of both. The interval is that of the resampled changes, moved so that
    their mean is the change itself. A pure function of its arguments.
    """
    a, b = _check(features_a, reference), _check(features_b, reference)
    if a.shape != b.shape:
        raise UserError(f"both need the same images, got {len(a)} and {len(b)}")
    if not 2 <= resamples <= 100000:
        raise UserError(f"resamples = {resamples} is not allowed; allowed: 2..100000")
    fid_a, fid_b = frechet_distance(a, reference), frechet_distance(b, reference)
    draw = torch.Generator().manual_seed(seed)
    resampler = _Resampler(reference)
    changes = torch.empty(resamples, dtype=torch.float64)
    for i in range(resamples):
        drawn = torch.randint(len(a), (len(a),), generator=draw)
        weights = torch.bincount(drawn, minlength=len(a)).double()
        changes[i] = resampler.distance(b, weights) - resampler.distance(a, weights)
    change = fid_b - fid_a
    tail = (1 - COVERAGE) / 2
    low, high = torch.quantile(changes, torch.tensor([tail, 1 - tail], dtype=torch.float64))
    move = change - float(changes.mean())
    low_value, high_value = float(low) + move, float(high) + move
    resolved = not low_value <= 0 <= high_value
    return FidChange(fid_a, fid_b, change, low_value, high_value, resolved)
