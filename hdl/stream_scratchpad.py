"""The memory of the residual stream: words of int16, read and written by three units."""

from amaranth.hdl import signed

from golden.accelerator.configuration import SIZES
from hdl.checks import check_choice, check_size
from hdl.scratchpad import Scratchpad

__all__ = ["StreamScratchpad"]


class StreamScratchpad(Scratchpad):
    """Words of ``size`` x signed(16); see :class:`~hdl.scratchpad.Scratchpad`.

    Parameters
    ----------
    size : int
        Lanes: 4, 8, 16 or 32.
    stream_words, stream_banks : int
        Words of all banks, a multiple of the banks; 1, 2, 4 or 8 banks.

    Members
    -------
    read_residual, read_vector, read_mover : read ports, in this priority
    write_array, write_vector, write_mover : write ports, in this priority
    """

    def __init__(self, *, size=16, stream_words=4096, stream_banks=2):
        self.size = check_choice("size", size, SIZES)
        self.stream_banks = check_choice("stream_banks", stream_banks, (1, 2, 4, 8))
        self.stream_words = check_size("stream_words", stream_words, stream_banks, 1 << 24)
        if stream_words % stream_banks:
            raise ValueError(
                f"stream_words must be a multiple of {stream_banks}, got {stream_words}"
            )
        super().__init__(
            words=stream_words,
            banks=stream_banks,
            element=signed(16),
            lanes=size,
            readers=("read_residual", "read_vector", "read_mover"),
            writers=("write_array", "write_vector", "write_mover"),
        )
