"""Emitted Verilog: equal to its RTLIL, lint-clean, the same bytes each time, all or nothing."""

import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest
from amaranth.hdl import Assert, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from cosim.cli import run
from cosim.generate import block_parameters, generate
from cosim.proof import prove
from cosim.toolchain import lint
from golden.errors import UserError
from hdl.blocks import BLOCKS
from hdl.emit import EmittedDesign, Origin, emit, snake_case, write
from hdl.verilog.names import _KEYWORDS, plain


class ToyLane(wiring.Component):
    """One product, held where ``enable`` is low."""

    x: Any
    w: Any
    enable: Any
    y: Any

    def __init__(self):
        super().__init__(
            {"x": In(signed(8)), "w": In(signed(8)), "enable": In(1), "y": Out(signed(17))}
        )

    def elaborate(self, platform):
        m = Module()
        product = Signal(signed(16))
        m.d.comb += product.eq(self.x * self.w)
        with m.If(self.enable):
            m.d.sync += self.y.eq(product + 1)
        return m


class Toy(wiring.Component):
    """What the writer knows: memories, switches, shifts, comparisons, carries, an assertion."""

    i: Any
    o: Any
    clear: Any
    count: Any

    def __init__(self, *, lanes=2, transparent=False):
        self.lanes = lanes
        self.transparent = transparent
        self.i_layout = data.StructLayout(
            {
                "x": data.ArrayLayout(signed(8), lanes),
                "w": data.ArrayLayout(signed(8), lanes),
                "kind": 3,
                "address": 3,
            }
        )
        self.o_layout = data.StructLayout(
            {
                "y": data.ArrayLayout(signed(17), lanes),
                "kind": 3,
                "word": signed(9),
                "mixed": signed(12),
            }
        )
        super().__init__(
            {
                "i": In(stream.Signature(self.i_layout)),
                "o": Out(stream.Signature(self.o_layout)),
                "clear": In(1),
                "count": Out(8, init=5),  # type: ignore[call-arg]
            }
        )

    @property
    def latency(self):
        """Cycles from input to output."""
        return 1

    def elaborate(self, platform):
        m = Module()
        words: Any = Memory(shape=signed(9), depth=8, init=[1, -2, 3])
        m.submodules.words = words
        write_port = words.write_port()
        transparent_for = (write_port,) if self.transparent else ()
        read_port = words.read_port(transparent_for=transparent_for)
        moves = Signal()
        m.d.comb += [moves.eq(self.o.ready | ~self.o.valid), self.i.ready.eq(moves)]
        x, w = self.i.payload.x[0], self.i.payload.w[0]
        with m.If(moves):
            m.d.sync += [
                self.o.valid.eq(self.i.valid),
                self.o.payload.kind.eq(self.i.payload.kind),
            ]
            with m.Switch(self.i.payload.kind):
                with m.Case(0):
                    m.d.sync += self.o.payload.mixed.eq(x - w)
                with m.Case(1):
                    m.d.sync += self.o.payload.mixed.eq(Mux(x < w, x, w) >> 2)
                with m.Case(2):
                    m.d.sync += self.o.payload.mixed.eq(x >> self.i.payload.address)
                with m.Case(3):
                    m.d.sync += self.o.payload.mixed.eq(x.as_unsigned() << 3)
                with m.Case(4):
                    m.d.sync += self.o.payload.mixed.eq(-x)
                with m.Case(5):
                    wide = self.i.payload.as_value()
                    m.d.sync += self.o.payload.mixed.eq(wide.bit_select(self.i.payload.address, 5))
                with m.Case(6):
                    total = (x == w) + (self.clear & (x != 3)) + ~self.clear
                    m.d.sync += self.o.payload.mixed.eq(total)
                with m.Default():
                    m.d.sync += self.o.payload.mixed.eq((x & 3) * (w.as_unsigned() >= 9))
        for index in range(self.lanes):
            m.submodules[f"lane_{index}"] = lane = ToyLane()
            m.d.comb += [
                lane.x.eq(self.i.payload.x[index]),
                lane.w.eq(self.i.payload.w[index]),
                lane.enable.eq(moves),
                self.o.payload.y[index].eq(lane.y),
            ]
        m.d.comb += [
            read_port.addr.eq(self.i.payload.address),
            read_port.en.eq(moves),
            write_port.addr.eq(self.i.payload.kind),
            write_port.en.eq(self.i.valid & moves),
            write_port.data.eq(x),
            self.o.payload.word.eq(read_port.data),
        ]
        with m.If(self.clear):
            m.d.sync += self.count.eq(0)
        with m.Elif(self.o.valid & self.o.ready):
            m.d.sync += self.count.eq(self.count + 1)
        m.d.sync += Assert(self.count != 255)  # type: ignore[call-arg]
        return m


