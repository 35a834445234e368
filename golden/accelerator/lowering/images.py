"""Images of the weights and tables regions, filled layer by layer as the compiler meets them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.legality import ALIGNMENT
from golden.accelerator.program import GROUP_HEADER_WORDS
from golden.calibration.artifact import Artifact
from golden.calibration.topology import LayerSpec
from golden.numbers import Int64, as_int64

__all__ = ["Images", "lane_order"]


def lane_order(parts: Sequence[int], size: int) -> Int64:
    """Channel in each lane of a concatenation's chunks, -1 where a lane is empty."""
    lanes = []
    start = 0
    for count in parts:
        lane = np.arange(-(-count // size) * size)
        lanes.append(np.where(lane < count, lane + start, -1))
        start += count
    return np.concatenate(lanes)


def _in_lanes(values: npt.ArrayLike, lanes: Int64) -> Int64:
    """Values (..., channels) in lane order (..., lanes), 0 in empty lanes."""
    array = as_int64(values)
    return np.where(lanes >= 0, array[..., lanes], 0)


class Images:
    """Two growing regions; every block starts at a multiple of ``ALIGNMENT``."""

    def __init__(self, artifact: Artifact, config: AcceleratorConfig) -> None:
        self.artifact, self.config = artifact, config
        self.weights = bytearray()
        self.tables = bytearray()

    @staticmethod
    def _append(region: bytearray, rows: Sequence[bytes]) -> tuple[int, int]:
        """Append equal rows; return (offset of the first, stride)."""
        offset = len(region)
        stride = -(-len(rows[0]) // ALIGNMENT) * ALIGNMENT
        for row in rows:
            region.extend(row.ljust(stride, b"\0"))
        return offset, stride

    def conv_weights(
        self, spec: LayerSpec, parts: Sequence[int], passes: int, *, packed: bool
    ) -> int:
        """Add the weights of a conv in the array's order; return their offset.

        Order: output chunk, input chunk, tap, pass, row, column. ``parts``: channels of each
        source. ``packed``: taps and channels share the rows, channel fastest.
        """
        size = self.config.size
        # (Cout, Cin, kh, kw) -> (taps, Cin, Cout)
        weight = as_int64(self.artifact.tensors[f"{spec.name}.weight"])
        weight = weight.transpose(2, 3, 1, 0).reshape(-1, weight.shape[1], weight.shape[0])
        if packed:
            weight = weight.reshape(1, -1, weight.shape[2])
            parts = (weight.shape[1],)
        rows, cols = lane_order(parts, size), lane_order((weight.shape[2],), size)
        weight = _in_lanes(weight, cols)
        weight = _in_lanes(weight.transpose(0, 2, 1), rows)  # (taps, cols, rows)
        taps = len(weight)
        # (taps, T*size, K*size) -> (T, K, taps, size rows, size cols)
        tiled = weight.reshape(taps, len(cols) // size, size, len(rows) // size, size)
        ordered = tiled.transpose(1, 3, 0, 4, 2)
        repeated = np.repeat(ordered[:, :, :, None], passes, axis=3)
        return self._append(self.weights, [repeated.astype(np.int8).tobytes()])[0]

    def layer_tables(self, spec: LayerSpec) -> dict[str, int]:
        """Add a layer's group and step blocks; return the fields of its TABLE."""
        size = self.config.size
        lanes = lane_order((spec.out_channels,), size)
        tensors, name = self.artifact.tensors, spec.name
        groups = []
        for group in range(self.artifact.groups):
            scale = as_int64(tensors[f"{name}.M"][group])
            scale |= as_int64(tensors[f"{name}.n"][group]) << 16
            header = self._layer_header(spec, group)
            groups.append(self._block(header, _in_lanes(scale, lanes)))
        bias = _in_lanes(tensors[f"{name}.b"], lanes).astype("<i2")
        return self._tables(groups, [row.tobytes() for row in bias], len(lanes) // size)

    def attention_tables(self, path: str) -> dict[str, int]:
        """Add the blocks of an attention's core: logit scale as SCALE, value scale as EDGE."""
        size, tensors = self.config.size, self.artifact.tensors
        groups = []
        for group in range(self.artifact.groups):
            logit, value = (
                int(tensors[f"{path}.{part}.M"][group])
                | int(tensors[f"{path}.{part}.n"][group]) << 16
                for part in ("logit", "value")
            )
            header = np.array([0, 0, value, value, 0, 0, 0, 0])
            groups.append(self._block(header, np.full(size, logit)))
        return self._tables(groups, [bytes(2 * size)] * self.artifact.steps, 1)

    def _tables(self, groups: list[bytes], steps: list[bytes], chunks: int) -> dict[str, int]:
        group_offset, group_stride = self._append(self.tables, groups)
        step_offset, step_stride = self._append(self.tables, steps)
        return {
            "group_offset": group_offset,
            "group_stride": group_stride,
            "step_offset": step_offset,
            "step_stride": step_stride,
            "chunks": chunks,
        }

    @staticmethod
    def _block(header: Int64, scale: Int64) -> bytes:
        return np.concatenate([header, scale]).astype("<u4").tobytes()

    def _layer_header(self, spec: LayerSpec, group: int) -> Int64:
        """Words of OPERAND, EDGE and SILU, in the layout of ``golden.scale_tables.Table``."""
        tensors, name, kind = self.artifact.tensors, spec.name, self.artifact.kind(spec.name)
        header = np.zeros(GROUP_HEADER_WORDS, dtype=np.int64)
        if kind in {"region", "wide_silu"}:
            m0, n0, z, k = (
                int(tensors[key][group]) if (key := f"{name}.silu.{part}") in tensors else 0
                for part in ("M0", "n0", "z", "k")
            )
            header[4] = m0 | n0 << 16 | z << 21 | k << 28
            if kind == "region":
                header[:2] = z | k << 7
        elif kind != "int8_attention":
            for segment in range(2):
                column = min(segment, len(spec.segments) - 1)
                m, n, k = (
                    int(tensors[f"{name}.edge.{part}"][group][column]) for part in ("M", "n", "k")
                )
                header[2 + segment] = m | n << 16
                header[segment] = k << 7 if kind.startswith("int8") else 0
        return header

    def norm_block(self, name: str, parts: Sequence[int], elements: int) -> dict[str, int]:
        """Add E, the elements of a group, gamma and beta; return the fields of its TABLE."""
        tensors = self.artifact.tensors
        lanes = lane_order(parts, self.config.size)
        E = int(tensors[f"{name}.E"][0])
        header = np.array([E & 0xFFFFFFFF, E >> 32, elements, 0]).astype("<u4").tobytes()
        pairs = np.stack([_in_lanes(tensors[f"{name}.{key}"], lanes) for key in ("gamma", "beta")])
        block = header + pairs.T.astype("<i2").tobytes()
        offset, _ = self._append(self.tables, [block])
        return {"norm_offset": offset, "norm_chunks": len(lanes) // self.config.size}

    def sampler_rows(self) -> dict[str, int]:
        """Add p, q, a, b, d, c and the reach of every step; return the fields of its TABLE."""
        reach = int(self.artifact.tensors["sampler.reach"][0])
        rows = [
            np.array([*row, reach, 0]).astype("<i4").tobytes()
            for row in self.artifact.tensors["sampler.coefficients"].tolist()
        ]
        offset, stride = self._append(self.tables, rows)
        return {"step_offset": offset, "step_stride": stride, "sampler_row": 1}
