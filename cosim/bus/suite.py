"""What the benches of this folder are given: cases of the blocks, the fields of the registers."""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from cosim.accelerator_run.golden_run import data_region, golden_run
from cosim.accelerator_run.run import BASES, START, register_lines
from cosim.bus.bench import run_bus
from cosim.bus.verdict import BusVerdict
from cosim.manifest import load_manifest
from cosim.script import compile_case
from golden.accelerator.compiler import Program
from golden.calibration.artifact import Artifact
from golden.cycles import Case
from golden.errors import UserError
from hdl.axi_wrapper import stream_prefix
from hdl.register_map import PARAMETERS, addresses, compiled

__all__ = [
    "SHARES",
    "STREAM_BLOCKS",
    "check_accelerator",
    "check_driver",
    "check_registers",
    "check_streams",
    "stream_cases",
]

CYCLES_MAX = 2_000_000  # of a run
SHARES = (0.0, 0.3, 0.7)
"""Of the cycles in which every source and sink pauses."""
STREAM_BLOCKS: Mapping[str, Mapping[str, Any]] = {
    "operand": {"rows": 2, "side_width": 2},
    "mac_array": {"rows": 2, "cols": 2, "side_width": 2},
    "accumulator": {"depth": 8, "cols": 2, "sum_width": 20, "side_width": 2},
    "requantizer": {"lanes": 2, "side_width": 2},
    "silu_quantizer": {"lanes": 2, "side_width": 2},
    "group_norm": {"lanes": 2},
    "residual": {"lanes": 2},
    "softmax": {"lanes": 2, "keys_max": 16, "ahead": 2},
    "sampler": {"lanes": 2, "side_width": 2},
    "scale_file": {
        "groups": 5, "resident_groups": 3, "steps": 4, "channel_tiles": 2, "lanes": 2,
        "conv_side": 3, "activation_side": 5, "edge_side": 1, "read_side": 6,
    },
    "datapath": {
        "rows": 2, "cols": 2, "depth": 8, "groups": 5, "resident_groups": 3, "steps": 4,
        "channel_tiles": 2, "segments": 16,
    },
}  # fmt: skip
"""Every block with a bench of its own; the last three have streams in step."""
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


def stream_cases(block: str, seed: int) -> list[Case]:
    """Cases of a block's bench that no reset cuts short, for its ports in ``STREAM_BLOCKS``."""
    if block not in STREAM_BLOCKS:
        raise UserError(
            f"block must be one of {', '.join(STREAM_BLOCKS)}, got {block!r}: no golden beats"
        )
    cases = import_module(f"cosim.tb_{block}").cases(seed, STREAM_BLOCKS[block])
    return [case for case in cases if not case.name.endswith("-reset")]


def check_streams(rtl: Path, case: Case, *, seed: int, share: float) -> BusVerdict:
    """Send the beats of ``case``, of ``stream_cases``, through a block's AXI4-Stream ports.

    ``rtl``: as ``wrapped`` writes it. A beat is offered once those that it waits for have moved.
    """
    manifest = load_manifest(rtl / "block")
    script = compile_case(case, manifest)
    sizes = {port.name: -(-port.width // 8) for port in manifest.ports}
    prefix = {name: stream_prefix(name, "in") for name in script.inputs}
    prefix |= {name: stream_prefix(name, "out") for name in script.outputs}
    inputs = {
        prefix[name]: _beats(stream.payload, sizes[name]) for name, stream in script.inputs.items()
    }
    outputs = {
        prefix[name]: _beats(stream.payload[: stream.transfers], sizes[name])
        for name, stream in script.outputs.items()
    }
    plain = {name: int(changes.get(0, "0"), 2) for name, changes in script.plain_in.items()}
    order = {
        prefix[name]: [
            replace(wait, moved={prefix[other]: count for other, count in wait.moved.items()})
            for wait in waits
        ]
        for name, waits in case.order.items()
    }
    answers = {
        name: replace(answer, stream=prefix[answer.stream]) for name, answer in case.answers.items()
    }
    work = {"inputs": inputs, "outputs": outputs, "plain": plain, "share": share}
    work |= {"order": order, "answers": answers}
    return run_bus(rtl, "tb_stream", work, seed=seed)


def _beats(payload: Any, size: int) -> tuple[int, list[int]]:
    return size, [int(bits, 2) for bits in payload]


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
