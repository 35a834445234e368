"""Fashion-MNIST as training images: 28x28 bytes -> float in [-1, 1] at 32x32 or 16x16.

``x = mean(byte) / 127.5 - 1``: two black pixels of padding on each side give 32x32; 16x16 is the
mean over areas of 2x2 of that.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from golden.errors import UserError
from golden.network.image import to_bytes

__all__ = ["DEFAULT_FOLDER", "load_bytes", "load_images", "load_labels", "read_idx", "resize"]

DEFAULT_FOLDER = Path("/usr/share/datasets/fashion-mnist")
FILES = {"train": "train-images-idx3-ubyte.gz", "test": "t10k-images-idx3-ubyte.gz"}
LABELS = {"train": "train-labels-idx1-ubyte.gz", "test": "t10k-labels-idx1-ubyte.gz"}
HOW_TO_GET = "`apt install dataset-fashion-mnist` puts it there, or name its folder with --data"
IDX3_BYTES = 0x00000803
"""Magic number of an idx file of bytes with three dimensions; its last byte counts them."""


def read_idx(path: Path, dimensions: int = 3) -> npt.NDArray[np.uint8]:
    """Return the contents of a gzipped idx file of bytes.

    Images have 3 ``dimensions``, (count, height, width) uint8; labels have 1, (count,) uint8.
    """
    try:
        with gzip.open(path) as stream:
            data = stream.read()
    except FileNotFoundError as error:
        raise UserError(f"data set file {path} is missing; {HOW_TO_GET}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"data set file {path}: cannot be read ({error})") from error
    header = 4 + 4 * dimensions
    if len(data) < header:
        raise UserError(f"data set file {path}: needs a header of {header} bytes, got {len(data)}")
    magic, *shape = struct.unpack(f">{1 + dimensions}I", data[:header])
    wanted_magic = IDX3_BYTES - 3 + dimensions
    if magic != wanted_magic:
        raise UserError(
            f"data set file {path}: magic must be {wanted_magic:#010x}, got {magic:#010x}"
        )
    if len(data) - header != math.prod(shape):
        wanted = f"{' x '.join(map(str, shape))} bytes"
        raise UserError(f"data set file {path}: must hold {wanted}, got {len(data) - header}")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


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


def load_bytes(
    folder: Path = DEFAULT_FOLDER, size: int = 16, split: str = "train"
) -> npt.NDArray[np.uint8]:
    """Return the images of ``split`` as a sampler writes them, (count, 1, size, size) uint8."""
    return to_bytes(load_images(folder, size, split))


def load_labels(folder: Path = DEFAULT_FOLDER, split: str = "train") -> npt.NDArray[np.uint8]:
    """Return the classes of the images of ``split``, (count,) uint8 in 0..9."""
    labels = read_idx(folder / LABELS[split], dimensions=1)
    if labels.size and labels.max() > 9:
        raise UserError(f"data set file {folder / LABELS[split]}: label {labels.max()} is above 9")
    return labels
