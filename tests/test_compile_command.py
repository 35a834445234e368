"""``stepscale compile``: files that a machine runs, a manifest, a listing, and refusals."""

import hashlib
import json

import matplotlib.image
import numpy as np
import pytest

from cosim import cli
from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.executor import Executor
from golden.accelerator.instruction import INSTRUCTION_BYTES
from golden.network.samplers import START, noise_q12
from tests.accelerator_runs import SEED, reference_x, words
from tests.small_network import small_artifact


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The small network, compiled for 8 x 8 by the command."""
    path = tmp_path_factory.mktemp("program")
    small_artifact().save(path / "small.safetensors")
    arguments = ["--artifact", path / "small.safetensors", "--rows", 8, "--cols", 8, "--listing"]
    arguments += ["--out", path / "out", "--json", path / "figures.json"]
    assert stepscale(*arguments) == 0
    return path


def stepscale(*arguments):
    return cli.run(["compile", *map(str, arguments)])


def test_the_files_alone_run_to_the_image(folder):
    manifest = json.loads((folder / "out" / "manifest.json").read_text())
    regions = {}
    for name, entry in manifest["regions"].items():
        regions[name] = (folder / "out" / entry["file"]).read_bytes()
        assert len(regions[name]) == entry["bytes"]
        assert hashlib.sha256(regions[name]).hexdigest() == entry["sha256"]
    config = AcceleratorConfig(**manifest["configuration"])
    data = bytearray(manifest["data_bytes"])
    start = words(noise_q12(SEED, 0, START, (1, 8, 8)), config.size)
    offset = manifest["data"]["x"]["offset"]
    data[offset : offset + len(start)] = start
    Executor(config, regions, data).run(range(2))
    block = manifest["data"]["x0"]
    found = np.frombuffer(bytes(data[block["offset"] : block["offset"] + block["size"]]), "<i2")
    expected = reference_x(small_artifact(), 2)
    assert np.array_equal(found.reshape(64, 8)[:, 0].reshape(1, 8, 8), expected)


def test_listing_manifest_and_picture_agree(folder):
    out = folder / "out"
    manifest = json.loads((out / "manifest.json").read_text())
    assert json.loads((folder / "figures.json").read_text()) == manifest
    lines = (out / "listing.txt").read_text().splitlines()
    instructions = [line for line in lines if line[:5].strip().isdigit()]
    assert len(instructions) == sum(manifest["instructions"].values())
    assert manifest["regions"]["program"]["bytes"] == 256 + INSTRUCTION_BYTES * len(instructions)
    assert any("CONV" in line and "mid_block.resnets.0.conv1" in line for line in instructions)
    used, sizes = manifest["used"], manifest["configuration"]
    assert all(0 < used[name] <= sizes[name] for name in used)
    picture = matplotlib.image.imread(out / "memory_plan.png")
    assert picture.shape[:2] == (896, 1260)
    assert len(np.unique(picture.reshape(-1, picture.shape[2]), axis=0)) > 20


def test_the_embedded_network_is_the_default(tmp_path, capsys):
    assert stepscale("--out", tmp_path) == 0
    assert "of 4096 stream words" in capsys.readouterr().out
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert (manifest["configuration"]["size"], manifest["steps"]) == (16, 50)
    assert not (tmp_path / "listing.txt").exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--rows", "8", "--cols", "16"], "the array must be square"),
        (["--rows", "12", "--cols", "12"], "size = 12 is not allowed; allowed: 4, 8, 16, 32"),
        (["--stream-words", "1000"], "stream_words = 2304 is enough"),
        (["--code-words", "7"], "code_words = 7 is not allowed; allowed: a multiple of 2"),
        (["--artifact", "/nowhere"], "artifact /nowhere: cannot be read"),
        (["--out", "/proc/none"], "cannot be written"),
    ],
    ids=lambda value: "".join(value[:1]) if isinstance(value, list) else None,
)
def test_refusals_are_one_line(tmp_path, capsys, arguments, text):
    where = [] if "--out" in arguments else ["--out", tmp_path / "out"]
    assert stepscale(*arguments, *where) == cli.BAD_INPUT
    shown = capsys.readouterr().err
    assert text in shown
    assert shown.count("\n") == 1
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_refused_run_leaves_an_older_program_alone(tmp_path):
    assert stepscale("--out", tmp_path) == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert stepscale("--out", tmp_path, "--sum-chunks", 2) == cli.BAD_INPUT
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