SCALES = {"groups": 3, "resident_groups": 2, "steps": 4, "channel_tiles": 2}
SMALL = {
    "operand": {"rows": 3},
    "mac_array": {"rows": 2, "cols": 3},
    "processing_element": {},
    "accumulator": {"depth": 4, "cols": 2},
    "scale_file": {**SCALES, "lanes": 1},
    "requantizer": {"lanes": 2},
    "silu_quantizer": {"lanes": 2},
    "group_norm": {"lanes": 2},
    "residual": {"lanes": 2},
    "sampler": {"lanes": 1},
    "softmax": {"lanes": 2, "keys_max": 16, "ahead": 2},
    "datapath": {**SCALES, "rows": 2, "cols": 1, "depth": 4},
    "norm_constants": {"size": 4, "sum_chunks": 5},
    "array_walk": {"size": 4, "code_words": 60, "depth": 16, "channel_tiles": 3},
    "array_unit": {"size": 4, "code_words": 60, "depth": 16, "channel_tiles": 3},
    "stationary": {"size": 4, "code_words": 60, "depth": 16, "channel_tiles": 3},
    "write_back": {"size": 4, "stream_words": 12, "code_words": 12, "sum_chunks": 3},
    "channel_sums": {"size": 2, "sum_chunks": 3},
    "stream_scratchpad": {"size": 4, "stream_words": 12, "stream_banks": 4},
    "code_scratchpad": {"size": 4, "code_words": 12},
    "row_scales": {"depth": 6},
    "table_loader": {"size": 4, "channel_tiles": 3, "axi_bytes": 8},
    "weight_loader": {"size": 4, "axi_bytes": 32},
    "vector_unit": {
        "size": 4,
        "stream_words": 128,
        "code_words": 64,
        "sum_chunks": 8,
        "depth": 16,
        "channel_tiles": 4,
    },
    "mover": {"size": 4, "stream_words": 128},
    "axi_writer": {"axi_bytes": 8, "buffer": 16},
    "registers": {"size": 4},
    "sequencer": {
        "size": 4,
        "stream_words": 128,
        "code_words": 64,
        "sum_chunks": 8,
        "depth": 16,
        "channel_tiles": 4,
    },
    "accelerator": {
        "size": 4,
        "stream_words": 128,
        "code_words": 64,
        "sum_chunks": 8,
        "depth": 16,
        "channel_tiles": 4,
    },
    "axi_reader": {"axi_bytes": 8, "outstanding": 2, "buffer": 16},
}


def toy(**parameters):
    return emit(Toy(**parameters), block="toy", parameters=parameters)


def sized(block, rows, cols):
    return block_parameters(block, rows, cols, {}, strict=True)


@pytest.mark.parametrize("transparent", [False, True], ids=["plain", "transparent"])
def test_toy_equals_its_rtlil(transparent):
    assert prove(toy(transparent=transparent)) > 100


@pytest.mark.parametrize("block", BLOCKS)
def test_block_equals_its_rtlil(block):
    assert prove(generate(block, SMALL[block])) > 10


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("toy_lane.v", "product + ", "product - "),
        ("toy_lane.v", "x * w", "x * $signed({1'b0, w[6:0]})"),
        ("toy.v", "{2'd0, ~clear}", "{3{~clear}}"),
        ("toy.v", ">>>", ">>"),
        ("toy.v", "o__ready | ~o__valid", "o__ready"),
        ("toy.v", "count <= 8'd5", "count <= 8'd4"),
        ("toy.v", "count = 8'd5", "count = 8'd4"),
        ("toy.v", "    count = 8'd5;\n", ""),
        ("toy.v", "words[1] = 9'h1fe", "words[1] = 9'h1ff"),
        ("toy.v", "if (clear)", "if (~clear)"),
        ("toy.v", "3'd3:", "3'd7:"),
    ],
)
def test_proof_finds_a_fault(file, old, new):
    design = toy()
    assert old in design.files[file]
    files = {**design.files, file: design.files[file].replace(old, new, 1)}
    with pytest.raises(RuntimeError, match=r"unproven|initial values differ"):
        prove(EmittedDesign(files, design.manifest, design.origin))


def test_proof_needs_the_names():
    design = toy()
    origin = Origin(design.origin.rtlil.replace("$mul", "$add"), *_rest(design.origin))
    with pytest.raises(RuntimeError, match="unproven"):
        prove(EmittedDesign(design.files, design.manifest, origin))


