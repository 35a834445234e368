"""Mutation score: faults are found, equal netlists are not counted, a lax bench scores less."""

import json
from dataclasses import replace

import pytest

from cosim import mutation, mutation_proof, tb_operand
from cosim.cli import run
from cosim.mutation import PARAMETERS, mutate_block
from golden.cycles import truncate
from golden.errors import UserError
from hdl.blocks import BLOCKS


@pytest.mark.cosim
def test_every_mutant_of_a_small_block_is_accounted_for():
    result = mutate_block("operand", count=30, seed=1)
    alive = len(result.equivalent) + len(result.survivors)
    assert len(result.killed) + alive == 30
    assert result.score > 0.95
    assert set(result.killed.values()) <= {
        case.name for case in tb_operand.cases(1, PARAMETERS["operand"])
    }


@pytest.mark.cosim
def test_a_bench_with_one_short_case_scores_less(monkeypatch):
    full = mutate_block("operand", count=30, seed=1)
    case = tb_operand.cases(1, PARAMETERS["operand"])[1]
    short = replace(case, trace=truncate(case.trace, 12))
    monkeypatch.setattr(tb_operand, "cases", lambda seed, given: [short])
    monkeypatch.setattr(mutation_proof, "SECONDS", (60, 1))
    assert len(mutate_block("operand", count=30, seed=1).killed) < len(full.killed)


@pytest.mark.cosim
@pytest.mark.long
@pytest.mark.parametrize("block", ["operand", "accumulator"])
def test_no_mutant_that_a_bench_finds_is_proven_equal(tmp_path, monkeypatch, block):
    monkeypatch.setattr(mutation_proof, "SECONDS", (60, 1))
    found = set(mutate_block(block, count=4, seed=2).killed)
    assert found
    for mutant in mutation.planted(block, PARAMETERS[block], tmp_path, 4, 2)[1]:
        equal = mutation_proof.is_equivalent(tmp_path, mutant.command)
        assert not (equal and mutant.number in found), mutant


@pytest.mark.cosim
def test_command_writes_its_figures(tmp_path, capsys):
    report = tmp_path / "mutation.json"
    arguments = ["mutation", "--block", "operand", "--count", "20", "--json", str(report)]
    assert run(arguments) == 0
    [entry] = json.loads(report.read_text())["mutation"]
    assert entry["killed"] + len(entry["equivalent"]) + len(entry["survivors"]) == 20
    assert "operand" in capsys.readouterr().out
    assert run([*arguments, "--least", "1.01"]) == 1


def test_every_block_has_mutants():
    assert set(PARAMETERS) <= set(BLOCKS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"block": "nothing"}, "block 'nothing' has no mutants"),
        ({"block": "operand", "count": 0}, "count = 0 is not allowed"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(UserError, match=message):
        mutate_block(**arguments)
