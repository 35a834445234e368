"""What is installed: one import name, found by the program, harmless to a user's own packages."""

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import types
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import stepscale

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = {
    canonicalize_name(line.split("==")[0]): line.split("==")[1]
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if "==" in line
}
NOT_SOURCES = shutil.ignore_patterns(
    ".git", ".venv", "build", "out", ".data", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with what a wheel puts into site-packages."""
    folder = tmp_path_factory.mktemp("installed") / "site"
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture
def hostile(tmp_path):
    """A user's folder whose own ``golden``, ``hdl`` and ``cosim`` must not be imported."""
    for name in stepscale.NAMES:
        (tmp_path / "user" / name).mkdir(parents=True)
        (tmp_path / "user" / name / "__init__.py").write_text("raise RuntimeError('of the user')")
    return tmp_path / "user"


def python(cwd, path, *words, **more):
    """Run a python of this environment with ``path`` as its PYTHONPATH."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), **more}
    command = [sys.executable, *map(str, words)]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def files(folder):
    """Relative names of what belongs to a package."""
    found = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    return {p.as_posix() for p in found if "__pycache__" not in p.parts}


def test_a_wheel_has_one_import_name_and_every_file(site):
    assert [path.name for path in site.iterdir()] == ["stepscale"]
    packages = site / "stepscale" / "_packages"
    assert {path.name for path in packages.iterdir()} == set(stepscale.NAMES)
    for name in stepscale.NAMES:
        assert files(packages / name) == files(ROOT / name)


def test_import_changes_nothing(site, tmp_path):
    code = (
        "import sys, os; path, names, environment = [*sys.path], {*sys.modules}, {**os.environ};"
        "import stepscale; stepscale.folder(); stepscale.__version__;"
        "assert path == sys.path and environment == dict(os.environ);"
        "new = {*sys.modules} - names; assert not {'golden', 'hdl', 'cosim', 'torch'} & new, new"
    )
    done = python(tmp_path, [site], "-c", code)
    assert done.returncode == 0, done.stderr


def test_the_user_imports_the_users_own(site, hostile):
    (hostile / "hdl" / "__init__.py").write_text("")
    done = python(hostile, [site], "-c", "import stepscale, hdl; print(hdl.__file__)")
    assert Path(done.stdout.strip()) == hostile / "hdl" / "__init__.py", done.stderr


@pytest.mark.parametrize("where", ["cwd", "path"])
def test_the_program_imports_ours(site, hostile, tmp_path, where):
    path, cwd = ([site], hostile) if where == "cwd" else ([hostile, site], tmp_path)
    words = ["verilog", "--block", "operand", "--rows", "1", "--out", "rtl"]
    done = python(cwd, path, "-m", "stepscale", *words)
    assert done.returncode == 0, done.stderr
    assert json.loads((cwd / "rtl" / "manifest.json").read_text())["block"] == "operand"


def test_processes_of_the_program_import_ours(site, hostile):
    code = (
        "import subprocess, sys, stepscale; stepscale.packages(); import cosim.cli as cli\n"
        "code = 'import hdl; print(hdl.__file__)'\n"
        "cli.main = lambda: subprocess.run([sys.executable, '-c', code], check=True)\n"
        "from stepscale.__main__ import main; main()"
    )
    (hostile.parent / "start.py").write_text(code)
    done = python(hostile, [site], "../start.py")
    expected = site / "stepscale" / "_packages" / "hdl" / "__init__.py"
    assert Path(done.stdout.strip()) == expected, done.stderr


def test_as_a_library(site, tmp_path):
    code = (
        "import stepscale, sys; folder = stepscale.packages(); stepscale.packages()\n"
        "assert sys.path.count(str(folder)) == 1 and sys.path[0] == str(folder)\n"
        "from golden.numbers import rsh; print(rsh(5, 1), folder)"
    )
    done = python(tmp_path, [site], "-c", code)
    assert done.stdout.split() == ["3", str(site / "stepscale" / "_packages")], done.stderr


def test_another_package_of_the_name_is_refused(monkeypatch):
    other = types.ModuleType("hdl")
    other.__file__ = "/elsewhere/hdl/__init__.py"
    monkeypatch.setitem(sys.modules, "hdl", other)
    before = list(sys.path)
    with pytest.raises(ImportError, match=r"'hdl' is already imported \(/elsewhere/hdl/") as caught:
        stepscale.packages()
    assert "\n" not in str(caught.value)
    assert sys.path == before


def test_a_finder_that_comes_first_is_refused(site, hostile):
    code = (
        "import sys, importlib.util as util, stepscale\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'cosim': return util.spec_from_file_location(name, sys.argv[1])\n"
        "sys.meta_path.insert(0, Finder()); before = [*sys.path]\n"
        "try: stepscale.packages()\n"
        "except ImportError as error: print(error)\n"
        "assert sys.path == before and 'cosim' not in sys.modules"
    )
    done = python(hostile, [site], "-c", code, hostile / "cosim" / "__init__.py")
    assert done.stdout.startswith("another package 'cosim' is found before ours"), done.stderr
    assert done.returncode == 0, done.stderr


def test_the_program_says_so_on_one_line(site, hostile):
    (hostile / "hdl" / "__init__.py").write_text("")
    (hostile / "sitecustomize.py").write_text("import hdl")
    done = python(hostile, [hostile, site], "-m", "stepscale", "--version")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith("stepscale: error: another package 'hdl' is already imported")


def test_the_version_stands_in_one_place(site, tmp_path):
    version = PROJECT["version"]
    assert stepscale.__version__ == importlib.metadata.version("stepscale") == version
    shown = python(tmp_path, [site], "-m", "stepscale", "--version")
    assert shown.stdout == f"stepscale {version}\n", shown.stderr
    assert re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)[0] == version
    literal = re.compile(rf"""["']{re.escape(version)}["']""")
    for path in ROOT.glob("stepscale/*.py"):
        assert not literal.search(path.read_text()), path


def test_the_cache_is_the_users(site, tmp_path):
    code = (
        "import stepscale; stepscale.packages()\n"
        "from golden.files import cache_folder; print(cache_folder())"
    )
    for named, expected in (
        (tmp_path / "cache", tmp_path / "cache" / "stepscale"),
        ("not/absolute", tmp_path / ".cache" / "stepscale"),
        ("", tmp_path / ".cache" / "stepscale"),
    ):
        more = {"XDG_CACHE_HOME": str(named), "HOME": str(tmp_path)}
        done = python(tmp_path, [site], "-c", code, **more)
        assert Path(done.stdout.strip()) == expected, done.stderr


def test_dependencies_are_bounded_and_pinned():
    for word in PROJECT["dependencies"]:
        needed = Requirement(word)
        assert any(bound.operator == ">=" for bound in needed.specifier), word
        assert needed.specifier.contains(PINS[canonicalize_name(needed.name)]), word
    for extra in PROJECT["optional-dependencies"].values():
        for word in extra:
            assert canonicalize_name(Requirement(word).name) in PINS, word


def _built(source, out):
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    subprocess.run(command, env=environment, check=True, capture_output=True)
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel


@pytest.mark.cosim
@pytest.mark.long
def test_wheel_in_an_environment_of_its_own(tmp_path, hostile):
    source = shutil.copytree(ROOT, tmp_path / "source", ignore=NOT_SOURCES)
    sdist, wheel = _built(source, tmp_path / "dist")
    with tarfile.open(sdist) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    needed = {"LICENSE", "Makefile", "constraints.txt", "tests/test_release.py", "docs/release.md"}
    assert needed <= names
    assert not [name for name in names if name.endswith(".pyc")]
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
        assert tops == {"stepscale", f"stepscale-{PROJECT['version']}.dist-info"}
    again = _built(source, tmp_path / "again")[1]
    assert (
        hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(wheel.read_bytes()).digest()
    )

    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment.pop("PYTHONPATH", None)
    own = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", own], check=True)
    folder = own / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    pip = [sys.executable, "-m", "pip", "--python", own / "bin" / "python", "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", wheel], check=True, env=environment)
    # after pip, which must not look there; the path files of that folder are not run, so that an
    # editable stepscale stays out
    (folder / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    before = files(folder)

    def program(*words):
        return subprocess.run(
            [own / "bin" / words[0], *words[1:]], cwd=hostile, env=environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    assert program("stepscale", "--version").stdout == f"stepscale {PROJECT['version']}\n"
    done = program("stepscale", "verilog", "--block", "requantizer", "--out", "rtl")
    assert done.returncode == 0, done.stderr
    assert (hostile / "rtl" / "requantizer.v").is_file()
    block = ("--suite", "blocks", "--block", "requantizer", "--json", "report.json")
    done = program("stepscale", "cosim", *block)
    assert done.returncode == 0, done.stderr
    report = json.loads((hostile / "report.json").read_text())
    assert report["mismatches"] == 0
    assert report["cycles"] > 1000
    assert list((tmp_path / "cache" / "stepscale" / "models").iterdir())
    assert files(folder) == before
    (hostile / "hdl" / "__init__.py").write_text("whose = 'user'")
    done = program("python", "-c", "import stepscale, hdl; print(hdl.whose)")
    assert done.stdout == "user\n", done.stderr
