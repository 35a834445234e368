"""The list of planted faults, joined from one file a block: ``tests/faults/<block>.py``."""

from tests.faults import (
    accumulator,
    datapath,
    group_norm,
    mac_array,
    operand,
    requantizer,
    residual,
    sampler,
    scale_file,
    silu_quantizer,
    softmax,
)
from tests.faults.fault import Fault

__all__ = ["FAULTS", "PARAMETERS", "Fault"]

_BLOCKS = (
    operand,
    mac_array,
    accumulator,
    scale_file,
    requantizer,
    silu_quantizer,
    group_norm,
    residual,
    sampler,
    softmax,
    datapath,
)

PARAMETERS = {block.__name__.rpartition(".")[2]: block.PARAMETERS for block in _BLOCKS}
FAULTS = tuple(fault for block in _BLOCKS for fault in block.FAULTS)
