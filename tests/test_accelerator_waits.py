"""Waits are enough: no order that they allow lets a unit read too early or overwrite too soon.

An oracle of its own, from encoded instructions: for every word that an instruction touches, the
counts that it has surely seen must include those of every earlier instruction in conflict.
"""

from collections import Counter

import pytest

from golden.accelerator.compiler import compile_artifact
from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.instruction import Instruction, Opcode, Unit
from golden.accelerator.legality import output_count, output_size, source_rows
from golden.accelerator.operations import Section
from golden.calibration.artifact import embedded_artifact
from tests.accelerator_runs import ROOMY, several_heads
from tests.small_network import small_artifact

START, BACK = -1, -2
Past = tuple[Unit, int, str]
WAITS = {Unit.ARRAY: "wait_array", Unit.VECTOR: "wait_vector", Unit.MOVER: "wait_mover"}


def planes(i, name, plane, count, rows, width, first=0):
    """One set of words for each chunk."""
    low, high = rows
    start = i[name] + low * width
    return [
        range(start + (first + c) * plane, start + (first + c) * plane + (high - low + 1) * width)
        for c in range(count)
    ]


def reads(i, size):
    """(memory, input chunk, words); START, or BACK for what write back reads."""
    if i.opcode in (Opcode.STORE, Opcode.SAMPLE):
        count = i["words"] if i.opcode is Opcode.STORE else i["height"] * i["width"]
        names = ("source0",) if i.opcode is Opcode.STORE else ("source0", "source1", "auxiliary")
        return [("stream", START, range(i[name], i[name] + count)) for name in names]
    if i.opcode is Opcode.LOAD:
        return []
    memory = "codes" if i.unit is Unit.ARRAY else "stream"
    low, high = (row - i["source_row"] for row in source_rows(i))
    counts = i["chunks0"] + (i["chunks1"] if i.opcode is Opcode.CONV else 0)
    parts = planes(i, "source0", i["source_plane"], counts, (low, high), i["width"])
    if i.opcode in (Opcode.NORM, Opcode.EDGE):
        parts += planes(i, "source1", i["source1_plane"], i["chunks1"], (low, high), i["width"])
    found = [(memory, chunk, part) for chunk, part in enumerate(parts)]
    if i.opcode is Opcode.MATMUL:
        chunks, tiles = i["chunks0"], i["chunks"]
        chunks, tiles = (chunks, tiles) if i["transpose"] else (tiles, chunks)
        for c in range(chunks):
            start = i["auxiliary"] + c * i["auxiliary_plane"]
            found.append(("codes", START, range(start, start + tiles * size)))
    if i.opcode is Opcode.NORM:
        found += norm_sums(i, size)
    if i.opcode is Opcode.CONV and i["residual"]:
        rows, width = (0, i["rows"] - 1), output_size(i)[1]
        for part in planes(i, "auxiliary", i["auxiliary_plane"], i["chunks"], rows, width):
            found.append(("stream", BACK, part))
    return found


