"""The core of an attention layer: blocks of queries times K, softmax, times V.

Block b + 1's logits are computed while the vector unit turns those of block b into numerators.
"""

from typing import TYPE_CHECKING

from golden.accelerator.instruction import Opcode
from golden.accelerator.lowering.bands import tile_rows
from golden.accelerator.operations import Operation, Place, Section, Space, Tensor

if TYPE_CHECKING:
    from golden.accelerator.lowering.network import Lowering

__all__ = ["attention_core"]


def attention_core(lowering: "Lowering", path: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Emit softmax(q k^T) v, head by head; return the attention's output, codes like v."""
    config = lowering.config
    heads = lowering.artifact.config.heads(q.channels)
    names = lowering.table(path, lowering.images.attention_tables(path))
    output = Tensor(
        f"{path} output", Space.CODES, v.chunks, v.plane, v.channels, v.height, v.width, bank=1
    )
    pixels = q.height * q.width
    rows = q.height // 2 if pixels >= 2 * config.size and q.height > 1 else q.height
    rows = min(rows, tile_rows(q.width, q.height, config.depth))
    blocks = [
        (head, first, min(rows, q.height - first))
        for head in range(heads)
        for first in range(0, q.height, rows)
    ]
    waiting: list[Operation] = []
    for number, (head, first, count) in enumerate(blocks):
        part = _Block(lowering, names, path, head, q.channels // heads, first, count, number % 2)
        logits = part.logits(q, k)
        numerators = part.softmax(logits, pixels)
        for operation in waiting:
            lowering.emit(operation)
        waiting = [part.values(numerators, v, output)]
    for operation in waiting:
        lowering.emit(operation)
    return output


class _Block:
    """One head's rows ``first .. first+count-1`` of queries."""

    def __init__(
        self,
        lowering: "Lowering",
        names: dict[str, int],
        path: str,
        head: int,
        depth: int,
        first: int,
        count: int,
        scales: int,
    ) -> None:
        self.lowering, self.names, self.path, self.scales = lowering, names, path, scales
        self.depth, self.first, self.count = depth, first, count
        size = lowering.config.size
        self.size = size
        self.chunk = head * depth // size
        self.lane = head * depth - self.chunk * size
        self.chunks = -(-(self.lane + depth) // size)

    def _fields(self, like: Tensor) -> dict[str, int]:
        return self.names | {
            "height": like.height,
            "width": like.width,
            "row_first": self.first,
            "rows": self.count,
        }

    def logits(self, q: Tensor, k: Tensor) -> Tensor:
        """Emit q k^T of the block; return int16 logits, a channel a key."""
        words = self.count * q.width
        keys = k.height * k.width
        tiles = -(-keys // self.size)
        logits = Tensor(f"{self.path} logits", Space.STREAM, tiles, words, keys, q.height, q.width)
        fields = self._fields(q) | {
            "transpose": 1,
            "chunks0": self.chunks,
            "chunks": tiles,
            "tile_rows": self.count,
            "source_plane": q.plane,
            "auxiliary_plane": k.plane,
            "destination_plane": words,
            "lane_first": self.lane,
            "channels": self.depth,
        }
        places = {
            "source0": Place(q, self.chunk * q.plane, self.chunks * q.plane),
            "auxiliary": Place(k, self.chunk * k.plane, self.chunks * k.plane),
            "destination": Place(logits, 0, logits.words),
        }
        label = f"{self.path} QK"
        self.lowering.emit(
            Operation(
                Opcode.MATMUL, label, Section.STEP, fields, places, macs=words * keys * self.depth
            )
        )
        return logits

    def softmax(self, logits: Tensor, keys: int) -> Tensor:
        """Emit the softmax of the block's rows; return numerators, a channel a key."""
        numerators = Tensor(
            f"{self.path} numerators", Space.CODES, logits.chunks, logits.plane, keys,
            logits.height, logits.width, bank=0,
        )  # fmt: skip
        fields = self._fields(logits) | {
            "source_row": self.first,
            "chunks0": logits.chunks,
            "source_plane": logits.plane,
            "destination_plane": numerators.plane,
            "channels": keys,
            "scale_bank": self.scales,
        }
        places = {
            "source0": Place(logits, 0, logits.words),
            "destination": Place(numerators, 0, numerators.words),
        }
        self.lowering.emit(
            Operation(
                Opcode.SOFTMAX,
                f"{self.path} softmax",
                Section.STEP,
                fields,
                places,
                scales=self.scales,
            )
        )
        return numerators

    def values(self, numerators: Tensor, v: Tensor, output: Tensor) -> Operation:
        """Return the product of the block's numerators and V, to be emitted later."""
        words = self.count * output.width
        first = self.chunk * output.plane + self.first * output.width
        fields = self._fields(output) | {
            "row_scale": 1,
            "narrow": 1,
            "source_row": self.first,
            "chunks0": numerators.chunks,
            "chunks": self.chunks,
            "tile_rows": self.count,
            "source_plane": numerators.plane,
            "auxiliary_plane": v.plane,
            "destination_plane": output.plane,
            "lane_first": self.lane,
            "channels": self.depth,
            "scale_bank": self.scales,
        }
        places = {
            "source0": Place(numerators, 0, numerators.words),
            "auxiliary": Place(v, self.chunk * v.plane, self.chunks * v.plane),
            "destination": Place(output, first, (self.chunks - 1) * output.plane + words),
        }
        return Operation(
            Opcode.MATMUL,
            f"{self.path} PV",
            Section.STEP,
            fields,
            places,
            scales=self.scales,
            macs=words * numerators.channels * self.depth,
        )
