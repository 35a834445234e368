"""The legality engine against golden's checks: legal instructions, then each field changed."""

import random
from collections import Counter
from typing import Any

import pytest

from golden.accelerator.compiler import compile_artifact
from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.instruction import (
    CHECK_SEED,
    Cause,
    Instruction,
    MachineError,
    Opcode,
    Unit,
    fields_of,
)
from golden.accelerator.legality import Dispatch
from golden.accelerator.legality_engine import check_steps
from golden.accelerator.legality_program import External
from golden.accelerator.operations import Section
from hdl import legality
from hdl.legality import Legality
from tests import array_programs, vector_programs
from tests.accelerator_runs import several_heads
from tests.amaranth_bench import simulate

SEED = 11
GROUP, STEP = 1, 1
COUNTS = {Unit.ARRAY: "count_array", Unit.VECTOR: "count_vector", Unit.MOVER: "count_mover"}


class Case:
    """An instruction (as words), what golden knows at that time, and what golden says."""

    def __init__(self, words, dispatch, groups):
        self.words, self.config = words, dispatch.config
        self.external = self._external(words, dispatch, groups)
        self.cause = 0
        before = dispatch.counts.copy()
        content = b"".join(word.to_bytes(4, "little") for word in words)
        self.instruction = None
        try:
            self.instruction = i = Instruction.decode(content)
            tables, known = dict(dispatch.tables), dispatch.sampler_row
            dispatch.check(i, groups)
            self.counts = dispatch.counts.copy()
            dispatch.tables, dispatch.sampler_row = tables, known
        except MachineError as error:
            self.cause = int(error.cause)
        dispatch.counts = before

    def _external(self, words, dispatch, groups) -> dict[str, Any]:
        held = dispatch.tables.get(words[0] >> 16 & 1)
        known = {} if held is None else {
            "set": held["table_set"], "set_chunks": held["chunks"],
            "set_norm_chunks": held["norm_chunks"],
        }  # fmt: skip
        return {
            **{f"{name}_bytes": size for name, size in dispatch.regions.items()},
            **{name: dispatch.counts[unit] for unit, name in COUNTS.items()},
            "steps": dispatch.steps, "groups": groups, "step": STEP, "group": GROUP,
            "row_known": int(dispatch.sampler_row), "set_known": int(held is not None), **known,
        }  # fmt: skip


def words_of(instruction):
    content = instruction.encode()
    return [int.from_bytes(content[at : at + 4], "little") for at in range(0, 64, 4)]


def with_check(words):
    """The same with a check word that agrees."""
    check = CHECK_SEED
    for word in words[:15]:
        check ^= word
    return [*words[:15], check]


def changed(instruction, rng):
    """Words of ``instruction`` with something changed, mostly a field."""
    words = words_of(instruction)
    kind = rng.random()
    if kind < 0.04:
        words[rng.randrange(16)] ^= 1 << rng.randrange(32)
        return words
    if kind < 0.1:
        words[rng.randrange(15)] ^= 1 << rng.randrange(32)
        return with_check(words)
    for _ in range(1 if kind < 0.8 else 2):
        fields = list(fields_of(instruction.opcode).values()) or [(0, 0, 8)]
        word, lsb, bits = rng.choice(fields)
        mask = (1 << bits) - 1
        old = words[word] >> lsb & mask
        small = rng.randrange(min(mask, 40) + 1)
        new = rng.choice([0, 1, mask, old + 1, old - 1, old ^ 1 << rng.randrange(bits), small])
        words[word] = words[word] & ~(mask << lsb) | (new & mask) << lsb
    return with_check(words)


def run(unit, cases):
    """Return (case, cause that the engine gave, its outputs) of each, and the most cycles."""
    found = []
    longest = 0

    async def bench(ctx):
        nonlocal longest
        for case in cases:
            ctx.set(unit.words, case.words)
            for name, _ in unit.external.shape():
                ctx.set(unit.external[name], case.external.get(name, 0))
            ctx.set(unit.start, 1)
            await ctx.tick()
            ctx.set(unit.start, 0)
            cycles = 1
            while not ctx.get(unit.done):
                await ctx.tick()
                cycles += 1
                assert cycles < 5000, case.words
            longest = max(longest, cycles)
            if case.instruction is not None:
                beside = {External[name.upper()]: n for name, n in case.external.items()}
                checked = check_steps(case.config, case.instruction, beside)
                assert (checked.cause, checked.cycles) == (ctx.get(unit.cause), cycles)
            legal = {name: ctx.get(unit.legal[name]) for name, _ in unit.legal.shape()}
            found.append((case, ctx.get(unit.cause), legal))

    simulate(unit, bench)
    return found, longest


