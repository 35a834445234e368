"""Images of a model kept in parts on disk, so that many processes draw them and none draws twice.

Part i holds images ``i * batch .. (i + 1) * batch - 1``; process r of n draws parts r, r + n, ...
The batches are the same however many processes there are, and with them every byte.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from golden.files import atomic_write

__all__ = ["ImageStore"]

Array = npt.NDArray[Any]
Draw = Callable[[range], Array]


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

    def _part(self, name: str, part: int, images: range, draw: Draw) -> Array:
        path = self._path(name, part)
        if path is not None and path.is_file():
            return np.load(path)
        found = draw(images)
        if path is not None:
            with atomic_write(path) as temporary, temporary.open("wb") as stream:
                np.save(stream, found)
        return found

    def gather(self, name: str, draw: Draw, told: Callable[[float], None] | None = None) -> Array:
        """All images of a model, (samples, C, H, W): kept parts read, missing ones drawn."""
        parts = []
        for part, images in self._ranges():
            parts.append(self._part(name, part, images, draw))
            if told is not None:
                told(images.stop / self.samples)
        return np.concatenate(parts)

    def fill(self, name: str, draw: Draw, shard: int, shards: int) -> None:
        """Draw the parts that fall to process ``shard`` of ``shards``."""
        if self.folder is None:
            raise ValueError("parts of many processes need a folder")
        for part, images in self._ranges():
            if part % shards == shard:
                self._part(name, part, images, draw)

    def remove(self, name: str) -> None:
        """Delete the parts of a model whose row is finished."""
        for part, _ in self._ranges():
            path = self._path(name, part)
            if path is not None:
                path.unlink(missing_ok=True)
