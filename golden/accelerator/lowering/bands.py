"""Ranges of output rows of a conv, so small that the codes they read fit on chip.

Output rows ``a .. b-1`` read rows ``a*s - pad .. (b-1)*s + k-1 - pad`` of the (upsampled) source.
"""

from dataclasses import dataclass

from golden.accelerator.configuration import CODE_BANKS, AcceleratorConfig, SizeError
from golden.calibration.topology import LayerSpec
from golden.errors import UserError

__all__ = ["Band", "bands", "tile_rows"]


@dataclass(frozen=True)
class Band:
    """Output rows and the rows of the source, before any upsampling, that they read."""

    first_row: int
    rows: int
    source_first: int
    source_rows: int

    @property
    def first(self) -> bool:
        """Whether the band is the layer's first."""
        return self.first_row == 0


def tile_rows(width: int, height: int, depth: int) -> int:
    """Rows of a pixel tile: whole rows, at most ``depth`` pixels."""
    if width > depth:
        raise UserError(
            f"depth = {depth} is below a row of {width} pixels; depth = {width} would do"
        )
    return min(height, depth // width)


def _band(spec: LayerSpec, first: int, rows: int, height: int) -> Band:
    """The band of output rows ``first .. first+rows-1`` over a source of ``height`` rows."""
    scale = 2 if spec.upsample else 1
    top = first * spec.stride - spec.padding[2]
    bottom = (first + rows - 1) * spec.stride - spec.padding[2] + spec.kernel - 1
    low, high = max(top, 0) // scale, min(bottom, height * scale - 1) // scale
    return Band(first, rows, low, high - low + 1)


def bands(
    spec: LayerSpec,
    output: tuple[int, int],
    chunks: tuple[int, int],
    config: AcceleratorConfig,
    words: int,
) -> list[Band]:
    """Bands of equal height whose codes take at most ``words``, one if everything fits.

    ``output``: (rows, columns) of the layer's output. ``chunks``: of both sources. ``SizeError``
    if not even one row fits.
    """
    rows, width = output
    scale = 2 if spec.upsample else 1
    height, source_width = rows * spec.stride // scale, width * spec.stride // scale
    whole = spec.source in {"image", "norm", "attention"}  # windows and heads read all pixels

    def size(band: Band) -> int:
        return band.source_rows * source_width * sum(chunks)

    step = tile_rows(width, rows, config.depth)
    count = rows
    while True:
        parts = [
            _band(spec, first, min(count, rows - first), height) for first in range(0, rows, count)
        ]
        largest = max(map(size, parts))
        if largest <= words:
            return parts
        if whole or count == 1:
            raise SizeError({"code_words": CODE_BANKS * largest}, config, spec.name)
        count = -(-count // 2)
        if count > step:
            count = -(-count // step) * step  # whole pixel tiles