def unit_of(config):
    names = ("size", "stream_words", "code_words", "sum_chunks", "depth", "channel_tiles")
    return Legality(**{name: getattr(config, name) for name in names})


def check(found):
    for case, cause, legal in found:
        assert cause == case.cause, (case.instruction, Cause(case.cause) if case.cause else 0)
        if cause:
            continue
        i = case.instruction
        if i.unit in case.counts:
            assert legal["count"] == case.counts[i.unit]
        if i.opcode in (Opcode.LOAD, Opcode.STORE):
            assert legal["first_offset"] == i["offset"] + STEP * i["step_stride"]
        if i.opcode is Opcode.TABLE:
            assert legal["second_offset"] == i["step_offset"] + STEP * i["step_stride"]
            if not i["sampler_row"]:
                assert legal["first_offset"] == i["group_offset"] + GROUP * i["group_stride"]
        if i.opcode is Opcode.CONV:
            passes = (i["chunks0"] + i["chunks1"]) * (9 if i["kernel3"] else 1)
            assert legal["passes"] == passes * (2 if i["format"] == 2 else 1)
            assert legal["tiles"] == -(-i["rows"] // i["tile_rows"])
            assert legal["first_offset"] == i["offset"]


def compiled_cases(rng, changes):
    """Every instruction of a compiled network, each also with changes."""
    artifact = several_heads()
    config = AcceleratorConfig(size=8, code_words=8192)
    program = compile_artifact(artifact, config)
    regions = {name: len(content) for name, content in program.regions.items()}
    regions["data"] = program.data_bytes
    cases = []
    for section in Section:
        dispatch = Dispatch(config, regions, artifact.steps)
        for _, i in program.listed[section]:
            cases.append(Case(words_of(i), dispatch, 2))
            cases += [Case(changed(i, rng), dispatch, 2) for _ in range(changes)]
            dispatch.check(i, 2)
    return config, cases


def random_cases(rng, module, seed, count, changes):
    """Instructions of the units' benches, in corners that no compiler would choose."""
    program = module.random_program(seed, count)
    regions = {"weights": 1 << 16, "tables": 1 << 20, "data": 1 << 12, "program": 4096}
    dispatch = Dispatch(program.config, regions, 3)
    dispatch.counts = dict.fromkeys(dispatch.counts, 40)
    dispatch.sampler_row = True
    cases = []
    for tables in program.sets:
        fields = {"bank": tables.bank, "table_set": tables.table_set, "group_stride": 64,
                  "chunks": program.config.channel_tiles, "step_stride": 128,
                  "norm_chunks": program.config.sum_chunks}  # fmt: skip
        i = Instruction(Opcode.TABLE, fields)
        cases += [Case(words_of(i), dispatch, 2)]
        cases += [Case(changed(i, rng), dispatch, 2) for _ in range(changes)]
        dispatch.check(i, 2)
    for i in program.instructions:
        dispatch.counts = {unit: rng.randrange(38, 66000) for unit in dispatch.counts}
        cases.append(Case(words_of(i), dispatch, 2))
        cases += [Case(changed(i, rng), dispatch, 2) for _ in range(changes)]
    return program.config, cases


def test_compiled_network_and_changes():
    config, cases = compiled_cases(random.Random(SEED), 4)
    found, longest = run(unit_of(config), cases)
    check(found)
    causes = Counter(case.cause for case in cases)
    assert set(causes) >= {0, 1, 2, 3, 4, 5, 6, 7}, causes
    assert longest < 1000


@pytest.mark.parametrize("module", [array_programs, vector_programs], ids=["array", "vector"])
def test_random_instructions_and_changes(module):
    config, cases = random_cases(random.Random(SEED), module, SEED, 25, 12)
    found, _ = run(unit_of(config), cases)
    check(found)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(8))
def test_many(seed):
    module = (array_programs, vector_programs)[seed % 2]
    config, cases = random_cases(random.Random(seed), module, seed, 120, 25)
    found, _ = run(unit_of(config), cases)
    check(found)


@pytest.mark.parametrize("old", ["Cause.SCRATCHPAD", "Cause.WAIT"])
def test_bench_sees_a_missing_check(old, monkeypatch):
    """A step that always holds."""
    real = legality.assemble

    def without(size, channel_tiles):
        steps, entries = real(size, channel_tiles)
        cause = int(getattr(Cause, old.split(".")[1]))
        steps = [
            (step & ~0xFFFFF0 | 0) if step & 15 == 5 and step >> 12 == cause else step
            for step in steps
        ]
        return steps, entries

    monkeypatch.setattr(legality, "assemble", without)
    config, cases = compiled_cases(random.Random(SEED), 4)
    with pytest.raises(AssertionError):
        check(run(unit_of(config), cases)[0])
