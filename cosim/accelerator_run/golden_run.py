"""What the accelerator must do: a compiled program run by the executor, every written word kept."""

from bisect import bisect_right
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from golden.accelerator.compiler import Program
from golden.accelerator.executor import Executor
from golden.accelerator.instruction import Instruction
from golden.accelerator.operations import Section
from golden.accelerator.units.state import State
from golden.accelerator.writes import PORTS, records
from golden.calibration.artifact import Artifact
from golden.network.samplers import START, noise_q12

__all__ = ["GoldenRun", "Origin", "data_region", "golden_run", "image_of"]

Int16 = npt.NDArray[np.int16]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class GoldenRun:
    """Files of expected words by port, in ``folder``; ``data``: the data region at the end.

    ``origins``: by port, first word of every instruction that wrote there, and which it is.
    """

    folder: Path
    words: dict[str, int]
    data: bytes
    origins: dict[str, list[tuple[int, "Origin"]]]

    def origin(self, port: str, word: int) -> "Origin | None":
        """What writes word number ``word`` of a port; ``None`` if nothing does."""
        entries = self.origins[port]
        place = bisect_right(entries, word, key=itemgetter(0)) - 1
        return entries[place][1] if place >= 0 and word < self.words[port] else None


@dataclass(frozen=True)
class Origin:
    """An instruction of a run: section, sampler step, number in its section, opcode."""

    section: Section
    step: int
    number: int
    opcode: str


def _lanes(x: Int16, size: int) -> bytes:
    """Words of an image (C, H, W)."""
    lanes = np.zeros((x[0].size, size), "<i2")
    lanes[:, : len(x)] = x.reshape(len(x), -1).T
    return lanes.tobytes()


def data_region(program: Program, artifact: Artifact, seed: int, image: int = 0) -> bytes:
    """The data region before a run: the noise of image number ``image`` of ``seed``."""
    data = bytearray(program.data_bytes)
    shape = (artifact.config.in_channels, *artifact.config.sample_size)
    places = [("x", START, 0)]
    if "noise" in program.data:
        places += [("noise", step, step) for step in range(artifact.steps)]
    for name, step, number in places:
        block = program.data[name]
        at = block.offset + number * block.stride
        noise = noise_q12(seed, image, step, shape)
        data[at : at + block.size] = _lanes(noise, program.header.config.size)
    return bytes(data)


def image_of(program: Program, artifact: Artifact, data: bytes, name: str) -> Int16:
    """Block ``name`` (x0 or image) of a data region, (C, H, W)."""
    block = program.data[name]
    shape = (artifact.config.in_channels, *artifact.config.sample_size)
    found = np.frombuffer(data[block.offset : block.offset + block.size], "<i2")
    return found.reshape(-1, program.header.config.size)[:, : shape[0]].T.reshape(shape)


def golden_run(
    program: Program, data: bytes, steps: range, folder: Path, progress: Progress | None = None
) -> GoldenRun:
    """Run ``steps`` (with start and finish); write ``<port>.words`` into ``folder``.

    ``progress``: called with steps done and their number.
    """
    words = dict.fromkeys(PORTS, 0)
    origins: dict[str, list[tuple[int, Origin]]] = {port: [] for port in PORTS}
    now = steps.start
    region = bytearray(data)
    with ExitStack() as stack:
        files: dict[str, BinaryIO] = {
            port: stack.enter_context((folder / f"{port}.words").open("wb")) for port in PORTS
        }

        def watch(section: Section, number: int, i: Instruction, state: State) -> None:
            found = records(state, i)
            if found is not None:
                port, written = found
                files[port].write(written.tobytes())
                origins[port].append((words[port], Origin(section, now, number, i.opcode.name)))
                words[port] += len(written)

        executor = Executor(program.header.config, program.regions, region, watch)
        executor.section(Section.START, steps.start)
        for done, now in enumerate(steps):
            executor.section(Section.STEP, now)
            if progress is not None:
                progress(done + 1, len(steps))
        executor.section(Section.FINISH, steps.stop - 1)
    return GoldenRun(folder, words, bytes(region), origins)
