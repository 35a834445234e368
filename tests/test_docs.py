"""The documentation site builds without a warning, and every command in its guides runs.

A block ``console`` holds commands behind ``$`` and lines that must occur in what they print,
numbers aside. A comment before it says what is special: ``long``, ``exits N``, ``with OPTIONS``
(which make the commands small), ``not run: reason``. What a page calls its reader's own is there:
``FOLDER``, a network; ``fashion-mnist``, images; ``DIR``, Verilog of the requantizer.
"""

import gzip
import os
import re
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from cosim.bench import emit_verilog
from golden.network.checkpoint import save_checkpoint
from golden.network.dataset import FILES
from hdl.blocks import BLOCKS
from tests.small_network import small_checkpoint

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
GUIDES = ("tutorial", *(f"how-to/{path.stem}" for path in sorted((DOCS / "how-to").glob("*.md"))))
_BLOCK = re.compile(
    r"(?:^<!-- (?P<note>[^\n]*) -->\n)?^```console\n(?P<body>.*?)^```$", re.M | re.S
)
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
SECONDS = 600
README = re.findall(r"`\.venv/bin/(stepscale [^`]*)`", (ROOT / "README.md").read_text())
QUICK = [c for c in README if re.match(r"stepscale (verilog|compile) (?!.*--package)", c)]
SMALLER = {
    "bench": "--size 4 --repeats 3 --batch-top 4",
    "bench --only accelerator": "--size 4",
    "cosim --suite blocks": "--block operand",
    "cosim --suite blocks --block": "",
    "coverage": "--block operand",
    "evaluate": "--samples 8 --sqnr-images 2",
    "mutation": "--count 20 --least 0",
    "sample --samples 4096": "--samples 8",
    "synth": "--seeds 1",
    "train": "--data fashion-mnist --steps 2 --batch 4",
}
"""Commands of README that take minutes or more, by how they begin: options that make them small."""


@dataclass(frozen=True)
class Block:
    """Commands, and the lines that must occur after each."""

    note: str
    commands: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def status(self):
        """The exit status of its last command."""
        return int(self.note.split()[1]) if self.note.startswith("exits") else 0

    @property
    def options(self):
        """What is added to its commands."""
        return self.note.removeprefix("with ") if self.note.startswith("with ") else ""


def blocks(guide):
    found = []
    for match in _BLOCK.finditer((DOCS / f"{guide}.md").read_text()):
        commands: list[tuple[str, list[str]]] = []
        for line in match["body"].splitlines():
            if line.startswith("$ "):
                commands.append((line[2:], []))
            else:
                commands[-1][1].append(line)
        found.append(Block(match["note"] or "", tuple((c, tuple(lines)) for c, lines in commands)))
    return found


def plain(text):
    """Without numbers, and with single spaces."""
    return re.sub(r"\s+", " ", re.sub(r"[\d.,]*\d", "#", text)).strip()


@pytest.fixture
def folder(tmp_path):
    """A folder with what a page calls its reader's own."""
    checkpoint = small_checkpoint()
    weights = checkpoint.unet.state_dict()
    save_checkpoint(tmp_path / "FOLDER", checkpoint.config, checkpoint.scheduler, weights)
    (tmp_path / "fashion-mnist").mkdir()
    for name in FILES.values():
        images = np.random.default_rng(1).integers(0, 256, (16, 28, 28), np.uint8)
        data = struct.pack(">4I", 0x803, *images.shape) + images.tobytes()
        (tmp_path / "fashion-mnist" / name).write_bytes(gzip.compress(data))
    emit_verilog("requantizer", {"lanes": 4}, tmp_path / "DIR")
    return tmp_path


def run(command, folder):
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "100",
        "TERM": "dumb",
    }
    return subprocess.run(
        command, shell=True, cwd=folder, env=environment, capture_output=True, text=True,
        timeout=SECONDS, check=False,
    )  # fmt: skip


def play(guide, folder, *, long):
    """Run a page's blocks in order; ``long`` ones too, or none of them. Return commands run."""
    done = 0
    for block in blocks(guide):
        if block.note.startswith("not run:") or (block.note == "long" and not long):
            continue
        for command, expected in block.commands:
            ran = run(f"{command} {block.options}".strip(), folder)
            output = ran.stdout + ran.stderr
            assert ran.returncode == block.status, f"{command}\n{output}"
            for line in expected:
                assert plain(line) in plain(output), f"{command}\n{line}\n{output}"
            done += 1
    return done


