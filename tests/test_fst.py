"""Waveforms in FST from headers of ours: what LZ4 packs unpacks, and a reader sees the design."""

import random
import subprocess
from pathlib import Path

import pytest
import pywellen

from cosim import fst
from cosim.bench import run_cases
from cosim.fst import fst_make_words, fst_options
from tests import toy

pytestmark = pytest.mark.cosim

PACK = """
#include <cstdio>
#include <iterator>
#include <iostream>
#include "lz4.h"
int main() {
    std::vector<char> data((std::istreambuf_iterator<char>(std::cin)), {});
    std::vector<char> packed(LZ4_compressBound(data.size()));
    const int size = LZ4_compress_default(data.data(), packed.data(), data.size(), packed.size());
    if (LZ4_compress_default(data.data(), packed.data(), data.size(), packed.size() - 1)) return 1;
    std::cout.write(packed.data(), size);
}
"""


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pack")
    (folder / "pack.cpp").write_text(PACK)
    include = f"-I{Path(fst.__file__).parent}"
    words = ["g++", "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", include, "-o", "pack"]
    subprocess.run([*words, "pack.cpp"], cwd=folder, check=True)

    def packed(data):
        done = subprocess.run([folder / "pack"], input=data, capture_output=True, check=True)
        return done.stdout

    return packed


def unpack(block):
    """The LZ4 block format, as it is specified: sequences of literals and a match."""
    data, at = bytearray(), 0

    def length(half):
        nonlocal at
        more = half == 15
        while more:
            half += block[at]
            more = block[at] == 255
            at += 1
        return half

    while True:
        token = block[at]
        at += 1
        count = length(token >> 4)
        data += block[at : at + count]
        at += count
        if at == len(block):
            assert token & 15 == 0
            return bytes(data), count
        distance = int.from_bytes(block[at : at + 2], "little")
        at += 2
        assert 1 <= distance <= len(data)
        for _ in range(length(token & 15) + 4):
            data.append(data[-distance])


def samples():
    generator = random.Random(1)
    for size in (0, 1, 4, 12, 13, 14, 15, 16, 19, 100, 270, 271, 4000, 70000, 140000):
        yield bytes(size)
        yield generator.randbytes(size)
        yield bytes(generator.choice(b"ab") for _ in range(size))
        yield (b"TOP.datapath.accumulator.bank_0 " * (size // 32 + 1))[:size]


def test_what_is_packed_unpacks(pack):
    for data in samples():
        block = pack(data)
        assert len(block) <= len(data) + len(data) // 255 + 16
        plain, tail = unpack(block)
        assert plain == data
        assert tail >= min(5, len(data))
    assert len(pack(bytes(70000))) < 1000


@pytest.mark.parametrize("level", [2, 3])
def test_a_reader_sees_what_the_design_did(level):
    case = toy.cases(5)[0]
    result = run_cases(
        "toy", toy.PARAMETERS, [case], rtl=toy.FOLDER, waves=True, level=level, seed=5
    )
    assert result.waves is not None
    assert result.waves.endswith(".fst")
    waves = pywellen.Waveform(result.waves)
    count = next(var for var in waves.all_vars() if var.name == "count")
    assert max(value for _, value in count.signal) == case.trace.plain_out["count"].max()


def test_nothing_of_the_system_is_linked_for_waves():
    assert "lz4" not in " ".join(fst_make_words(fst_options()))
    assert fst_make_words(["--no-timing"]) == []
