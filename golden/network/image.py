"""Grids of images as PNG files: ``byte = clamp(floor((x + 1) * 127.5 + 0.5), 0, 255)``."""

from pathlib import Path

import matplotlib.image
import numpy as np
import numpy.typing as npt

from golden.files import atomic_write

__all__ = ["grid", "to_bytes", "write_png"]

Bytes = npt.NDArray[np.uint8]


def to_bytes(x: npt.NDArray[np.floating]) -> Bytes:
    """Map [-1, 1] to 0..255, any shape; values outside saturate."""
    return np.clip(np.floor((x + 1) * 127.5 + 0.5), 0, 255).astype(np.uint8)


def grid(images: Bytes, columns: int, scale: int = 1, gap: int = 1) -> Bytes:
    """Lay (count, channels, H, W) out in rows: (rows * ..., columns * ..., channels) uint8.

    ``scale`` repeats pixels, ``gap`` is the white space between images in pixels of the result.
    """
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    height, width = height * scale + gap, width * scale + gap
    sheet = np.full((rows * height + gap, columns * width + gap, channels), 255, np.uint8)
    large = images.transpose(0, 2, 3, 1).repeat(scale, axis=1).repeat(scale, axis=2)
    for index, image in enumerate(large):
        top, left = index // columns * height + gap, index % columns * width + gap
        sheet[top : top + height - gap, left : left + width - gap] = image
    return sheet


def write_png(path: Path, sheet: Bytes) -> None:
    """Write (H, W, channels) uint8 as PNG, byte-identical from run to run; 1 channel is grey."""
    colours = sheet if sheet.shape[2] in (3, 4) else sheet[:, :, :1].repeat(3, axis=2)
    with atomic_write(path) as temporary:
        matplotlib.image.imsave(
            temporary, colours, format="png", metadata={"Software": "stepscale"}
        )
