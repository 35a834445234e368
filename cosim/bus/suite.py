"""What the benches of this folder are given: cases of the blocks, the fields of the registers."""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from cosim.accelerator_run.golden_run import data_region, golden_run
from cosim.accelerator_run.run import BASES, START, register_lines
from cosim.bus.bench import run_bus
from cosim.bus.traffic import Traffic
from cosim.bus.verdict import BusVerdict
from cosim.manifest import load_manifest
from cosim.script import pack_bits
from golden.accelerator.compiler import Program
from golden.calibration.artifact import Artifact
from golden.errors import UserError
from hdl.axi_wrapper import stream_prefix
from hdl.register_map import PARAMETERS, addresses, compiled

__all__ = [
    "SHARES",
    "check_accelerator",
    "check_driver",
    "check_registers",
    "check_streams",
]

CYCLES_MAX = 2_000_000  # of a run
SHARES = (0.0, 0.3, 0.7)
"""Of the cycles in which every source and sink pauses."""
_DRIVEN = {
    ("status", "busy"): "busy",
    ("status", "done"): "done",
    ("status", "error"): "error",
    ("cause", "code"): "cause",
    ("address", "offset"): "address",
    ("step", "index"): "step",
    ("saturations_array", "count"): "saturations_array",
    ("saturations_vector", "count"): "saturations_vector",
}
_IDLE = ("array_beat", "vector_beat", "read_beat", "write_beat")


def check_streams(rtl: Path, sent: Traffic, *, seed: int, share: float) -> BusVerdict:
    """Send ``sent`` through a block's AXI4-Stream ports; what must come out is part of it.

    ``rtl``: as ``wrapped`` writes it. A beat is offered once those that it waits for have moved.
    """
    ports = {port.name: port for port in load_manifest(rtl / "block").ports}
    streams = {name: port for name, port in ports.items() if port.kind == "stream"}
    prefix = {name: stream_prefix(name, port.direction) for name, port in streams.items()}
    work: dict[str, Any] = {"inputs": {}, "outputs": {}, "share": share}
    for name, port in streams.items():
        beats = [int(bits, 2) for bits in pack_bits(port, sent.payloads[name], name)]
        work[f"{port.direction}puts"][prefix[name]] = (-(-port.width // 8), beats)
    for name, port in ports.items():
        plain = port.kind == "plain" and port.direction == "in" and not name.startswith("m_axi_")
        if plain and name not in sent.plain.keys() | sent.answers.keys():
            raise UserError(f"{sent.name}: plain input {name!r} has no value")
    work["plain"] = {
        name: value & (1 << ports[name].width) - 1 for name, value in sent.plain.items()
    }
    work["order"] = {
        prefix[name]: [
            replace(wait, moved={prefix[other]: count for other, count in wait.moved.items()})
            for wait in waits
        ]
        for name, waits in sent.order.items()
    }
    work["answers"] = {
        name: replace(answer, stream=prefix[answer.stream]) for name, answer in sent.answers.items()
    }
    work |= {"memory": sent.memory, "kept": sent.kept}
    return run_bus(rtl, "tb_stream", work, seed=seed)


def check_registers(rtl: Path, *, seed: int, share: float) -> BusVerdict:
    """Read and write every field and every hole of the registers."""
    parameters = load_manifest(rtl).parameters
    registers = compiled({name: parameters[name] for name in PARAMETERS})
    work = {"registers": registers, "driven": _DRIVEN, "idle": _IDLE, "share": share}
    return run_bus(rtl, "tb_registers", work, seed=seed)


def check_accelerator(
    rtl: Path, program: Program, artifact: Artifact, *, steps: range, seed: int, share: float
) -> BusVerdict:
    """Run ``steps`` of ``program`` from the noise of ``seed``; every byte of the data region."""
    data = data_region(program, artifact, seed)
    with tempfile.TemporaryDirectory(prefix="stepscale-") as folder:
        golden = golden_run(program, data, steps, Path(folder))
    regions = {**program.regions, "data": data}
    lines = [line.split() for line in register_lines(program, steps, len(data))]
    writes = [(int(at, 16), int(value, 16)) for _, at, value in lines]
    registers = addresses()
    work = {
        "memory": {BASES[name]: bytes(content) for name, content in regions.items()},
        "writes": [*writes, (registers["control"], START)],
        "data": (BASES["data"], golden.data),
        "status": registers["status"],
        "limit": CYCLES_MAX,
        "share": share,
    }
    return run_bus(rtl, "tb_accelerator", work, seed=seed)


def check_driver(rtl: Path, package: Path, *, seed: int) -> BusVerdict:
    """Run the program of ``package`` (of the accelerator) by its Python driver.

    ``rtl``: the same accelerator, as ``wrapped`` writes it.
    """
    parameters = load_manifest(rtl).parameters
    images = {name: (package / "images" / f"{name}.bin").read_bytes() for name in BASES}
    with tempfile.TemporaryDirectory(prefix="stepscale-") as folder:
        for path in ("driver/stepscale_driver.py", "registers/stepscale_registers.py"):
            shutil.copy(package / path, folder)
        work = {
            "driver": folder,
            "regions": {name: (BASES[name], images[name]) for name in BASES},
            "expected": (package / "images" / "expected.bin").read_bytes(),
            "shape": {name: parameters[name] for name in PARAMETERS},
            "steps": (0, 0),
            "waits": CYCLES_MAX // 1000,
        }
        return run_bus(rtl, "tb_driver", work, seed=seed)
