"""Artifact and sizes to a program: instructions, memory plan, images of weights and tables.

If codes do not fit, convs are cut into bands whose codes take half the room, down to 1/16 of a
bank; if streams do not, those that rest longest wait in external memory. What fits in no way is
refused with sizes that hold it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from golden.accelerator.configuration import (
    ADDRESS_BITS,
    IMAGE_CHANNELS_MAX,
    AcceleratorConfig,
    SizeError,
)
from golden.accelerator.instruction import INSTRUCTION_BYTES, Instruction, Opcode
from golden.accelerator.legality import ALIGNMENT
from golden.accelerator.lowering.network import Lowering
from golden.accelerator.lowering.spill import LEADS, rests, spill
from golden.accelerator.memory_plan import MemoryPlan, memory_needs, plan_memory
from golden.accelerator.operations import Operation, Place, Section, Space, Tensor
from golden.accelerator.program import HEADER_BYTES, DataBlock, Header
from golden.accelerator.schedule import schedule
from golden.calibration.artifact import Artifact
from golden.errors import UserError

__all__ = ["Program", "compile_artifact", "compile_roomy"]

BANDINGS = 5
NOISE_COLUMN = 5  # of the sampler's coefficients
Listed = tuple[Operation | None, Instruction]


@dataclass(frozen=True)
class Program:
    """What the hardware gets and what people read.

    ``regions``: bytes of program, weights and tables. ``data``: blocks of the data region that the
    host fills (``noise``: of every step where the sampler uses any) or reads, by name, and of
    spilled tensors; words as in the stream scratchpad. ``listed``: instructions of each section
    beside their operations.
    """

    header: Header
    regions: Mapping[str, bytes]
    data: Mapping[str, DataBlock]
    listed: Mapping[Section, list[Listed]]
    plan: MemoryPlan
    operations: list[Operation]
    bands: int

    @property
    def data_bytes(self) -> int:
        """Size of the data region."""
        return _end(self.data, self.header.steps)


def _end(data: Mapping[str, DataBlock], steps: int) -> int:
    """First byte behind all blocks."""
    return max(b.offset + b.stride * (steps - 1) + b.size for b in data.values())


def compile_artifact(artifact: Artifact, config: AcceleratorConfig) -> Program:
    """Compile; ``SizeError``, with the sizes that would do, if the network is too large."""
    if artifact.steps > 1024:
        raise UserError(f"{artifact.steps} sampler steps; allowed: 1..1024")
    if artifact.config.in_channels > IMAGE_CHANNELS_MAX:
        raise UserError(
            f"{artifact.config.in_channels} channels of the image; allowed: 1..{IMAGE_CHANNELS_MAX}"
        )
    for level in range(BANDINGS):
        try:
            return _compile(artifact, config, config.code_bank_words >> level)
        except SizeError as error:
            if "code_words" not in error.needed:
                raise
    # without bands, as a scratchpad that holds all codes would do it
    roomy = replace(config, code_words=1 << ADDRESS_BITS)
    needs = memory_needs(_lower(artifact, roomy, roomy.code_words)[0].operations, roomy)
    raise SizeError(
        {n: v for n, v in needs.items() if v > getattr(config, n)}, config, "the network"
    )


def compile_roomy(artifact: Artifact, size: int) -> Program:
    """Compile for an array of ``size`` and the usual memories, or larger ones if they must be."""
    config = AcceleratorConfig(size=size)
    while True:
        try:
            return compile_artifact(artifact, config)
        except SizeError as error:
            config = replace(config, **error.needed)


def _lower(
    artifact: Artifact, config: AcceleratorConfig, band_words: int
) -> tuple[Lowering, dict[str, DataBlock]]:
    lowering = Lowering(artifact, config, band_words)
    data = _data_layout(artifact, config, lowering.image)
    _start(lowering, data)
    _sample(lowering, lowering.network(), data)
    _finish(lowering, data)
    return lowering, data


def _placed(
    operations: list[Operation],
    config: AcceleratorConfig,
    data: Mapping[str, DataBlock],
    steps: int,
) -> tuple[list[Operation], MemoryPlan, dict[str, DataBlock]]:
    """Operations with as few spills as the stream scratchpad needs, their plan, and the blocks."""
    candidates = rests(operations)
    offset = -(-_end(data, steps) // ALIGNMENT) * ALIGNMENT
    refused: SizeError | None = None
    for count in range(len(candidates) + 1):
        for lead in LEADS[: 1 if count == 0 else None]:
            chosen = candidates[:count]
            changed, blocks = spill(operations, chosen, config, offset=offset, lead=lead)
            try:
                return changed, plan_memory(changed, config), blocks
            except SizeError as error:
                if set(error.needed) != {"stream_words"}:
                    raise
                if refused is None or error.needed["stream_words"] < refused.needed["stream_words"]:
                    refused = error
    assert refused is not None
    raise refused


def _compile(artifact: Artifact, config: AcceleratorConfig, band_words: int) -> Program:
    lowering, data = _lower(artifact, config, band_words)
    operations, plan, spilled = _placed(lowering.operations, config, data, artifact.steps)
    listed: dict[Section, list[Listed]] = {}
    sections: dict[Section, tuple[int, int]] = {}
    program = bytearray(HEADER_BYTES)
    for section, pairs in schedule(operations, plan).items():
        listed[section] = [*pairs, (None, Instruction(Opcode.END))]
        sections[section] = (len(program), INSTRUCTION_BYTES * len(listed[section]))
        for _, instruction in listed[section]:
            program += instruction.encode()
    header = Header(config, artifact.steps, artifact.boundaries, sections)
    program[:HEADER_BYTES] = header.encode()
    regions = {
        "program": bytes(program),
        "weights": bytes(lowering.images.weights),
        "tables": bytes(lowering.images.tables),
    }
    convs = sum(o.opcode is Opcode.CONV for o in operations)
    bands = convs - len(artifact.layers)
    return Program(header, regions, data | spilled, listed, plan, operations, bands)


def _data_layout(
    artifact: Artifact, config: AcceleratorConfig, image: Tensor
) -> dict[str, DataBlock]:
    size = image.words * config.word_bytes
    stride = -(-size // ALIGNMENT) * ALIGNMENT
    blocks = {
        name: DataBlock(number * stride, size) for number, name in enumerate(("x", "x0", "image"))
    }
    if artifact.tensors["sampler.coefficients"][:, NOISE_COLUMN].any():
        blocks["noise"] = DataBlock(len(blocks) * stride, size, stride)
    return blocks


def _move(
    opcode: Opcode, label: str, section: Section, tensor: Tensor, block: DataBlock
) -> Operation:
    place = {"destination" if opcode is Opcode.LOAD else "source0": Place(tensor, 0, tensor.words)}
    fields = {"words": tensor.words, "offset": block.offset, "step_stride": block.stride}
    return Operation(opcode, label, section, fields, place)


def _start(lowering: Lowering, data: Mapping[str, DataBlock]) -> None:
    lowering.emit(_move(Opcode.LOAD, "x", Section.START, lowering.image, data["x"]))


def _sample(lowering: Lowering, eps: Tensor, data: Mapping[str, DataBlock]) -> None:
    """Emit the sampler update of x from eps, and the noise if the sampler uses any."""
    x = lowering.image
    places = {
        "source0": Place(x, 0, x.words),
        "destination": Place(x, 0, x.words),
        "auxiliary": Place(eps, 0, eps.words),
    }
    if "noise" in data:
        noise = Tensor("noise", Space.STREAM, 1, x.plane, x.channels, x.height, x.width)
        load = _move(Opcode.LOAD, "noise", Section.STEP, noise, data["noise"])
        # beside conv_out, the last conv
        lowering.operations.insert(len(lowering.operations) - 1, load)
        places["source1"] = Place(noise, 0, noise.words)
    else:
        places["source1"] = Place(x, 0, x.words)  # times 0
    rows = lowering.images.sampler_rows()
    lowering.emit(Operation(Opcode.TABLE, "sampler", Section.STEP, rows))
    fields = {"height": x.height, "width": x.width, "channels": x.channels}
    lowering.emit(Operation(Opcode.SAMPLE, "sampler", Section.STEP, fields, places))


def _finish(lowering: Lowering, data: Mapping[str, DataBlock]) -> None:
    """Emit the stores of x0 and of its bytes."""
    x = lowering.image
    image = Tensor("image", Space.STREAM, 1, x.plane, x.channels, x.height, x.width)
    fields = {"height": x.height, "width": x.width, "channels": x.channels, "image": 1}
    places = {"source0": Place(x, 0, x.words), "destination": Place(image, 0, image.words)}
    lowering.emit(_move(Opcode.STORE, "x0", Section.FINISH, x, data["x0"]))
    lowering.emit(Operation(Opcode.SAMPLE, "image", Section.FINISH, fields, places))
    lowering.emit(_move(Opcode.STORE, "image", Section.FINISH, image, data["image"]))
