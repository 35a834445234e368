"""The blocks that can be generated, by name."""

import inspect

from hdl.accelerator import Accelerator
from hdl.accumulator import Accumulator
from hdl.array_unit import ArrayUnit
from hdl.array_walk import ArrayWalk
from hdl.axi_reader import AxiReader
from hdl.axi_writer import AxiWriter
from hdl.channel_sums import ChannelSums
from hdl.code_scratchpad import CodeScratchpad
from hdl.datapath import Datapath
from hdl.group_norm import GroupNorm
from hdl.mac_array import MacArray
from hdl.mover import Mover
from hdl.norm_constants import NormConstants
from hdl.operand import Operand
from hdl.processing_element import ProcessingElement
from hdl.registers import Registers
from hdl.requantizer import Requantizer
from hdl.residual import Residual
from hdl.row_scales import RowScales
from hdl.sampler import Sampler
from hdl.scale_file import ScaleFile
from hdl.sequencer import Sequencer
from hdl.silu_quantizer import SiluQuantizer
from hdl.softmax import Softmax
from hdl.stationary import Stationary
from hdl.stream_scratchpad import StreamScratchpad
from hdl.table_loader import TableLoader
from hdl.vector_unit import VectorUnit
from hdl.weight_loader import WeightLoader
from hdl.write_back import WriteBack

__all__ = ["BLOCKS", "parameters_of"]

BLOCKS = {
    "operand": Operand,
    "mac_array": MacArray,
    "processing_element": ProcessingElement,
    "accumulator": Accumulator,
    "scale_file": ScaleFile,
    "requantizer": Requantizer,
    "silu_quantizer": SiluQuantizer,
    "group_norm": GroupNorm,
    "norm_constants": NormConstants,
    "residual": Residual,
    "sampler": Sampler,
    "softmax": Softmax,
    "datapath": Datapath,
    "array_walk": ArrayWalk,
    "array_unit": ArrayUnit,
    "stationary": Stationary,
    "write_back": WriteBack,
    "channel_sums": ChannelSums,
    "stream_scratchpad": StreamScratchpad,
    "code_scratchpad": CodeScratchpad,
    "row_scales": RowScales,
    "vector_unit": VectorUnit,
    "axi_reader": AxiReader,
    "axi_writer": AxiWriter,
    "mover": Mover,
    "registers": Registers,
    "sequencer": Sequencer,
    "accelerator": Accelerator,
    "table_loader": TableLoader,
    "weight_loader": WeightLoader,
}


def parameters_of(block):
    """Return the constructor's keywords and their values in ``block``."""
    return {name: getattr(block, name) for name in inspect.signature(type(block)).parameters}
