"""Verilog to a native program that replays traces: Verilator, a generated ``ports.h``, our main."""

from dataclasses import dataclass
from pathlib import Path

from cosim.build import build_failure, compile_jobs
from cosim.cache import cache_key, cached
from cosim.fst import fst_make_words, fst_options
from cosim.manifest import Manifest, Port, content_hash, load_manifest
from cosim.process_group import run_group
from cosim.toolchain import require_build_tools, verilator_binary, verilator_environment
from cosim.trace_checker.layout import Layout, net_bytes

__all__ = ["Program", "build_program", "ports_header"]

HERE = Path(__file__).resolve().parent
SOURCES = ("main.cpp", "checker.h")
# -O3 of Verilator; g++ -O2: -O3 takes half as long again to compile and runs no faster
OPTIONS = ("--no-timing", "--quiet-stats", "-Wno-fatal", "-O3")
# not --coverage: expression coverage stops Verilator 5.48 with an internal error at array selects
COVERAGE = ("--coverage-line", "--coverage-toggle")
MAKE = ("OPT_FAST=-O2", "OPT_SLOW=-O1", "OPT_GLOBAL=-O2")


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
        _build(folder, manifest.top, [*options, *words], _runtime(options))
        for path in folder.iterdir():
            if path.name not in ("Vtop", "build.log"):
                path.unlink()

    folder = cached("models", f"{manifest.top}-checker-{key[:20]}", make)
    return Program(manifest, layout, folder / "Vtop", waves)


def _build(
    folder: Path, top: str, words: list[str], objects: list[Path], goals: tuple[str, ...] = ()
) -> None:
    log = folder / "build.log"
    verilate = [str(verilator_binary()), "--cc", "--prefix", "Vtop", "--Mdir", str(folder), *words]
    make = ["make", "-j", str(compile_jobs()), "-C", str(folder), "-f", "Vtop.mk", *MAKE]
    make += [*fst_make_words(words), *goals]
    copy = [["cp", *map(str, objects), str(folder)]] if objects else []
    with log.open("w") as stream:
        for command in (verilate, *copy, make):
            status = run_group(command, cwd=folder, env=verilator_environment(), stdout=stream)
            if status:
                stream.flush()
                name = Path(command[0]).name
                raise build_failure(top, log, f"{name} ended with status {status}")


def _runtime(options: list[str]) -> list[Path]:
    """Compile Verilator's run-time library for ``options`` and return its objects."""

    def make(folder: Path) -> None:
        empty = folder / "runtime.v"
        empty.write_text("module runtime(input a, output b); assign b = a; endmodule\n")
        extra = folder / "objects.mk"
        extra.write_text("all_objects: $(VK_GLOBAL_OBJS)\n")
        goals = ("-f", str(extra), "all_objects")
        words = ["--exe", "--top-module", "runtime", str(empty), str(HERE / "main.cpp")]
        _build(folder, "runtime", [*options, *words], [], goals)
        for path in folder.iterdir():
            if path.suffix != ".o":
                path.unlink()

    key = cache_key({"options": options, "make": MAKE})[:20]
    return sorted(cached("runtime", f"checker-{key}", make).glob("*.o"))


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