def _rest(origin):
    return origin.modules, origin.wires


@pytest.mark.parametrize(
    "size", [(1, 1), (4, 4), (3, 5)], ids=lambda size: "x".join(map(str, size))
)
@pytest.mark.parametrize("block", BLOCKS)
def test_lint_is_clean(block, size, tmp_path):
    design = generate(block, sized(block, *size))
    write(design, tmp_path)
    assert [message.text for message in lint(tmp_path, block)] == []


def test_lint_is_clean_at_16x16(tmp_path):
    design = generate("datapath", sized("datapath", 16, 16))
    write(design, tmp_path)
    assert [message.text for message in lint(tmp_path, "datapath")] == []
    assert len(design.files) < 30  # 256 cells are one module


@pytest.mark.long
@pytest.mark.parametrize("size", [(64, 64), (64, 1), (1, 64), (32, 8)])
def test_large_datapath_is_clean(size, tmp_path):
    write(generate("datapath", sized("datapath", *size)), tmp_path)
    assert [message.text for message in lint(tmp_path, "datapath")] == []


def test_no_name_is_a_word_of_the_language(tmp_path):
    def errors(names):
        ports = ", ".join(f"input wire {name}" for name in names)
        body = f"assign result = ^{{{', '.join(names)}}};"
        text = f"module m({ports}, output wire result); {body} endmodule\n"
        (tmp_path / "m.v").write_text(text)
        return lint(tmp_path, "m")

    words = sorted(_KEYWORDS)
    assert not errors([plain(word) for word in words])
    for word in ("before", "until", "soft", "bind", "foreach", "process_"):
        assert bool(errors([word])) == (plain(word) != word), word


def test_lint_finds_a_fault(tmp_path):
    write(toy(), tmp_path)
    text = (tmp_path / "toy.v").read_text()
    (tmp_path / "toy.v").write_text(text.replace("endmodule", "wire [3:0] z = 5;\nendmodule"))
    assert {message.kind for message in lint(tmp_path, "toy")} >= {"Warning-UNUSEDSIGNAL"}


def test_no_waiver_stands_in_the_text():
    for text in generate("datapath", SMALL["datapath"]).files.values():
        assert "lint_off" not in text


def test_text_is_readable():
    for name, text in generate("datapath", SMALL["datapath"]).files.items():
        lines = text.splitlines()
        assert lines[0].startswith(f"// {name.removesuffix('.v')}")
        assert f"\nmodule {name.removesuffix('.v')} (\n" in text
        assert text.count("\nendmodule\n") == 1
        assert max(map(len, lines)) <= 100
        assert "\\" not in text, "an escaped name"
        assert set(re.findall(r"\$\w+", text)) <= {
            *("$signed", "$unsigned", "$display", "$time", "$stop"),
        }


def test_text_keeps_names_and_structure():
    text = toy().files["toy.v"]
    for line in (
        "  input  wire clk,",
        "  reg signed [8:0] words [0:7];"
        if "reg signed [8:0] words" in text
        else "reg [8:0] words",
        "  wire signed [7:0] i__payload__x_0 = i__payload[7:0];",
        "  assign i__ready = o__ready | ~o__valid;",
        "  toy_lane lane_1 (",
        "`ifndef SYNTHESIS",
    ):
        assert line in text
    assert list(toy().files) == ["toy_lane.v", "toy.v"]


