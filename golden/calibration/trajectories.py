"""Float sampling trajectories from stated seeds, and statistics of every edge at every step.

Streamed: whatever the number of images, what is kept is one histogram of u (4096 bins, exact since
u has 12 bits) a norm and step, one peak and one mean square an edge, segment and step, and x_t.
Batches are spread over threads; their sums of squares are added in order.
"""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock, local
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from golden.calibration.region import U_BINS
from golden.calibration.topology import LayerSpec, layers, norms
from golden.network.samplers import Sampler, sample
from golden.network.unet import UNet
from golden.threads import spread

__all__ = ["X_FRACTION", "Statistics", "Trajectories", "collect", "quantize_image", "run_float"]

Float64 = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Progress = Callable[[float], None]

U_FRACTION = 7
X_FRACTION = 12
BATCH = 8  # images that one thread takes: part of what decides the bits


@dataclass(frozen=True)
class Trajectories:
    """``x`` (T, N, C, H, W) int16 Q3.12 and the float network's ``eps``, the same shape."""

    x: npt.NDArray[np.int16]
    eps: Float32


@dataclass(frozen=True)
class Statistics:
    """What ``collect`` saw; T steps in execution order.

    ``histograms``: by norm, (T, 4096) counts of u + 2048. ``peaks`` and ``mean_squares``: by layer
    whose source is image, stream or attention and, under the layer's own name, by q, k, v layer for
    its *output*: (T, segments); ``lows``, ``highs``: the same, signed. ``stream_peak``:
    largest magnitude of the residual stream.
    """

    histograms: dict[str, npt.NDArray[np.int64]]
    peaks: dict[str, Float64]
    mean_squares: dict[str, Float64]
    lows: dict[str, Float64]
    highs: dict[str, Float64]
    stream_peak: float
    trajectories: Trajectories


def quantize_image(x: Tensor) -> npt.NDArray[np.int16]:
    """x_t or eps as Q3.12, round half up, saturating."""
    scaled = np.floor(x.cpu().numpy().astype(np.float64) * (1 << X_FRACTION) + 0.5)
    return np.clip(scaled, -32768, 32767).astype(np.int16)


def run_float(
    unet: UNet, sampler: Sampler, seed: int, images: range, progress: Progress | None = None
) -> Trajectories:
    """Trajectories of the float network alone."""
    return _run(unet, sampler, seed, images, lambda batch, step: None, progress)


