"""Native simulators: Verilator, a main of ours in C++, and Verilator's run time compiled once."""

from pathlib import Path

from cosim.build import build_failure, compile_jobs
from cosim.cache import cache_key, cached
from cosim.fst import fst_make_words
from cosim.process_group import run_group
from cosim.toolchain import verilator_binary, verilator_environment

__all__ = ["MAKE", "OPTIONS", "build_native", "runtime_objects"]

# -O3 of Verilator; g++ -O2: -O3 takes half as long again to compile and runs no faster
OPTIONS = ("--no-timing", "--quiet-stats", "-Wno-fatal", "-O3")
MAKE = ("OPT_FAST=-O2", "OPT_SLOW=-O1", "OPT_GLOBAL=-O2")


def build_native(folder: Path, top: str, words: list[str], objects: list[Path]) -> None:
    """Leave the program ``folder/Vtop`` and the log; ``words`` are Verilator's.

    ``objects``: compiled parts that need not be made again. ``UserError`` if it does not build.
    """
    _make(folder, top, words, objects)
    for path in folder.iterdir():
        if path.name not in ("Vtop", "build.log"):
            path.unlink()


def _make(
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


def runtime_objects(options: list[str]) -> list[Path]:
    """Compile Verilator's run-time library for ``options`` and return its objects."""

    def make(folder: Path) -> None:
        empty = folder / "runtime.v"
        empty.write_text("module runtime(input a, output b); assign b = a; endmodule\n")
        main = folder / "main.cpp"
        main.write_text("int main() {}\n")
        extra = folder / "objects.mk"
        extra.write_text("all_objects: $(VK_GLOBAL_OBJS)\n")
        goals = ("-f", str(extra), "all_objects")
        words = ["--exe", "--top-module", "runtime", str(empty), str(main)]
        _make(folder, "runtime", [*options, *words], [], goals)
        for path in folder.iterdir():
            if path.suffix != ".o":
                path.unlink()

    key = cache_key({"options": options, "make": MAKE})[:20]
    return sorted(cached("runtime", f"checker-{key}", make).glob("*.o"))
