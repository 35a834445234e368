"""Verilog to a native program that replays traces: Verilator, a generated ``ports.h``, our main."""

from dataclasses import dataclass
from pathlib import Path

from cosim.cache import cache_key, cached
from cosim.fst import fst_options
from cosim.manifest import Manifest, Port, content_hash, load_manifest
from cosim.native import MAKE, OPTIONS, build_native, runtime_objects
from cosim.toolchain import require_build_tools
from cosim.trace_checker.layout import Layout, net_bytes

__all__ = ["Program", "build_program", "ports_header"]

HERE = Path(__file__).resolve().parent
SOURCES = ("main.cpp", "checker.h")
# not --coverage: expression coverage stops Verilator 5.48 with an internal error at array selects
COVERAGE = ("--coverage-line", "--coverage-toggle")


@dataclass(frozen=True)
class Program:
    """A native checker: ``path`` is the executable, ``layout`` that of the traces it takes."""

    manifest: Manifest
    layout: Layout
    path: Path
    waves: bool


def build_program(rtl: Path, *, waves: bool = False, coverage: bool = False) -> Program:
    """Build the checker of folder ``rtl``, or take it from the cache.

    ``waves``: the program can write FST. ``coverage``: it counts lines, branches and toggles.
    ``UserError`` if the Verilog does not build.
    """
    require_build_tools()
    manifest = load_manifest(rtl)
    layout = Layout.of(manifest)
    sources = {name: (HERE / name).read_text() for name in SOURCES}
    header = ports_header(layout)
    content = {"verilog": content_hash(manifest), "main": sources, "ports": header}
    options = [*OPTIONS, *(fst_options() if waves else []), *(COVERAGE if coverage else [])]
    key = cache_key({**content, "options": options, "make": MAKE})

    def make(folder: Path) -> None:
        (folder / "ports.h").write_text(header)
        files = [str(path) for path in (*manifest.sources, HERE / "main.cpp")]
        flags = ["-CFLAGS", f"-std=c++17 -I{HERE} -I{folder}"]
        if waves:
            flags += ["-CFLAGS", "-DSTEPSCALE_WAVES"]
        if coverage:
            flags += ["-CFLAGS", "-DSTEPSCALE_COVERAGE"]
        words = ["--exe", *flags, "--top-module", manifest.top, *files]
        build_native(folder, manifest.top, [*options, *words], runtime_objects(options))

    folder = cached("models", f"{manifest.top}-checker-{key[:20]}", make)
    return Program(manifest, layout, folder / "Vtop", waves)


def _net(name: str) -> str:
    """C++ member that Verilator makes of a port: a double underscore is escaped."""
    return f"top.{name.replace('__', '___05F')}"


def _stream(port: Port, kind: str) -> tuple[str, str]:
    """Type and constructor of a stream's part."""
    payload = f"&{_net(port.payload)}" if port.width else "nullptr"
    size = f"{net_bytes(port.width)}" + (f", {port.width}" if kind == "sink" else "")
    words = f'"{port.name}", {_net(port.valid)}, {_net(port.ready)}, {payload}'
    return f"{kind.capitalize()}<{size}>", f"{kind}<{size}>({words})"


def _plain(port: Port) -> tuple[str, str]:
    size = f"{net_bytes(port.width)}, {port.width}"
    return f"Plain<{size}>", f'plain<{size}>("{port.name}", &{_net(port.name)})'


def ports_header(layout: Layout) -> str:
    """Return ``ports.h``: the layout's constants, and the parts tied to the ports of ``Vtop``."""
    parts = {
        "inputs": [_stream(port, "source") for port in layout.inputs],
        "outputs": [_stream(port, "sink") for port in layout.outputs],
        "plain_in": [_plain(port) for port in layout.plain_in],
        "plain_out": [_plain(port) for port in layout.plain_out],
    }
    columns = list(layout.columns)
    names = ", ".join(f'"{column.name}"' for column in columns)
    sizes = ", ".join(str(column.size) for column in columns)
    built = [
        f"{name}({', '.join(constructor for _, constructor in entries)})"
        for name, entries in parts.items()
    ]
    lines = [
        "// Made from the ports of the top; not kept.",
        "#pragma once",
        "namespace stepscale {",
        f"using Control = uint{8 * layout.control_type.itemsize}_t;",
        f"constexpr unsigned INPUTS = {len(layout.inputs)}, OUTPUTS = {len(layout.outputs)};",
        f'constexpr const char* LAYOUT = "{layout.digest}";',
        f"constexpr const char* COLUMNS[] = {{{names}}};",
        f"constexpr uint64_t COLUMN_BYTES[] = {{{sizes}}};",
        "struct Ports {",
        f"    explicit Ports([[maybe_unused]] Vtop& top) : {', '.join(built)} {{}}",
        *(
            f"    std::tuple<{', '.join(kind for kind, _ in entries)}> {name};"
            for name, entries in parts.items()
        ),
        "};",
        "}  // namespace stepscale",
        "",
    ]
    return "\n".join(lines)
