"""Writes a package: everything that an integration of one block needs, in one folder.

``rtl/`` Verilog and the AMBA wrapper, ``sim/`` a smoke bench for Verilator alone, ``constraints/``,
``doc/``, and for the accelerator ``registers/``, ``driver/`` and ``images/``. ``manifest.json`` is
written last and lists every file with its hash.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cosim.accelerator_run.build import ARITHMETIC, BUS, CONFIG
from cosim.accelerator_run.golden_run import data_region, golden_run
from cosim.generate import generate
from cosim.manifest import load_manifest
from cosim.package import texts
from cosim.package.bus_diagram import bus_diagrams
from cosim.package.diagram import diagram
from cosim.package.hierarchy import mermaid
from cosim.package.memories import instance_counts, memories
from cosim.package.registers import has_ipxact, write_registers
from cosim.trace_checker.build import HERE as CHECKER
from cosim.trace_checker.build import SOURCES, ports_header
from cosim.trace_checker.layout import Layout
from cosim.trace_checker.trace import TraceWriter
from golden.accelerator.compiler import compile_artifact
from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.cycles import time_run
from golden.accelerator.timing.latencies import Arithmetic, Memory
from golden.calibration.artifact import Artifact
from golden.cycles import Case
from golden.errors import UserError
from golden.files import atomic_write, ensure_writable_folder
from hdl.axi_wrapper import Wrapper, wrap
from hdl.blocks import BLOCKS
from hdl.emit import EmittedDesign, write
from hdl.registered_multiplier import RegisteredMultiplier

__all__ = ["PACKAGE", "packaged_blocks", "write_package"]

PACKAGE = "manifest.json"
HERE = Path(__file__).resolve().parent
CYCLES = 5_000  # of a smoke bench, about
SEED = 1
MADE = ("sim/build/", "sim/verdict.json", "driver/__pycache__/", "registers/__pycache__/")
STEPS = range(1)  # that the accelerator's smoke bench runs
LATENCY = 40  # cycles of its memory
LATENCIES = (0, LATENCY, 100)  # cycles of the memories in its README

Progress = Callable[[str, int, int], None]


def packaged_blocks() -> list[str]:
    """Blocks that make a package: those with a bench, and the accelerator."""
    benches = [name for name in BLOCKS if find_spec(f"cosim.tb_{name}") is not None]
    return [*benches, "accelerator"]


def write_package(
    block: str,
    parameters: Mapping[str, Any],
    folder: Path,
    artifact: Artifact | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Mapping[str, Any]:
    """Write the package of ``block`` into ``folder``, new or an older one; return its manifest.

    ``artifact``: whose program the accelerator's smoke bench runs. ``UserError`` for a block
    without a bench, a folder that holds something else, or a network that does not fit.
    """
    if block not in packaged_blocks():
        raise UserError(
            f"block {block!r} makes no package, it is a part; allowed: "
            f"{', '.join(packaged_blocks())}"
        )
    old = _older(folder)
    with tempfile.TemporaryDirectory(prefix=".stepscale-", dir=folder.parent) as name:
        unfinished = Path(name) / "package"
        unfinished.mkdir()
        record = _write(block, parameters, unfinished, artifact, progress)
        _remove(folder, old)
        unfinished.replace(folder)
    return record


def _write(
    block: str,
    parameters: Mapping[str, Any],
    folder: Path,
    artifact: Artifact | None,
    progress: Progress,
) -> Mapping[str, Any]:
    progress("generate", 0, 3)
    design = generate(block, parameters)
    wrapper = wrap(design.manifest)
    write(design, folder / "rtl")
    (folder / "rtl" / f"{wrapper.top}.v").write_text(wrapper.text)
    rtl = [f"rtl/{name}" for name in (*design.files, f"{wrapper.top}.v")]
    (folder / "files.f").write_text(texts.file_list(rtl))
    (folder / "constraints").mkdir()
    for name, text in (("sdc", texts.sdc("aclk", "aresetn")), ("lpf", texts.lpf("aclk")),
                       ("pdc", texts.pdc("aclk"))):  # fmt: skip
        (folder / "constraints" / f"{block}.{name}").write_text(text)
    progress("smoke bench", 1, 3)
    if block == "accelerator":
        if artifact is None:
            raise UserError("a package of the accelerator needs an artifact to run")
        bench = _accelerator(folder, design, artifact)
    else:
        bench = _block(folder, design)
    progress("texts", 2, 3)
    _texts(folder, design, wrapper, rtl, bench)
    return _manifest(folder, design, wrapper)


def _older(folder: Path) -> set[str]:
    """Files of an older package, what its smoke bench made included; refuse anything else."""
    ensure_writable_folder(folder)
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}
    try:
        listed = {PACKAGE, *json.loads((folder / PACKAGE).read_text())["package"]}
    except (OSError, ValueError, KeyError, TypeError):
        listed = set()
    foreign = sorted(name for name in there - listed if not (listed and name.startswith(MADE)))
    if foreign:
        raise UserError(
            f"package folder {folder}: holds {foreign[0]}, which no package listed; "
            "allowed: a new or empty folder, or an older package"
        )
    return there


def _remove(folder: Path, files: set[str]) -> None:
    for name in sorted(files, key=lambda name: name != PACKAGE):  # a manifest means: complete
        (folder / name).unlink()
    for place in sorted(folder.rglob("*"), reverse=True):
        place.rmdir()


@dataclass(frozen=True)
class _Bench:
    """What the texts need to know of a smoke bench.

    ``latency``: what it is of, and the cycles; ``diagrams``: names in ``doc/``.
    """

    top: str
    sources: Sequence[str]
    flags: Sequence[str]
    run: Sequence[str]
    latency_of: str
    latency: Sequence[tuple[str, int]]
    diagrams: Sequence[str]


def _block(folder: Path, design: EmittedDesign) -> _Bench:
    """Traces of the bench's first cases and the native checker, as the regression has them."""
    block = design.manifest["block"]
    simulation = folder / "sim"
    simulation.mkdir()
    manifest = load_manifest(folder / "rtl")
    cases: list[Case] = []
    for case in import_module(f"cosim.tb_{block}").cases(SEED, dict(design.manifest["parameters"])):
        cases.append(case)
        if sum(c.trace.cycles for c in cases) >= CYCLES:
            break
    with TraceWriter(simulation / "trace", manifest) as writer:
        for case in cases:
            writer.add(case)
    for name in SOURCES:
        shutil.copyfile(CHECKER / name, simulation / name)
    (simulation / "ports.h").write_text(ports_header(Layout.of(manifest)))
    _diagrams(folder, {"timing": diagram(cases[0], block)})
    return _Bench(
        top=block,
        sources=["main.cpp"],
        flags=["-CFLAGS", "-std=c++17 -I$(CURDIR)"],
        run=["trace", "verdict.json", "--check"],
        latency_of="Clock cycles without stalls.",
        latency=[
            ("input to output" if name == "cycles" else name, cycles)
            for name, cycles in design.manifest["latency"].items()
        ],
        diagrams=["timing"],
    )