@pytest.mark.parametrize("guide", (*GUIDES, "../README"))
def test_notes_are_known_and_give_a_reason(guide):
    for block in blocks(guide):
        assert block.commands
        note = r"|long|exits [1-9]|with --.+|not run: .{10,}"
        assert re.fullmatch(note, block.note), block.note


def test_the_guides_have_commands():
    assert sum(len(b.commands) for guide in GUIDES for b in blocks(guide)) >= 25


@pytest.mark.parametrize("guide", (*GUIDES, "../README"))
def test_commands_stand_in_no_other_block(guide):
    for language, body in _FENCE.findall((DOCS / f"{guide}.md").read_text()):
        if language != "console":
            assert language not in {"sh", "bash", "shell"}
            assert not re.search(r"^(\$|stepscale|make|dask|python|pip) ", body, re.M), body


def run_of_the_readme(command, folder):
    """Run a command, smaller if it is a long one; what it reads is there."""
    words = command.removeprefix("stepscale ")
    options = SMALLER.get(max((b for b in SMALLER if words.startswith(b)), key=len, default=""), "")
    if "net.safetensors" in words and "--out net.safetensors" not in words:
        first = "stepscale calibrate --checkpoint FOLDER --images 4 --report-images 2"
        assert run(f"{first} --out net.safetensors", folder).returncode == 0
    if "out/*.json" in words:
        assert run("stepscale cosim --block operand --json out/a.json", folder).returncode == 0
    done = run(f"{command} {options}".strip(), folder)
    assert done.returncode == 0, f"{command} {options}\n{done.stdout}{done.stderr}"


@pytest.mark.cosim
@pytest.mark.parametrize("command", QUICK)
def test_quick_commands_of_the_readme(folder, command):
    run_of_the_readme(command, folder)


@pytest.mark.cosim
@pytest.mark.long
@pytest.mark.parametrize("command", sorted(set(README) - set(QUICK)))
def test_commands_of_the_readme(folder, command):
    run_of_the_readme(command, folder)


@pytest.mark.cosim
@pytest.mark.parametrize(
    "guide", [g for g in GUIDES if any(not b.note or b.options for b in blocks(g))]
)
def test_commands_of_a_page(folder, guide):
    assert play(guide, folder, long=False) > 0


@pytest.mark.cosim
@pytest.mark.long
@pytest.mark.parametrize("guide", [g for g in GUIDES if any(b.note == "long" for b in blocks(g))])
def test_all_commands_of_a_page(folder, guide):
    assert play(guide, folder, long=True) > 0


def test_a_wrong_page_is_red(tmp_path, monkeypatch):
    page = tmp_path / "wrong.md"
    monkeypatch.setattr("tests.test_docs.DOCS", tmp_path)
    for text in ("$ false\n", "$ echo a 1\nb 2\n"):
        page.write_text(f"```console\n{text}```\n")
        with pytest.raises(AssertionError):
            play("wrong", tmp_path, long=False)
    page.write_text(
        "<!-- exits 1 -->\n```console\n$ false\n```\n\n```console\n$ echo a 1\na 2\n```\n"
    )
    assert play("wrong", tmp_path, long=False) == 2


def test_the_site_builds_without_a_warning(tmp_path):
    site = tmp_path / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site)],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 40
    loaded = re.compile(r"<(?:script|link|img)[^>]*(?:src|href)=\"?(https?:)?//", re.I)
    text = "".join(page.read_text() for page in pages)
    assert not [m.group() for m in loaded.finditer(text) if "canonical" not in m.group()]


def test_commands_of_the_readme_exist():
    """Most of them take minutes; here their options must be those that the program has."""
    assert len(README) > 20
    assert len(QUICK) >= 2
    help_of = {}
    for words in (command.split()[1:] for command in README):
        if words[0] not in help_of:
            done = subprocess.run(
                [sys.executable, "-m", "cosim.cli", words[0], "--help"],
                cwd=ROOT, env={**os.environ, "COLUMNS": "200"}, capture_output=True, text=True,
                check=True,
            )  # fmt: skip
            help_of[words[0]] = done.stdout
        for option in (word for word in words if word.startswith("--")):
            assert re.search(rf"{option}\b", help_of[words[0]]), " ".join(words)


def test_every_block_has_a_page():
    text = {path.stem: path.read_text() for path in (DOCS / "blocks").glob("*.md")}
    beside = "\n".join([*text.values(), (DOCS / "accelerator.md").read_text()])
    for block in BLOCKS:
        assert block in text or f"`{block}`" in beside or f"hdl/{block}.py" in beside, block
