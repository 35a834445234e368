"""Which edges are worth 12 bits: measured noise, bought with extra multiplications.

From a network whose edges are all wide, each edge alone is brought back to 8 bits: what the noise
of eps grows by, ``n_e[t]``, is the edge's own. The edges read in 12 bits are then picked one by one
by ``mean over t of log(noise[t] / (noise[t] - n_e[t]))`` for each extra MAC, while the budget
lasts.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from golden.calibration.artifact import Artifact
from golden.calibration.quality import relative_noise
from golden.calibration.topology import LayerSpec
from golden.calibration.trajectories import Trajectories
from golden.integer.network import IntegerNetwork
from golden.threads import spread

__all__ = ["can_be_wide", "choose", "edge_noise", "extra_macs", "with_edges"]

Float64 = npt.NDArray[np.float64]
Tensors = Mapping[str, npt.NDArray[Any]]

SOURCES = ("image", "silu", "stream")


def can_be_wide(spec: LayerSpec) -> bool:
    """Whether the layer's input has a 12-bit form."""
    return spec.source in SOURCES


def extra_macs(macs: Mapping[str, int], wide: tuple[str, ...]) -> float:
    """Share of the network's multiplications that the second pass of ``wide`` adds.

    ``macs``: of every layer, of one evaluation; attention's two products are not in it.
    """
    return sum(macs[name] for name in wide) / sum(macs.values())


def with_edges(artifact: Artifact, narrow: Tensors, broad: Tensors, wide: set[str]) -> Artifact:
    """The artifact with the edges of ``wide`` from the tables ``broad``, the rest from ``narrow``.

    Weights, biases and everything that does not depend on the width are the artifact's own.
    """
    tensors = {}
    for name in artifact.layers:
        source = broad if name in wide else narrow
        for key, table in source.items():
            if key.startswith(f"{name}.") and not key.endswith((".weight", ".b")):
                tensors[key] = table
    edges = (".silu.", ".edge.")
    kept = {key: t for key, t in artifact.tensors.items() if not any(e in key for e in edges)}
    order = tuple(name for name in artifact.layers if name in wide)
    return artifact.replace(tensors={**kept, **tensors}, wide=order)


def edge_noise(
    artifact: Artifact,
    narrow: Tensors,
    broad: Tensors,
    reference: Trajectories,
    steps: list[int],
    device: torch.device | str = "cpu",
    progress: Callable[[float], None] | None = None,
) -> tuple[Float64, dict[str, Float64]]:
    """Noise of eps, relative to eps, at ``steps``: of the artifact, and what each edge adds.

    ``artifact``: with every edge wide that may be. Returns (len(steps),) and, by wide layer that is
    no image edge, the (len(steps),) that bringing it back to 8 bits adds.
    """
    candidates = set(artifact.wide)
    everything = with_edges(artifact, narrow, broad, candidates)
    base = IntegerNetwork(everything, device)
    floor = relative_noise(base, reference, steps)
    found = {}
    optional = [n for n in artifact.wide if artifact.layers[n].source != "image"]

    def without(name: str) -> Float64:
        one_less = with_edges(everything, narrow, broad, candidates - {name})
        return relative_noise(IntegerNetwork(one_less, device, like=base), reference, steps)

    for count, noise in enumerate(spread(without, optional, device)):
        found[optional[count]] = np.maximum(noise - floor, 0.0)
        if progress is not None:
            progress((count + 1) / len(optional))
    return floor, found


def choose(
    floor: Float64,
    noise: Mapping[str, Float64],
    macs: Mapping[str, int],
    budget: float,
    always: Sequence[str] = (),
) -> list[str]:
    """Layers to read in 12 bits, in the order of being picked.

    ``floor``, ``noise``: of ``edge_noise``; ``macs``: of every layer; ``budget``: share of all MACs
    that wide edges may add, ``always`` (which are wide anyway) included. A layer that gains
    nothing is never picked.
    """
    total = floor + sum(noise.values())
    left = budget * sum(macs.values()) - sum(macs[name] for name in always)
    rest = dict(noise)
    picked: list[str] = []
    while True:
        best, most = None, 0.0
        for name, own in rest.items():
            remaining = np.maximum(total - own, 1e-30)
            gain = float(np.mean(np.log(total / remaining)))
            if macs[name] <= left and gain / macs[name] > most and math.isfinite(gain):
                best, most = name, gain / macs[name]
        if best is None:
            return picked
        picked.append(best)
        left -= macs[best]
        total = np.maximum(total - rest.pop(best), 1e-30)
