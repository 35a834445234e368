"""Fashion-MNIST as training images: 28x28 bytes -> float in [-1, 1] at 32x32 or 16x16.

``x = mean(byte) / 127.5 - 1``: two black pixels of padding on each side give 32x32; 16x16 is the
mean over areas of 2x2 of that.
"""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from golden.errors import UserError

__all__ = ["DEFAULT_FOLDER", "load_images", "read_idx", "resize"]

DEFAULT_FOLDER = Path("/usr/share/datasets/fashion-mnist")
FILES = {"train": "train-images-idx3-ubyte.gz", "test": "t10k-images-idx3-ubyte.gz"}
HOW_TO_GET = "`apt install dataset-fashion-mnist` puts it there, or name its folder with --data"
IDX3_BYTES = 0x00000803
"""Magic number of an idx file with three dimensions of unsigned bytes."""


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Return the images of a gzipped idx3 file, (count, height, width) uint8."""
    try:
        with gzip.open(path) as stream:
            data = stream.read()
    except FileNotFoundError as error:
        raise UserError(f"data set file {path} is missing; {HOW_TO_GET}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"data set file {path}: cannot be read ({error})") from error
    if len(data) < 16:
        raise UserError(f"data set file {path}: needs a header of 16 bytes, got {len(data)}")
    magic, count, height, width = struct.unpack(">4I", data[:16])
    if magic != IDX3_BYTES:
        raise UserError(
            f"data set file {path}: magic must be {IDX3_BYTES:#010x}, got {magic:#010x}"
        )
    if len(data) - 16 != count * height * width:
        wanted = f"{count} x {height} x {width} bytes"
        raise UserError(f"data set file {path}: must hold {wanted}, got {len(data) - 16}")
    return np.frombuffer(data, np.uint8, offset=16).reshape(count, height, width)


def resize(images: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.float32]:
    """Pad (count, 28, 28) uint8 to 32x32, average areas: (count, 1, size, size) float32."""
    if images.shape[1:] != (28, 28):
        raise UserError(f"images must be 28x28, got {images.shape[1]}x{images.shape[2]}")
    if size not in (32, 16, 8):
        raise UserError(f"sample_size = {size} has no Fashion-MNIST images; allowed: 32, 16, 8")
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2))).astype(np.float32)
    area = 32 // size
    # (count, 32, 32) -> (count, size, area, size, area)
    mean = padded.reshape(-1, size, area, size, area).mean(axis=(2, 4))
    return (mean / np.float32(127.5) - np.float32(1))[:, None]


def load_images(
    folder: Path = DEFAULT_FOLDER, size: int = 16, split: str = "train"
) -> npt.NDArray[np.float32]:
    """Return the images of ``split`` ("train" or "test"), (count, 1, size, size) in [-1, 1]."""
    return resize(read_idx(folder / FILES[split]), size)
