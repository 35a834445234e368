"""Training of the feature networks: ``loss = cross_entropy(classifier(moved image), label)``.

Makes the files of ``golden/evaluation/data``: for 16x16 and 32x32 images the classifier with its
whitening, and the reference statistics of the test images.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from golden.errors import UserError
from golden.evaluation.features import FORMAT, WIDTH, Classifier, FeatureNetwork
from golden.evaluation.fid import frechet_distance
from golden.evaluation.reference import Reference, save_reference
from golden.evaluation.tensor_file import write_tensors

__all__ = ["accuracy", "make_features", "train_classifier", "whitening_of"]


def train_classifier(
    images: Tensor,
    labels: Tensor,
    device: torch.device,
    *,
    epochs: int = 20,
    batch: int = 256,
    learning_rate: float = 3e-3,
    shift: int = 2,
    seed: int = 0,
    report: Callable[[int, float], None] | None = None,
) -> Classifier:
    """Train on ``images`` (N, 1, H, W) uint8 with ``labels`` (N,) int64; return it in eval mode.

    AdamW, one cycle of the rate, images moved by up to ``shift`` pixels. The random numbers depend
    on ``seed`` alone; on CUDA the kernels may differ in rounding. ``report(epoch, loss)``.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        network = Classifier().to(device).train()
        draw = torch.Generator().manual_seed(seed)
        optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-3)
        batches = len(images) // batch
        rates = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, learning_rate, epochs=epochs, steps_per_epoch=batches
        )
        images, labels = images.to(device), labels.to(device)
        for epoch in range(epochs):
            order = torch.randperm(len(images), generator=draw).to(device)
            total = torch.zeros((), device=device)
            for index in order[: batches * batch].split(batch):
                down, right = torch.randint(-shift, shift + 1, (2,), generator=draw).tolist()
                moved = images[index].roll((down, right), dims=(2, 3))  # the border is black
                scores = network(moved)
                loss = nn.functional.cross_entropy(scores, labels[index], label_smoothing=0.05)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                rates.step()
                total += loss.detach()
            if report is not None:
                report(epoch, float(total) / batches)
    return network.eval().requires_grad_(False)


@torch.no_grad()
def accuracy(network: Classifier, images: Tensor, labels: Tensor, batch: int = 500) -> float:
    """Return the share of ``images`` whose class is found, 0..1."""
    device = next(network.parameters()).device
    parts = [network(part.to(device)).argmax(dim=1).cpu() for part in images.split(batch)]
    return float((torch.cat(parts) == labels).double().mean())


def whitening_of(features: Tensor) -> tuple[Tensor, Tensor, float]:
    """Mean (F,), symmetric whitening matrix (F, F), float32, and the covariance's condition.

    ``features`` (N, F). ``UserError`` if the covariance has a condition above 1e8.
    """
    mean = features.double().mean(dim=0)
    covariance = torch.cov(features.double().T)
    values, vectors = torch.linalg.eigh(covariance)
    condition = float(values[-1] / values[0].clamp(min=1e-300))
    if condition > 1e8:
        raise UserError(f"features cannot be whitened: condition {condition:.1e}, allowed: 1e8")
    matrix = (vectors / values.sqrt()) @ vectors.T
    return mean.float(), matrix.float(), condition


def make_feature_network(
    network: Classifier, test_images: Tensor, size: int, path: Path, record: Mapping[str, Any]
) -> float:
    """Whiten ``network`` on ``test_images``, write it to ``path``, return the condition."""
    device = next(network.parameters()).device
    raw = FeatureNetwork.of_classifier(
        network, torch.zeros(WIDTH), torch.eye(WIDTH), size, device=device
    )
    mean, matrix, condition = whitening_of(raw(test_images).cpu())
    whitening = {"whitening.mean": mean, "whitening.matrix": matrix}
    tensors = {**network.state_dict(), **whitening}
    write_tensors(path, FORMAT, tensors, {**record, "size": size, "condition": condition})
    return condition


def make_features(
    size: int,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    out: Path,
    device: torch.device,
    *,
    seed: int = 0,
    epochs: int = 20,
    command: str = "",
    report: Callable[[int, float], None] | None = None,
) -> dict[str, Any]:
    """Train, whiten and write ``features{size}`` and ``reference_fashion{size}`` to ``out``.

    ``train`` and ``test`` are images (N, 1, size, size) uint8 and labels (N,) int64. Returns the
    record of both: accuracy on the test images, the condition, and ``floor``, the distance between
    training and test images.
    """
    network = train_classifier(*train, device, epochs=epochs, seed=seed, report=report)
    record: dict[str, Any] = {
        "command": command,
        "size": size,
        "seed": seed,
        "epochs": epochs,
        "parameters": sum(p.numel() for p in network.parameters()),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "images": len(train[0]),
        "accuracy": accuracy(network, *test),
    }
    path = out / f"features{size}.safetensors"
    record["condition"] = make_feature_network(network, test[0], size, path, record)
    # loaded again: the statistics belong to the file
    features = FeatureNetwork.load(size, device, out)
    of_test = features(test[0])
    reference = Reference.of(of_test, features=features.sha256)
    record["floor"] = frechet_distance(features(train[0]), reference)
    about = f"{len(of_test)} test images of Fashion-MNIST at {size}x{size}; floor: training images"
    reference = Reference.of(
        of_test, floor=record["floor"], features=features.sha256, provenance=about
    )
    save_reference(out / f"reference_fashion{size}.safetensors", reference)
    return record
