"""The command line: exit status, one line on stderr, help of every command."""

import json
import subprocess
import sys

import pytest

from cosim import cli, suites
from cosim.commands import cosim as command
from cosim.jobs import Job
from golden.errors import UserError
from tests import toy


def stepscale(*arguments):
    """Run the program in this process and return its exit status."""
    return cli.run([str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ["cosim", "--suite", "all"],
            "demo, layers, nightly, unet, image, got 'all'",
        ),
        (["cosim", "--rows", "0"], "--rows must be in 1..64, got 0"),
        (["cosim", "--cols", "65"], "--cols must be in 1..64, got 65"),
        (["cosim", "--rows", "two"], "rows"),
        (["cosim", "--seed", "-1"], "--seed must be 0 or more, got -1"),
        (["cosim", "--block", "nothing"], "block 'nothing' has no bench"),
        (["cosim", "--block", "operand", "--parameter", "rows"], "must be NAME=VALUE, got 'rows'"),
        (["cosim", "--block", "operand", "--parameter", "depth=3"], "has no parameter 'depth'"),
        (["cosim", "--block", "operand", "--parameter", "rows=0"], "rows"),
        (["cosim", "--block", "operand", "--case", "none"], "block operand has no case 'none'"),
        (["cosim", "--parameter", "rows=1"], "--parameter needs --block"),
        (["cosim", "--suite", "demo", "--block", "operand"], "belong to --suite blocks"),
        (["cosim", "--rtl", "/nowhere"], "/nowhere/manifest.json: cannot be read"),
        (["cosim", "--json", "/proc/none/x.json"], "cannot be written"),
        (["cosim", "--wrong"], "No such option: --wrong"),
        (["nothing"], "No such command 'nothing'"),
        (["demo", "--rows", "0"], "--rows must be in 1..64, got 0"),
        (["demo", "--out", "/proc/none"], "cannot be written"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)
def test_bad_input_is_one_line_and_status_2(capsys, arguments, text):
    assert stepscale(*arguments) == cli.BAD_INPUT
    shown = capsys.readouterr().err
    assert text in shown
    assert shown.count("\n") == 1
    assert "Traceback" not in shown


def test_help_of_every_command(capsys):
    assert stepscale("--help") == 0
    shown = capsys.readouterr().out
    names = [info.name for info in cli.app.registered_commands]
    assert {"cosim", "demo"} <= set(names)
    for name in names:
        assert name in shown
        assert stepscale(name, "--help") == 0
        assert "Usage" in capsys.readouterr().out


def test_help_loads_no_heavy_package():
    code = (
        "import sys; from cosim import cli; cli.run(['--help']); "
        "heavy = {'torch', 'amaranth', 'cocotb', 'matplotlib'} & set(sys.modules); "
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("raised", "status", "text"),
    [
        (UserError("file x:\n is bad"), 2, "stepscale: error: file x: is bad\n"),
        (KeyboardInterrupt(), 130, "stepscale: interrupted\n"),
        (RuntimeError("broken"), 1, "stepscale: internal error: RuntimeError: broken"),
    ],
    ids=["user", "interrupt", "internal"],
)
def test_exceptions_become_one_line(monkeypatch, capsys, raised, status, text):
    def fail(**_):
        raise raised

    monkeypatch.setattr(suites, "block_jobs", fail)
    assert stepscale("cosim") == status
    shown = capsys.readouterr().err
    assert shown.startswith(text)
    assert shown.count("\n") == 1


def test_a_command_that_does_not_load_says_so(capsys):
    with pytest.raises(UserError, match="command x does not load: no module"):
        cli._broken("x", "no module")()


def _jobs_of(rtl):
    cases = toy.cases(seed=5)[:2]
    return lambda **_: [Job("toy", toy.PARAMETERS, cases, rtl, ["--block", "toy"], 5)]


@pytest.mark.cosim
def test_green_run_ends_with_table_and_json(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(suites, "block_jobs", _jobs_of(toy.FOLDER))
    report = tmp_path / "deep" / "report.json"
    assert stepscale("cosim", "--json", report, "--seed", 5) == 0
    shown = capsys.readouterr().out
    assert "mismatches" in shown
    assert "toy" in shown
    data = json.loads(report.read_text())
    assert data["suite"] == "blocks"
    assert data["seed"] == 5
    assert data["mismatches"] == 0
    assert data["beats"] == 400
    assert data["items"][0]["timestep_groups"] == list(range(8))
    assert [path.name for path in report.parent.iterdir()] == ["report.json"]


@pytest.mark.cosim
def test_red_run_is_status_1_and_names_the_command(monkeypatch, capsys, tmp_path):
    rtl = toy.copy(tmp_path / "rtl", "second1 <= first1", "second1 <= first0")
    monkeypatch.setattr(suites, "block_jobs", _jobs_of(rtl))
    assert stepscale("cosim", "--json", tmp_path / "report.json") == cli.DISAGREES
    shown = " ".join(capsys.readouterr().out.split())
    assert "lane 1, field sum" in shown
    assert "stepscale cosim --block toy --level 2 --case never --waves" in shown
    assert json.loads((tmp_path / "report.json").read_text())["first_mismatches"]


@pytest.mark.cosim
def test_rtl_folder_chooses_block_and_parameters(tmp_path):
    from cosim.bench import emit_verilog

    rtl = emit_verilog("operand", {"rows": 2, "side_width": 3}, tmp_path / "rtl")
    assert stepscale("cosim", "--rtl", rtl, "--case", "stalls2") == 0
    assert stepscale("cosim", "--rtl", rtl, "--block", "mac_array") == cli.BAD_INPUT
    assert stepscale("cosim", "--rtl", rtl, "--parameter", "rows=3") == cli.BAD_INPUT


def test_values_of_parameters():
    assert command._parse(["a=3", "b=-1", "c=edge"]) == {"a": 3, "b": -1, "c": "edge"}