def _diagrams(folder: Path, diagrams: Mapping[str, tuple[str, str]]) -> None:
    (folder / "doc").mkdir()
    for name, (source, picture) in diagrams.items():
        (folder / "doc" / f"{name}.json").write_text(source)
        (folder / "doc" / f"{name}.svg").write_text(picture)


def _accelerator(folder: Path, design: EmittedDesign, artifact: Artifact) -> _Bench:
    """Registers, driver, and a program with the memory that it must leave."""
    parameters = design.manifest["parameters"]
    config = AcceleratorConfig(**{name: parameters[name] for name in CONFIG})
    program = compile_artifact(artifact, config)
    images = folder / "images"
    images.mkdir()
    data = data_region(program, artifact, SEED)
    for name, content in (*program.regions.items(), ("data", data)):
        (images / f"{name}.bin").write_bytes(content)
    scratch = folder / "sim"
    scratch.mkdir()
    golden = golden_run(program, data, STEPS, scratch)
    for words in scratch.glob("*.words"):
        words.unlink()
    (images / "expected.bin").write_bytes(golden.data)
    registers = folder / "registers"
    registers.mkdir()
    write_registers(registers, parameters, version("stepscale"))
    shutil.copytree(
        HERE / "driver", folder / "driver", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copyfile(HERE / "sim" / "accelerator.cpp", folder / "sim" / "accelerator.cpp")
    cycles = {
        latency: time_run(
            program,
            STEPS,
            Memory(latency, *(parameters[name] for name in BUS)),
            Arithmetic(**{name: parameters[name] for name in ARITHMETIC}),
        )
        for latency in LATENCIES
    }
    (folder / "sim" / "run.h").write_text(
        "// What this bench runs; made with the images.\n#pragma once\n"
        f"constexpr unsigned AXI_BYTES = {parameters['axi_bytes']};\n"
        f"constexpr unsigned FIRST_STEP = {STEPS[0]}, LAST_STEP = {STEPS[-1]};\n"
        "// of memory, and the cycles that the model predicts for it\n"
        f"constexpr unsigned LATENCY = {LATENCY};\n"
        f"constexpr unsigned long long CYCLES = {cycles[LATENCY]};\n"
    )
    diagrams = bus_diagrams(parameters)
    _diagrams(folder, diagrams)
    return _Bench(
        top="accelerator_axi",
        sources=["accelerator.cpp", "../driver/stepscale.c"],
        flags=["-CFLAGS", "-std=c++17 -I$(CURDIR) -I$(CURDIR)/../driver -I$(CURDIR)/../registers"],
        run=["../images"],
        latency_of=(
            "Clock cycles of one step of the program in `images/`, *start* to *done*: predicted,\n"
            "exact for a memory that takes and gives a beat in every cycle. `make -C sim` compares."
        ),
        latency=[
            (f"step, memory answers {latency} cycles after a request", count)
            for latency, count in cycles.items()
        ],
        diagrams=list(diagrams),
    )


def _texts(
    folder: Path, design: EmittedDesign, wrapper: Wrapper, rtl: Sequence[str], bench: _Bench
) -> None:
    block = design.manifest["block"]
    here = folder / "sim"
    (here / "Makefile").write_text(texts.makefile(bench.top, bench.sources, bench.flags, bench.run))
    contents = [
        ("rtl/", f"Verilog-2001, one module a file; top `{block}`, and `{wrapper.top}` round it"),
        ("files.f", "list of the Verilog, for `-F`"),
        (f"{block}.core", "FuseSoC core: targets lint and sim"),
        ("constraints/", "examples: SDC, LPF, PDC"),
        ("sim/", "smoke bench: Verilator, make, a C++ compiler"),
        (PACKAGE, "parameters, ports, hash of every file"),
    ]
    macro = RegisteredMultiplier.macro
    contents += [
        (f"rtl/{name}", f"an ECP5's MULT18X18D where `{macro}` is defined at reading")
        for name, text in design.files.items()
        if macro in text
    ]
    if block == "accelerator":
        contents += [
            (
                "registers/",
                "SystemRDL, C header, Python constants, `html/index.html`"
                + (", IP-XACT" if has_ipxact() else ""),
            ),
            ("driver/", "driver in C and its twin in Python"),
            ("images/", "a program, noise, and the memory that it must leave"),
        ]
        what = "accesses of registers, bursts of memory: simulated cycles (WaveDrom)"
    else:
        what = "cycles that the smoke bench compares (WaveDrom)"
    contents.append(("doc/", what))
    ports = [(p.name, p.direction, p.width, p.bus) for p in wrapper.ports]
    modules = {name.removesuffix(".v"): text for name, text in design.files.items()}
    counts = instance_counts(modules, design.manifest["top"])
    arrays = [(memory, counts[memory.module]) for memory in memories(modules)]
    chart = mermaid({**modules, wrapper.top: wrapper.text}, wrapper.top)
    page = "accelerator.md" if block == "accelerator" else f"blocks/{block}.md"
    text = texts.readme(
        block,
        design.manifest,
        ports,
        contents,
        page=f"What it does: docs/{page} of stepscale.",
        chart=chart,
        arrays=arrays,
        latency_of=bench.latency_of,
        latency=bench.latency,
        diagrams=bench.diagrams,
    )
    (folder / "README.md").write_text(text)
    _core(folder, block, rtl, bench)


def _core(folder: Path, block: str, rtl: Sequence[str], bench: _Bench) -> None:
    """FuseSoC builds in a folder of its own: what the bench includes or reads is copied there."""
    shim = folder / "sim" / "edalize" / "Vtop.h"  # Edalize names the class after the top
    shim.parent.mkdir()
    shim.write_text(f'#include "V{bench.top}.h"\nusing Vtop = V{bench.top};\n')
    found = [p.relative_to(folder).as_posix() for p in sorted(folder.rglob("*")) if p.is_file()]
    simulation = []
    for name in found:
        path = Path(name)
        if path.suffix == ".h" and path.parts[0] in ("sim", "driver", "registers"):
            kind = f"file_type: cppSource, is_include_file: true, copyto: {path.name}"
        elif path.suffix in (".c", ".cpp"):
            kind = "file_type: cSource" if path.suffix == ".c" else "file_type: cppSource"
        elif name.startswith(("sim/trace/", "images/")):
            kind = f"file_type: user, copyto: {name.removeprefix('sim/')}"
        else:
            continue
        simulation.append((name, kind))
    run = [word.removeprefix("../") for word in bench.run]
    text = texts.core_file(block, bench.top, version("stepscale"), rtl, simulation, run)
    (folder / f"{block}.core").write_text(text)


def _manifest(folder: Path, design: EmittedDesign, wrapper: Wrapper) -> Mapping[str, Any]:
    files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    record = {
        **design.manifest,
        "files": [f"rtl/{name}" for name in design.files],
        "sha256": {f"rtl/{name}": h for name, h in design.manifest["sha256"].items()},
        "wrapper": {
            "top": wrapper.top,
            "file": f"rtl/{wrapper.top}.v",
            "ports": [
                {"name": p.name, "direction": p.direction, "width": p.width, "bus": p.bus}
                for p in wrapper.ports
            ],
        },
        "package": {
            p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in files
        },
    }
    with atomic_write(folder / PACKAGE) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n")
    return record
