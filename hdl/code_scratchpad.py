"""The memory of the array's operands: words of 12-bit codes, each lane with a write bit."""

from golden.accelerator.configuration import CODE_BANKS, SIZES
from golden.operand import CODE_BITS
from hdl.checks import check_choice, check_size
from hdl.scratchpad import Scratchpad

__all__ = ["CodeScratchpad"]


class CodeScratchpad(Scratchpad):
    """Words of ``size`` x 12 bits in two banks; see :class:`~hdl.scratchpad.Scratchpad`.

    Parameters
    ----------
    size : int
        Lanes: 4, 8, 16 or 32.
    code_words : int
        Words of both banks, even.

    Members
    -------
    read_operand, read_stationary : read ports, in this priority
    write_array, write_vector : write ports with ``mask``, in this priority
    """

    def __init__(self, *, size=16, code_words=4096):
        self.size = check_choice("size", size, SIZES)
        self.code_words = check_size("code_words", code_words, CODE_BANKS, 1 << 24)
        if code_words % CODE_BANKS:
            raise ValueError(f"code_words must be a multiple of {CODE_BANKS}, got {code_words}")
        super().__init__(
            words=code_words,
            banks=CODE_BANKS,
            element=CODE_BITS,
            lanes=size,
            readers=("read_operand", "read_stationary"),
            writers=("write_array", "write_vector"),
            masked=True,
        )
