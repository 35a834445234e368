"""Tiles of real layers, one after the other on the three paths of ``datapath``, as one case."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cosim.datapath_traffic import Part
from cosim.stimulus import Parameters
from cosim.tb_datapath import datapath_case
from golden.calibration.artifact import Artifact
from golden.cycles import Case
from golden.datapath import DatapathConfig
from golden.integer.capture import LayerCapture
from golden.numbers import Int64
from golden.scale_tables import TableSet
from golden.tiling import conv_tile, edge_chunks, expected_conv, join, table_set, vector_tile

__all__ = ["TileStream"]


class TileStream:
    """Tiles of one case, one after the other on three paths."""

    def __init__(self, config: DatapathConfig) -> None:
        self.config = config
        self.sets: list[TableSet] = []
        self.conv: list[dict[str, Int64]] = []
        self.weights: list[Int64] = []
        self.paths: dict[str, list[dict[str, Int64]]] = {"activation": [], "edge": []}
        self.expected: list[Int64] = []
        self.used: dict[str, list[Int64]] = {"activation": [], "edge": []}
        self.places: dict[str, dict[str, list[Int64]]] = {}

    def add_set(self, layers: Sequence[LayerCapture], channel_tile: int) -> None:
        """Load the next bank with a layer's constants."""
        number = len(self.sets)
        self.sets.append(
            table_set(
                layers, self.config, bank=number % 2, number=number % 256,
                channel_tile=channel_tile,
            )
        )  # fmt: skip

    def add_conv(self, layer: LayerCapture, pixels: range, channel_tile: int) -> None:
        """Append a conv tile of the newest set: ``pixels`` of ``cols`` channels."""
        index = len(self.sets) - 1
        bank, number = self.sets[index].bank, self.sets[index].table_set
        tile = conv_tile(
            layer, self.config, pixels=pixels, channel_tile=channel_tile,
            bank=bank, table_set=number, set_index=index,
        )  # fmt: skip
        self.conv.append(dict(tile.beats))
        self.weights.append(tile.weights)
        self.expected.append(expected_conv(layer, self.config, pixels, channel_tile))
        self._place("o_conv", layer.step, np.array(pixels), channel_tile * self.config.cols)

    def add_edge(self, layer: LayerCapture, chunk: int) -> None:
        """Append ``vector_lanes`` channels of the layer's input edge; ``chunk`` wraps."""
        index = len(self.sets) - 1
        bank, number = self.sets[index].bank, self.sets[index].table_set
        vector = vector_tile(
            layer, self.config, channel_chunk=chunk, bank=bank, table_set=number, set_index=index
        )
        if vector is not None:
            path, beats, used = vector
            self.paths[path].append(beats)
            self.used[path].append(used)
            first = edge_chunks(layer, self.config.vector_lanes)
            channel = first[chunk % len(first)][1].start
            self._place(f"o_{path}", layer.step, np.arange(len(used)), channel)

    def _place(self, stream: str, step: int, pixels: Int64, channel: int) -> None:
        count = len(pixels)
        place = self.places.setdefault(stream, {})
        place.setdefault("step", []).append(np.full(count, step))
        place.setdefault("pixel", []).append(pixels)
        place.setdefault("first channel", []).append(np.full(count, channel))

    def case(
        self, name: str, parameters: Parameters, artifact: Artifact, *, stalls_index: int,
        seed: int, layer: str,
    ) -> Case:  # fmt: skip
        """Return the case, after the golden datapath gave the network's own integers."""
        scalars = ("wide", "start", "end", "bank", "table_set", "step", "segment", "set")
        empty: dict[str, tuple[int, ...]] = dict.fromkeys(scalars, ())
        lanes = (self.config.vector_lanes,)
        part = Part(
            [int(b) for b in artifact.boundaries], self.sets, join(self.conv, {}),
            np.concatenate(self.weights),
            join(self.paths["activation"], {"u": lanes, **empty}),
            join(self.paths["edge"], {"x": lanes, **empty}),
        )  # fmt: skip
        made = datapath_case(name, parameters, [part], stalls_index=stalls_index, seed=seed)
        checks = [("o_conv", "values", self.expected)]
        checks += [(f"o_{path}", "codes", parts) for path, parts in self.used.items() if parts]
        for output, field, parts in checks:
            want = np.concatenate(parts)
            got = made.payloads[output][field]
            known = want > -(1 << 20)  # lanes beyond the last channel are free
            if not np.array_equal(got[known], want[known]):
                beat = int(np.flatnonzero(((got != want) & known).any(axis=1))[0])
                raise RuntimeError(f"{name}: golden {output} differs from the network at {beat}")
        steps = [tile["step"][0] for tile in self.conv]
        groups = sorted({artifact.group(int(step)) for step in steps})
        labels = {"layer": layer, "groups": ",".join(map(str, groups))}
        places = {
            stream: {key: np.concatenate(values) for key, values in place.items()}
            for stream, place in self.places.items()
        }
        return replace(made, labels=labels, places=places)