def test_same_bytes_twice():
    first, second = (generate("datapath", SMALL["datapath"]) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("seed", ["1", "2"])
def test_same_bytes_in_another_process(seed, tmp_path):
    here = generate("scale_file", SMALL["scale_file"])
    words = [f"{name}={value}" for name, value in SMALL["scale_file"].items()]
    code = (
        "import sys; from pathlib import Path; from cosim.generate import *;"
        "from hdl.emit import write; design = generate('scale_file', parse_settings(sys.argv[2:]));"
        "write(design, Path(sys.argv[1]))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    out = tmp_path / "elsewhere"
    subprocess.run([sys.executable, "-c", code, str(out), *words], env=environment, check=True)
    assert json.loads((out / "manifest.json").read_text()) == here.manifest
    for name, text in here.files.items():
        assert (out / name).read_text() == text


def test_manifest_describes_the_ports():
    manifest = toy().manifest
    assert manifest["format"] == 1
    assert (manifest["block"], manifest["top"]) == ("toy", "toy")
    assert manifest["latency"] == {"cycles": 1}
    ports = {port["name"]: port for port in manifest["ports"]}
    assert list(ports) == ["i", "o", "clear", "count"]
    assert ports["i"]["direction"] == "in"
    assert ports["i"]["width"] == 38
    assert ports["i"]["valid"] == "i__valid"
    fields = {field["name"]: field for field in ports["i"]["fields"]}
    assert fields["w"] == {
        "name": "w",
        "offset": 16,
        "width": 8,
        "signed": True,
        "count": 2,
        "scalar": False,
    }
    assert fields["kind"]["scalar"]
    assert fields["kind"]["offset"] == 32
    assert ports["count"] == {
        "name": "count",
        "kind": "plain",
        "direction": "out",
        "width": 8,
        "signed": False,
    }


@pytest.mark.parametrize("block", BLOCKS)
def test_manifest_agrees_with_the_verilog(block):
    design = generate(block, SMALL[block])
    head = design.files[f"{block}.v"].split(");")[0]
    found = {
        name: (way, int(high or 0) + 1)
        for way, high, name in re.findall(r"(input|output) .*?(?:\[(\d+):0\] )?(\w+)(?:,|\n)", head)
    }
    expected = {"clk": ("input", 1), "rst": ("input", 1)}
    for port in design.manifest["ports"]:
        way = {"in": "input", "out": "output"}[port["direction"]]
        back = {"input": "output", "output": "input"}[way]
        if port["kind"] == "plain":
            expected[port["name"]] = (way, port["width"])
            continue
        expected[port["valid"]] = (way, 1)
        expected[port["ready"]] = (back, 1)
        if port["width"]:
            expected[port["payload"]] = (way, port["width"])
        fields = port["fields"]
        assert sum(field["width"] * field["count"] for field in fields) == port["width"]
    assert {**found, "rst": ("input", 1)} == expected
    parameters = design.manifest["parameters"]
    assert parameters.items() >= SMALL[block].items()


def test_hash_covers_everything():
    one, other = (generate("operand", {"rows": rows}).manifest for rows in (2, 3))
    assert one["hash"] != other["hash"]
    assert set(one["sha256"]) == set(one["files"])


def test_write_replaces_only_its_own_files(tmp_path):
    write(toy(), tmp_path)
    (tmp_path / "mine.v").write_text("// mine\n")
    write(generate("operand", {"rows": 2}), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"manifest.json", "mine.v", "operand.v"}


def test_write_leaves_equal_files_alone(tmp_path):
    write(toy(), tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    write(toy(), tmp_path)
    assert before == {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}


def test_interrupted_write_leaves_no_manifest(tmp_path):
    write(toy(), tmp_path)

    class Interrupted(dict):
        def items(self):
            yield from list(super().items())[:1]
            raise KeyboardInterrupt

    design = generate("operand", {"rows": 2})
    broken = EmittedDesign(Interrupted(design.files), design.manifest, design.origin)
    with pytest.raises(KeyboardInterrupt):
        write(broken, tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert not (tmp_path / "manifest.json").exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--block", "nothing"], "--block must be one of operand, mac_array"),
        (["--block", "operand", "--rows", "0"], "block operand: rows must be in 1..64, got 0"),
        (["--rows", "65"], "block datapath: rows must be in 1..64, got 65"),
        (["--set", "rows=four"], "rows must be an integer in 1..64, got 'four'"),
        (["--rows", "1.5"], "--rows"),
        (["--set", "rows"], "--set must be NAME=VALUE, got 'rows'"),
        (["--block", "operand", "--set", "colour=3"], "block operand has no parameter 'colour'"),
        (["--out", "/proc/nowhere"], "output folder /proc/nowhere: cannot be written"),
    ],
)
def test_bad_input_is_one_line(arguments, text, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(["verilog", *arguments]) == 2
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir()) or not list(tmp_path.rglob("*.v"))


def test_command_writes_every_block(tmp_path, capsys):
    out, figures = tmp_path / "all", tmp_path / "figures.json"
    arguments = ["--block", "all", "--rows", "2", "--cols", "2", "--set", "depth=4"]
    assert run(["verilog", *arguments, "--out", str(out), "--json", str(figures)]) == 0
    assert {path.name for path in out.iterdir()} == set(BLOCKS)
    records = json.loads(figures.read_text())["blocks"]
    assert [record["block"] for record in records] == list(BLOCKS)
    assert "datapath" in capsys.readouterr().out


def test_a_refused_shape_says_so():
    with pytest.raises(UserError, match=r"lanes must be in 1\.\.64"):
        generate("requantizer", {"lanes": 0})


@pytest.mark.parametrize(
    ("name", "expected"),
    [("SiluQuantizer", "silu_quantizer"), ("MacArray", "mac_array"), ("AXIMaster", "axi_master")],
)
def test_snake_case(name, expected):
    assert snake_case(name) == expected
