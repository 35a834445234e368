"""Images of a model kept in parts on disk, so that many processes draw them and none draws twice.

Part i holds images ``i * batch .. (i + 1) * batch - 1``; process r of n draws parts r, r + n, ...
The batches are the same however many processes there are, and with them every byte.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from golden.files import atomic_write

__all__ = ["Draw", "ImageStore", "Spread", "in_turn"]

Array = npt.NDArray[Any]
Draw = Callable[[range], Array]
Spread = Callable[[Draw, Sequence[range]], Iterator[tuple[int, Array]]]


def in_turn(draw: Draw, ranges: Sequence[range]) -> Iterator[tuple[int, Array]]:
    """Yield (index, ``draw(ranges[index])``) in order, in this process."""
    for index, images in enumerate(ranges):
        yield index, draw(images)


@dataclass(frozen=True)
class ImageStore:
    """Parts of ``samples`` images under ``folder``; without a folder nothing is kept."""

    folder: Path | None
    samples: int
    batch: int

    def _ranges(self) -> Iterator[tuple[int, range]]:
        for part, first in enumerate(range(0, self.samples, self.batch)):
            yield part, range(first, min(first + self.batch, self.samples))

    def _path(self, name: str, part: int) -> Path | None:
        return None if self.folder is None else self.folder / f"{name}.{part}.npy"

    def _kept(self, name: str, part: int) -> Path | None:
        path = self._path(name, part)
        return path if path is not None and path.is_file() else None

    def _keep(self, name: str, part: int, found: Array) -> None:
        path = self._path(name, part)
        if path is not None:
            with atomic_write(path) as temporary, temporary.open("wb") as stream:
                np.save(stream, found)

    def gather(
        self,
        name: str,
        draw: Draw,
        told: Callable[[float], None] | None = None,
        spread: Spread = in_turn,
    ) -> Array:
        """All images of a model, (samples, C, H, W): kept parts read, missing ones drawn.

        ``spread``: yields (index, ``draw(ranges[index])``) of the missing ranges in any order.
        """
        ranges = dict(self._ranges())
        parts = {n: np.load(path) for n in ranges if (path := self._kept(name, n)) is not None}
        missing = [part for part in ranges if part not in parts]
        for index, found in spread(draw, [ranges[part] for part in missing]):
            parts[missing[index]] = found
            self._keep(name, missing[index], found)
            if told is not None:
                told(sum(len(ranges[part]) for part in parts) / self.samples)
        return np.concatenate([parts[part] for part in ranges])

    def fill(self, name: str, draw: Draw, shard: int, shards: int) -> None:
        """Draw the parts that fall to process ``shard`` of ``shards``."""
        if self.folder is None:
            raise ValueError("parts of many processes need a folder")
        for part, images in self._ranges():
            if part % shards == shard and self._kept(name, part) is None:
                self._keep(name, part, draw(images))

    def remove(self, name: str) -> None:
        """Delete the parts of a model whose row is finished."""
        for part, _ in self._ranges():
            path = self._path(name, part)
            if path is not None:
                path.unlink(missing_ok=True)
