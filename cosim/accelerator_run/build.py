"""Verilog of an accelerator to a native program that plays scenarios."""

from dataclasses import dataclass
from pathlib import Path

from cosim.cache import cache_key, cached
from cosim.fst import fst_options
from cosim.manifest import Manifest, content_hash, load_manifest
from cosim.native import MAKE, OPTIONS, build_native, runtime_objects
from cosim.toolchain import require_build_tools
from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.timing.latencies import Arithmetic, Memory
from golden.errors import UserError

__all__ = ["ARITHMETIC", "BUS", "CONFIG", "Simulator", "build_simulator"]

MAIN = Path(__file__).resolve().parent / "main.cpp"
CONFIG = ("size", "stream_words", "stream_banks", "code_words", "sum_chunks", "depth",
          "channel_tiles")  # fmt: skip
BUS = ("axi_bytes", "outstanding", "buffer")
ARITHMETIC = ("decode", "pipeline", "multiplier")
"""Parameters of the accelerator for ``AcceleratorConfig``, ``Memory`` and ``Arithmetic``."""


@dataclass(frozen=True)
class Simulator:
    """``path``: the executable; ``config``: what programs must be compiled for."""

    path: Path
    manifest: Manifest
    config: AcceleratorConfig
    axi_bytes: int
    outstanding: int
    buffer: int
    arithmetic: Arithmetic

    def memory(self, latency: int) -> Memory:
        """What the cycle model is told of memory at the ports of this accelerator."""
        return Memory(latency, self.axi_bytes, self.outstanding, self.buffer)


def build_simulator(rtl: Path, *, waves: bool = False) -> Simulator:
    """Build the simulator of folder ``rtl``, or take it from the cache.

    ``UserError`` if the folder holds no accelerator with trace ports, or does not build.
    """
    require_build_tools()
    manifest = load_manifest(rtl)
    parameters = manifest.parameters
    if manifest.block != "accelerator" or not parameters.get("trace"):
        raise UserError(f"{rtl}: block {manifest.block}; allowed: an accelerator with trace = 1")
    config = AcceleratorConfig(**{name: parameters[name] for name in CONFIG})
    header = _sizes(config, parameters["axi_bytes"])
    options = [*OPTIONS, *(fst_options() if waves else [])]
    content = {"verilog": content_hash(manifest), "main": MAIN.read_text(), "sizes": header}
    key = cache_key({**content, "options": options, "make": MAKE})

    def make(folder: Path) -> None:
        (folder / "sizes.h").write_text(header)
        words = ["--exe", "-CFLAGS", f"-std=c++17 -I{folder}", "--top-module", manifest.top]
        words += [str(path) for path in (*manifest.sources, MAIN)]
        build_native(folder, manifest.top, [*options, *words], runtime_objects(options))

    folder = cached("models", f"{manifest.top}-scenario-{key[:20]}", make)
    axi_bytes, outstanding, buffer = (parameters[name] for name in BUS)
    arithmetic = Arithmetic(**{name: parameters[name] for name in ARITHMETIC})
    return Simulator(folder / "Vtop", manifest, config, axi_bytes, outstanding, buffer, arithmetic)


def _sizes(config: AcceleratorConfig, axi_bytes: int) -> str:
    """Return ``sizes.h``."""
    lanes = config.size
    return (
        "// Made from the accelerator's parameters; not kept.\n#pragma once\n"
        f"constexpr unsigned LANES = {lanes}, AXI_BYTES = {axi_bytes};\n"
        f"constexpr uint32_t ALL_LANES = {(1 << lanes) - 1:#x};\n"
    )
