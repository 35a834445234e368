"""The machine's check-up, and the tools it looks for."""

import json
import os
import shutil

import pytest

from cosim import doctor, toolchain
from cosim.cli import run
from golden.errors import UserError


def only(tmp_path, monkeypatch, *programs):
    """Leave nothing on PATH but ``programs``."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in programs:
        (folder / program).symlink_to(shutil.which(program))
    monkeypatch.setenv("PATH", str(folder))


@pytest.mark.cosim
def test_this_machine_is_fit(tmp_path, capsys):
    path = tmp_path / "doctor.json"
    assert run(["doctor", "--json", str(path)]) == 0
    record = json.loads(path.read_text())
    assert record["ok"]
    names = [check["name"] for check in record["checks"]]
    assert names[-1] == "verilator build"
    assert {"python", "g++", "make", "verilator"} <= set(names)
    assert "built and run" in capsys.readouterr().out


@pytest.mark.parametrize(("missing", "present"), [("g++", "make"), ("make", "g++")])
def test_a_missing_program_is_named_with_its_cure(missing, present, tmp_path, monkeypatch, capsys):
    only(tmp_path, monkeypatch, present)
    assert run(["doctor"]) == 1
    out = capsys.readouterr().out
    assert f"MISSING  {missing}: not found on PATH" in out
    assert f"sudo apt-get install {missing}" in out
    assert "verilator build" not in out


@pytest.mark.parametrize(("missing", "present"), [("g++", "make"), ("make", "g++")])
def test_a_build_without_it_is_one_line(missing, present, tmp_path, monkeypatch):
    only(tmp_path, monkeypatch, present)
    with pytest.raises(UserError) as caught:
        toolchain.require_build_tools()
    assert str(caught.value).startswith(f"{missing}: not found on PATH; install")
    assert "\n" not in str(caught.value)


def test_a_missing_package_is_named_with_its_cure(monkeypatch):
    monkeypatch.setattr(doctor, "_PACKAGES", ("amaranth", "stepscale-no-such-package"))
    good, bad = doctor._packages()
    assert good.ok
    assert not bad.ok
    assert bad.cure == "pip install -c constraints.txt stepscale-no-such-package"


def test_a_broken_compiler_is_found(tmp_path, monkeypatch):
    only(tmp_path, monkeypatch, "make", "sh", "python3", "rm", "cp", "ar", "echo")
    broken = tmp_path / "bin" / "g++"
    broken.write_text("#!/bin/sh\necho 'g++: error: no headers' >&2\nexit 1\n")
    broken.chmod(0o755)
    finding = doctor._build()
    assert not finding.ok
    assert "error" in finding.text.lower()
    assert "compiler" in finding.cure


def test_environment_needs_no_variable(monkeypatch):
    monkeypatch.delenv("VERILATOR_ROOT", raising=False)
    environment = toolchain.verilator_environment()
    assert (toolchain.verilator_root() / "include" / "verilated.h").exists()
    assert environment["VERILATOR_ROOT"] == str(toolchain.verilator_root())
    assert "CFG_CXXFLAGS_PCH_I" in environment["MAKEFLAGS"]
    first = environment["PATH"].split(os.pathsep)[0]
    assert os.path.realpath(f"{first}/verilator") == str(toolchain.verilator_binary().resolve())


def test_a_foreign_verilator_does_not_get_in_the_way(tmp_path, monkeypatch):
    old = tmp_path / "verilator"
    old.write_text("#!/bin/sh\nexit 99\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("VERILATOR_ROOT", str(tmp_path))
    environment = toolchain.verilator_environment()
    found = shutil.which("verilator", path=environment["PATH"])
    assert os.path.realpath(str(found)) == str(toolchain.verilator_binary().resolve())
    assert environment["VERILATOR_ROOT"] != str(tmp_path)
