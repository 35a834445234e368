"""Features of images for the Fréchet distance: ``f = (linear(conv(x)) - mean) @ whitening``.

A small convolutional classifier of Fashion-MNIST, one for 16x16 and one for 32x32 images; its
penultimate layer, before the activation, gives 64 features. They are whitened: over the test images
their mean is 0 and their covariance the identity.
"""

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from golden.errors import UserError
from golden.evaluation.tensor_file import read_tensors

__all__ = ["DATA", "FORMAT", "WIDTH", "Classifier", "FeatureNetwork", "load_torchscript"]

DATA = Path(__file__).parent / "data"
FORMAT = "stepscale features 1"
WIDTH = 64
"""Number of features."""
CLASSES = 10
CHANNELS = ((1, 32, 1), (32, 64, 2), (64, 64, 1), (64, 96, 2), (96, 96, 1))
"""Input channels, output channels and stride of each 3x3 conv."""


class Classifier(nn.Module):
    """Five convs, mean over pixels, 64 features, 10 classes; 0.2 M parameters.

    ``features`` maps (N, 1, H, W) uint8 to (N, 64) float32 before the activation, ``forward`` to
    (N, 10) scores.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels, out, stride in CHANNELS:
            conv = nn.Conv2d(channels, out, 3, stride=stride, padding=1, bias=False)
            layers += [conv, nn.BatchNorm2d(out), nn.ReLU()]
        self.convs = nn.Sequential(*layers)
        self.penultimate = nn.Linear(CHANNELS[-1][1], WIDTH)
        self.dropout = nn.Dropout(0.2)
        self.classes = nn.Linear(WIDTH, CLASSES)

    def features(self, images: Tensor) -> Tensor:
        """Return the penultimate layer, (N, 64) float32."""
        x = images.float() / 127.5 - 1
        return self.penultimate(self.convs(x).mean(dim=(2, 3)))

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores of the classes, (N, 10) float32."""
        return self.classes(self.dropout(torch.relu(self.features(images))))


class FeatureNetwork:
    """Images (N, C, H, W) uint8 -> features (N, ``width``) float32, whitened where it is ours.

    ``name`` and ``sha256`` say what a distance was measured with; ``size`` is the height and width
    of its images, 0 if it takes any. The same input gives the same bits: no TF32, and kernels that
    cuDNN holds to be deterministic.
    """

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        *,
        width: int,
        name: str,
        sha256: str,
        size: int = 0,
        device: torch.device | str = "cpu",
        batch: int = 500,
    ) -> None:
        self.function, self.width, self.name, self.sha256 = function, width, name, sha256
        self.size, self.device, self.batch = size, torch.device(device), batch

    @classmethod
    def load(
        cls, size: int, device: torch.device | str = "cpu", folder: Path = DATA
    ) -> "FeatureNetwork":
        """Load the network for ``size`` x ``size`` images with one channel, 16 or 32.

        ``UserError`` if there is none or the file is damaged.
        """
        if size not in (16, 32):
            raise UserError(f"no feature network for {size}x{size} images; allowed: 16, 32")
        path = folder / f"features{size}.safetensors"
        tensors, record = read_tensors(path, FORMAT)
        if record.get("size") != size:
            raise UserError(f"{path}: is for size {record.get('size')}, not {size}")
        mean, whitening = tensors.pop("whitening.mean"), tensors.pop("whitening.matrix")
        network = Classifier()
        try:
            network.load_state_dict(tensors)
        except RuntimeError as error:
            raise UserError(f"{path}: does not fit the feature network ({error})") from error
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        return cls.of_classifier(network, mean, whitening, size, sha256, device)

    @classmethod
    def of_classifier(
        cls,
        network: Classifier,
        mean: Tensor,
        whitening: Tensor,
        size: int,
        sha256: str = "",
        device: torch.device | str = "cpu",
    ) -> "FeatureNetwork":
        """Features of ``network``, whitened by ``(f - mean (F,)) @ whitening (F, F)``."""
        network = network.to(device).eval().requires_grad_(False)
        mean, whitening = mean.to(device), whitening.to(device)

        def function(images: Tensor) -> Tensor:
            return (network.features(images) - mean) @ whitening

        name = f"fashion classifier {size}x{size}"
        return cls(function, width=WIDTH, name=name, sha256=sha256, size=size, device=device)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return the features of ``images``, (N, width) float32 on the network's device."""
        if images.dtype != torch.uint8 or images.dim() != 4:
            shape = f"{images.dtype} {tuple(images.shape)}"
            raise UserError(f"images must be uint8 (N, C, H, W), got {shape}")
        if self.size and tuple(images.shape[1:]) != (1, self.size, self.size):
            wanted = f"(N, 1, {self.size}, {self.size})"
            raise UserError(f"images must be {wanted} for {self.name}, got {tuple(images.shape)}")
        parts = []
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        ):
            for part in images.split(self.batch):
                parts.append(self.function(part.to(self.device)).float())
        return torch.cat(parts)


def load_torchscript(path: Path, device: torch.device | str = "cpu") -> FeatureNetwork:
    """Features of a TorchScript file, such as the usual ``inception-2015-12-05.pt``.

    It is called with uint8 images of 3 channels (one channel is repeated), and with
    ``return_features=True`` where it takes that. ``UserError`` if it is not such a module.
    """
    try:
        with warnings.catch_warnings():
            # the usual Inception file exists in this format only
            warnings.simplefilter("ignore", DeprecationWarning)
            module = torch.jit.load(str(path), map_location=device).eval()
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"features {path}: is not a TorchScript file ({error})") from error
    names = [argument.name for argument in module.forward.schema.arguments]
    options = {"return_features": True} if "return_features" in names else {}

    def function(images: Tensor) -> Tensor:
        colours = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        return module(colours, **options)

    try:
        with torch.no_grad():
            out = function(torch.zeros(2, 3, 32, 32, dtype=torch.uint8, device=device))
    except RuntimeError as error:
        raise UserError(f"features {path}: refuses 3x32x32 uint8 images ({error})") from error
    if not isinstance(out, Tensor) or out.dim() != 2 or len(out) != 2:
        got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise UserError(f"features {path}: must give (N, features), got {got}")
    return FeatureNetwork(
        function, width=out.shape[1], name=path.name, sha256=sha256, device=device, batch=100
    )