def norm_sums(i, size):
    """Entries of the sums that each input chunk needs: all channels of its groups."""
    first, second = i["channels"], i["channels1"]
    entry = [i["sums0"] + c // size for c in range(first)]
    entry += [i["sums1"] + c // size for c in range(second)]
    chunk = [c // size for c in range(first)] + [i["chunks0"] + c // size for c in range(second)]
    found = []
    for number in range(i["chunks0"] + i["chunks1"]):
        groups = {c // i["group_channels"] for c in range(len(chunk)) if chunk[c] == number}
        for c in range(len(chunk)):
            if c // i["group_channels"] in groups:
                found.append(("sums", number, range(entry[c], entry[c] + 1)))
    return found


def writes(i):
    """(memory, output chunk, words)."""
    if i.opcode is Opcode.LOAD:
        return [("stream", 0, range(i["destination"], i["destination"] + i["words"]))]
    if i.opcode is Opcode.SAMPLE:
        words = i["height"] * i["width"]
        return [("stream", 0, range(i["destination"], i["destination"] + words))]
    if i.unit not in (Unit.ARRAY, Unit.VECTOR):
        return []
    codes = i.unit is Unit.VECTOR or i["narrow"]
    count = i["chunks0"] if i.opcode is Opcode.SOFTMAX else output_count(i)
    rows = (0, i["rows"] - 1)
    parts = planes(i, "destination", i["destination_plane"], count, rows, output_size(i)[1])
    chunk = 0 if i.opcode is Opcode.SOFTMAX else None
    found = [
        ("codes" if codes else "stream", number if chunk is None else chunk, part)
        for number, part in enumerate(parts)
    ]
    if i.opcode is Opcode.CONV and i["sums"]:
        found += [("sums", c, range(i["sums0"] + c, i["sums0"] + c + 1)) for c in range(count)]
    return found


def seen(i, unit, chunk):
    """Count of ``unit`` that has been reached when input chunk ``chunk`` is read."""
    name = WAITS[unit]
    count = i[name] if not (i.unit is Unit.MOVER and unit is Unit.MOVER) else 0
    if i.unit is not Unit.MOVER and i["step_unit"] == unit:
        count = max(count, min(i["step_base"] + max(chunk, 0), i["step_cap"]))
    return count


def races(instructions, size):
    """Every conflict that the waits leave open, in words that people read."""
    # memory, word -> (unit, count needed, label) of those who last wrote and who read since
    written: dict[tuple[str, int], Past] = {}
    readers: dict[tuple[str, int], list[Past]] = {}
    counts: Counter[Unit] = Counter()
    found = []
    for number, i in enumerate(instructions):
        if i.unit not in WAITS:
            continue
        label = f"{number} {i.opcode.name}"
        for memory, chunk, part in reads(i, size):
            for word in part:
                unit, needed, who = written.get((memory, word), (None, 0, ""))
                behind = unit is i.unit and (chunk == BACK or unit is Unit.MOVER)
                if unit is not None and not behind and seen(i, unit, chunk) < needed:
                    found.append(f"{label} reads {memory} {word} before {who} wrote it")
        total = counts[i.unit] + output_count(i)
        for memory, chunk, part in writes(i):
            for word in part:
                past = readers.pop((memory, word), [])
                past += [written[memory, word]] if (memory, word) in written else []
                for unit, needed, who in past:
                    if unit is not i.unit and seen(i, unit, START) < needed:
                        found.append(f"{label} writes {memory} {word} before {who} is done")
                written[memory, word] = (i.unit, counts[i.unit] + chunk + 1, label)
        for memory, _, part in reads(i, size):
            for word in part:
                readers.setdefault((memory, word), []).append((i.unit, total, label))
        counts[i.unit] = total
    return found


def step_of(program):
    return [instruction for _, instruction in program.listed[Section.STEP]]


PROGRAMS = {
    "embedded": lambda: compile_artifact(embedded_artifact(), AcceleratorConfig()),
    "embedded-8": lambda: compile_artifact(
        embedded_artifact(), AcceleratorConfig(size=8, stream_words=8192, code_words=8192)
    ),
    "bands": lambda: compile_artifact(
        small_artifact(), AcceleratorConfig(size=4, stream_words=768, code_words=512)
    ),
    "spill": lambda: compile_artifact(embedded_artifact(), AcceleratorConfig(stream_words=2304)),
    "heads": lambda: compile_artifact(several_heads(), ROOMY),
    "heads-tight": lambda: compile_artifact(
        several_heads(), AcceleratorConfig(size=16, stream_words=1024, code_words=2560)
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_conflict_is_waited_for(name):
    program = PROGRAMS[name]()
    assert races(step_of(program), program.header.config.size) == []


def with_field(instructions, number, **changes):
    """Instructions up to one that is changed."""
    i = instructions[number]
    return [*instructions[:number], Instruction(i.opcode, {**i.fields, **changes})]


def test_a_chunk_that_is_read_too_early_is_found():
    program = PROGRAMS["bands"]()
    instructions, size = step_of(program), program.header.config.size
    tried = 0
    for number, i in enumerate(instructions):
        if i.opcode is Opcode.CONV and i["step_unit"] and i["wait_vector"] < i["step_base"]:
            early = {name: i[name] - 1 for name in ("step_base", "step_cap")}
            assert races(with_field(instructions, number, **early), size), number
            tried += 1
            if tried == 4:
                break
    assert tried == 4


def test_a_missing_wait_is_found():
    program = PROGRAMS["embedded"]()
    instructions, size = step_of(program), program.header.config.size
    found = sum(
        bool(races(with_field(instructions, number, wait_array=0), size))
        for number, i in enumerate(instructions[:45])
        if i.unit is Unit.VECTOR and i["wait_array"]
    )
    assert found >= 2


def test_groups_that_end_in_a_later_chunk_are_waited_for():
    """20 channels in groups of 5 on chunks of 8: chunk 0 needs channel 9."""
    program = PROGRAMS["heads"]()
    instructions, size = step_of(program), program.header.config.size
    ahead = [
        n
        for n, i in enumerate(instructions)
        if i.opcode is Opcode.NORM and i["group_channels"] == 5 and not i["chunks1"]
    ]
    assert ahead
    for number in ahead:
        base = instructions[number]["step_base"] - 1
        assert races(with_field(instructions, number, step_base=base), size)