def _run(
    unet: UNet,
    sampler: Sampler,
    seed: int,
    images: range,
    enter: Callable[[int, int], None],
    progress: Progress | None,
) -> Trajectories:
    """Sample in batches; ``enter(batch, step)`` is called before each evaluation of the network, in
    the thread that does it.
    """
    config = unet.config
    shape = (config.in_channels, *config.sample_size)
    x_all = np.zeros((sampler.steps, len(images), *shape), dtype=np.int16)
    eps_all = np.zeros(x_all.shape, dtype=np.float32)
    device = next(unet.parameters()).device
    counting, done = Lock(), 0

    def run(batch: int) -> None:
        rows = slice(batch * BATCH, min((batch + 1) * BATCH, len(images)))
        steps = iter(range(sampler.steps))

        def model(x: Tensor, timestep: Tensor) -> Tensor:
            enter(batch, next(steps))
            return unet(x, timestep)

        def observe(step: int, x: Tensor, eps: Tensor) -> None:
            nonlocal done
            x_all[step, rows] = quantize_image(x)
            eps_all[step, rows] = eps.cpu().numpy()
            with counting:
                done += rows.stop - rows.start
                if progress is not None:
                    progress(done / (len(images) * sampler.steps))

        sample(model, sampler, seed, images[rows], shape, device=device, observe=observe)

    for _ in spread(run, range(-(-len(images) // BATCH)), device):
        pass
    return Trajectories(x_all, eps_all)


class _Observer:
    """Hooks on a UNet that add every batch to the statistics of its step.

    ``at``: the batch and the step that a thread is about to evaluate.
    """

    def __init__(self, unet: UNet, steps: int, batches: int) -> None:
        specs = layers(unet.config)
        self.at = local()
        self.adding = Lock()
        self.stream_peak = 0.0
        self.histograms = {name: np.zeros((steps, U_BINS), dtype=np.int64) for name in norms(specs)}
        measured = [
            s for s in specs.values() if s.output == "head" or s.source not in {"silu", "norm"}
        ]
        self.peaks = {s.name: np.zeros((steps, self._parts(s))) for s in measured}
        self.lows = {name: np.zeros_like(peak) for name, peak in self.peaks.items()}
        self.highs = {name: np.zeros_like(peak) for name, peak in self.peaks.items()}
        # sums of floats: a batch each, for their order counts
        self.squares = {name: np.zeros((batches, *p.shape)) for name, p in self.peaks.items()}
        self.counts = {name: np.zeros_like(peak) for name, peak in self.peaks.items()}
        self.handles: list[Any] = []
        for name in self.histograms:
            self._hook(unet, name, self._norm(name))
        for spec in specs.values():
            if spec.name in self.peaks:
                self._hook(unet, spec.name, self._edge(spec))
            if spec.output == "stream":
                self._hook(unet, spec.name, self._stream)

    @staticmethod
    def _parts(spec: LayerSpec) -> int:
        return 1 if spec.output == "head" else len(spec.segments)

    def _hook(self, unet: UNet, name: str, hook: Callable[..., None]) -> None:
        self.handles.append(unet.get_submodule(name).register_forward_hook(hook))

    def _norm(self, name: str) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            self._grow(inputs[0])
            u = torch.floor(output.double() * (1 << U_FRACTION) + 0.5) + U_BINS // 2
            bins = u.clamp(0, U_BINS - 1).long().flatten()
            counts = torch.bincount(bins, minlength=U_BINS).cpu().numpy()
            with self.adding:
                self.histograms[name][self.at.step] += counts

        return hook

    def _edge(self, spec: LayerSpec) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            if spec.output == "head":
                parts: list[Tensor] = [output]
            elif spec.source == "attention":
                parts = [inputs[0]]
            else:
                parts = list(inputs[0].split(spec.segments, dim=1))
            if spec.source == "stream":
                self._grow(inputs[0])
            for i, part in enumerate(parts):
                at = (self.at.step, i)
                low, high = (float(v) for v in part.aminmax())
                square = float(part.double().square().sum())
                with self.adding:
                    self.lows[spec.name][at] = min(self.lows[spec.name][at], low)
                    self.highs[spec.name][at] = max(self.highs[spec.name][at], high)
                    self.peaks[spec.name][at] = max(self.peaks[spec.name][at], -low, high)
                    self.squares[spec.name][(self.at.batch, *at)] = square
                    self.counts[spec.name][at] += part.numel()

        return hook

    def _stream(self, _: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        self._grow(output)

    def _grow(self, x: Tensor) -> None:
        peak = float(x.abs().max())
        with self.adding:
            self.stream_peak = max(self.stream_peak, peak)


def collect(
    unet: UNet, sampler: Sampler, seed: int, images: range, progress: Progress | None = None
) -> Statistics:
    """Run the float network on ``images`` of ``seed`` and measure every edge.

    ``progress`` gets the share done, 0..1.
    """
    observer = _Observer(unet, sampler.steps, -(-len(images) // BATCH))

    def enter(batch: int, step: int) -> None:
        observer.at.batch, observer.at.step = batch, step

    try:
        trajectories = _run(unet, sampler, seed, images, enter, progress)
    finally:
        for handle in observer.handles:
            handle.remove()
    mean_squares = {
        name: squares.sum(axis=0) / np.maximum(observer.counts[name], 1)
        for name, squares in observer.squares.items()
    }
    return Statistics(
        observer.histograms,
        observer.peaks,
        mean_squares,
        observer.lows,
        observer.highs,
        observer.stream_peak,
        trajectories,
    )
