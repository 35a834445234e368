"""Suites ``layers`` and ``nightly``: every conv and every input edge of a network, in full.

A task is one layer at some sampler steps: all output channels, all pixels, all input channels.
Tasks share nothing but the Verilog, so that they run on any number of processes or hosts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from cosim.bench import run_cases
from cosim.network_cases import (
    Captures,
    capture_steps,
    group_steps,
    network_parameters,
    require_same_network,
)
from cosim.report import BenchResult
from cosim.stimulus import Parameters
from cosim.tb_datapath import config_of
from cosim.tile_stream import TileStream
from golden.calibration.artifact import Artifact, embedded_artifact
from golden.cycles import Case
from golden.integer.capture import LayerCapture
from golden.network.checkpoint import Checkpoint, embedded_checkpoint, load_checkpoint
from golden.tiling import edge_chunks

Progress = Callable[[str, int, int], None]

__all__ = ["LayerTask", "layer_tasks", "whole_layer_case"]

STALL_CLASSES = 3  # of a suite: nobody stalls, and two mixtures


@dataclass(frozen=True)
class LayerTask:
    """One layer at ``spans`` of steps; the steps of a span share a table set.

    ``seed``: of the trajectory; ``stalls_index``, ``stalls_seed``: of the stall pattern.
    ``artifact``, ``checkpoint``: None for the embedded ones. ``rtl``: Verilog of the datapath.
    """

    layer: str
    spans: tuple[tuple[int, ...], ...]
    artifact: Path | None
    checkpoint: Path | None
    rows: int
    cols: int
    stalls_index: int
    stalls_seed: int
    seed: int
    rtl: Path
    words: tuple[str, ...]
    block: str = "datapath"

    @property
    def name(self) -> str:
        """Layer, and its steps if it has several tasks."""
        return self.layer if len(self.spans) > 1 else f"{self.layer} step {_range(self.spans[0])}"

    def run(self, waves: bool, level: int, progress: Progress | None = None) -> BenchResult:
        """Make the case and compare it, in this process."""
        if progress is not None:
            progress(f"golden model {self.name}", 0, 1)
        artifact, _ = _network(self.artifact, self.checkpoint)
        steps = tuple(step for span in self.spans for step in span)
        captures = _captures(self.artifact, self.checkpoint, self.seed, steps)
        parameters = network_parameters(artifact, self.rows, self.cols)
        case = whole_layer_case(
            self.name,
            [[captures[step][self.layer] for step in span] for span in self.spans],
            parameters,
            artifact,
            stalls_index=self.stalls_index,
            seed=self.stalls_seed,
        )
        return run_cases(
            "datapath", parameters, [case], rtl=self.rtl, waves=waves, seed=self.seed,
            level=level, repeat=self.words,
            progress=progress and (lambda w, n, of: progress(f"{w} {self.name}", n, of)),
        )  # fmt: skip


def _range(steps: Sequence[int]) -> str:
    return f"{steps[0]}" if len(steps) == 1 else f"{steps[0]}-{steps[-1]}"


@lru_cache(maxsize=1)
def _network(artifact: Path | None, checkpoint: Path | None) -> tuple[Artifact, Checkpoint]:
    made = embedded_artifact() if artifact is None else Artifact.load(artifact)
    network = embedded_checkpoint() if checkpoint is None else load_checkpoint(checkpoint)
    require_same_network(made, network)
    return made, network


@lru_cache(maxsize=1)
def _captures(
    artifact: Path | None, checkpoint: Path | None, seed: int, steps: tuple[int, ...]
) -> Captures:
    """``capture_steps``, kept for the next layer of the same steps."""
    return capture_steps(*_network(artifact, checkpoint), steps, seed)


def whole_layer_case(
    name: str,
    spans: Sequence[Sequence[LayerCapture]],
    parameters: Parameters,
    artifact: Artifact,
    *,
    stalls_index: int,
    seed: int,
) -> Case:
    """Return every tile of a conv and of its input edge, streamed without a pause.

    ``spans``: the layer at consecutive steps of one group each, which share a table set.
    """
    config = config_of(parameters)
    stream = TileStream(config)
    for span in spans:
        tiles = -(-span[0].output.shape[0] // config.cols)
        for base in range(0, tiles, config.channel_tiles):
            stream.add_set(span, base)
            for layer in span:
                total = layer.output.shape[1] * layer.output.shape[2]
                for tile in range(base, min(base + config.channel_tiles, tiles)):
                    for start in range(0, total, config.depth):
                        pixels = range(start, min(start + config.depth, total))
                        stream.add_conv(layer, pixels, tile)
                if base == 0:
                    for chunk in range(len(edge_chunks(layer, config.vector_lanes))):
                        stream.add_edge(layer, chunk)
    layer_name = spans[0][0].name
    return stream.case(
        name, parameters, artifact, stalls_index=stalls_index, seed=seed, layer=layer_name
    )


def layer_tasks(
    *,
    every_step: bool,
    artifact: Path | None,
    checkpoint: Path | None,
    rows: int,
    cols: int,
    seed: int,
    rtl: Path,
    words: Sequence[str],
) -> list[LayerTask]:
    """Return a task for each layer at the middle step of every group, or for each few steps of all.

    ``every_step``: all steps of the sampler, at most as many a task as a table set holds.
    """
    made, _ = _network(artifact, checkpoint)
    config = config_of({"rows": rows, "cols": cols})
    spans: list[tuple[tuple[int, ...], ...]]
    if every_step:
        edges = [0, *(int(b) for b in made.boundaries), made.steps]
        spans = [
            (tuple(range(first, min(first + config.steps, high))),)
            for low, high in pairwise(edges)
            for first in range(low, high, config.steps)
        ]
    else:
        spans = [tuple((step,) for step in group_steps(made))]
    common = (artifact, checkpoint, rows, cols)
    return [
        LayerTask(
            layer, span, *common, (place + turn) % STALL_CLASSES, seed + place, seed, rtl, (*words,)
        )
        for turn, span in enumerate(spans)
        for place, layer in enumerate(made.layers)
    ]
