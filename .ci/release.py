"""What is released of a commit, into one folder: sdist, wheel, pins, SBOM, hashes.

``python .ci/release.py --out out/dist``: the sources are those of the commit, not of the folder;
times, modes and order are fixed, so that the same commit and the same setuptools give the same
bytes. The wheel is then installed into an empty environment with the pinned versions, tried there,
and what that environment holds is the SBOM (CycloneDX 1.6, JSON), with the wheel as its subject.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PINS = ROOT / "constraints.txt"
SPEC = "1.6"
LICENCES = {
    # from the texts of packages whose metadata name none of SPDX's
    "antlr4-python3-runtime": "BSD-3-Clause",
    "cocotb-bus": "BSD-3-Clause",
    "partd": "BSD-3-Clause",
    "z3-solver": "MIT",
}


def _run(*command: str | Path, cwd: Path = ROOT, **more: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env={**environment, **more},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        words = " ".join(str(word) for word in command)
        sys.exit(f"{done.stdout}{done.stderr}error: status {done.returncode} of: {words}")
    return done.stdout.strip()


def distributions(out: Path, scratch: Path, epoch: str) -> tuple[Path, Path]:
    """Build sdist and wheel of the commit HEAD in ``out``; return both."""
    source = scratch / "source"
    archive = subprocess.run(
        ["git", "archive", "HEAD"], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(source, filter="data")
    build = (sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source)
    _run(*build, SOURCE_DATE_EPOCH=epoch)
    (sdist,), (wheel,) = out.glob("stepscale-*.tar.gz"), out.glob("stepscale-*.whl")
    _normalise(sdist, int(epoch))
    return sdist, wheel


def _normalise(sdist: Path, epoch: int) -> None:
    """Write the archive again with fixed times, owners and order."""
    buffer = io.BytesIO()
    with (
        tarfile.open(sdist) as old,
        tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda found: found.name):
            member.mtime, member.pax_headers = epoch, {}
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
    with sdist.open("wb") as stream, gzip.GzipFile("", "wb", 9, stream, mtime=epoch) as packed:
        packed.write(buffer.getvalue())


def installed(wheel: Path, scratch: Path, pip_flags: Sequence[str]) -> Path:
    """Install ``wheel`` with the pins into an empty environment, try it; return its python."""
    python = scratch / "env" / "bin" / "python"
    _run(sys.executable, "-m", "venv", "--without-pip", scratch / "env")
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    _run(*pip, "--disable-pip-version-check", *pip_flags, "-c", PINS, wheel)
    program = python.with_name("stepscale")
    version = wheel.name.split("-")[1]
    shown = _run(program, "--version", cwd=scratch)
    if shown != f"stepscale {version}":
        sys.exit(f"error: {wheel.name} calls itself {shown!r}")
    _run(program, "verilog", "--block", "requantizer", "--out", "rtl", cwd=scratch)
    return python


def sbom(python: Path, wheel: Path, scratch: Path, epoch: str) -> dict[str, Any]:
    """Return what the environment of ``python`` holds, with ``wheel`` as its subject."""
    raw = scratch / "environment.json"
    _run(
        Path(sys.executable).with_name("cyclonedx-py"), "environment", python, "--sv", SPEC,
        "--pyproject", ROOT / "pyproject.toml", "--output-reproducible", "-o", raw,
        SOURCE_DATE_EPOCH=epoch,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(raw.read_text())
    subject = found["metadata"]["component"]
    subject["purl"] = f"pkg:pypi/{subject['name']}@{subject['version']}?file_name={wheel.name}"
    subject["hashes"] = [{"alg": "SHA-256", "content": _sha256(wheel)}]
    needed = {_plain(re.split(r"[^\w.-]", word)[0]) for word in _project()["dependencies"]}
    references = {_plain(part["name"]): part["bom-ref"] for part in found["components"]}
    for node in found["dependencies"]:
        if node["ref"] == subject["bom-ref"]:  # the tool counts packages of our extras, too
            node["dependsOn"] = sorted(references[name] for name in needed)
    pinned = dict(line.split("==") for line in PINS.read_text().splitlines() if "==" in line)
    versions = {_plain(name): version for name, version in pinned.items()}
    for part in found["components"]:
        name, version = _plain(part["name"]), part["version"]
        if version.split("+")[0] != versions.get(name):
            sys.exit(f"error: {name} {version} is installed, {PINS.name} has {versions.get(name)}")
        if "licenses" not in part:
            if name not in LICENCES:
                sys.exit(f"error: {name} declares no licence; add it to LICENCES after a look")
            part["licenses"] = [{"license": {"id": LICENCES[name]}}]
    return found


def _project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _checked(text: str) -> str:
    from cyclonedx.schema import SchemaVersion  # noqa: PLC0415 - of the extra `release`
    from cyclonedx.validation.json import JsonStrictValidator  # noqa: PLC0415

    fault = JsonStrictValidator(SchemaVersion.from_version(SPEC)).validate_str(text)
    if fault is not None:
        sys.exit(f"error: the SBOM is not CycloneDX {SPEC}: {fault}")
    return text


def main() -> None:
    """Make a release of the commit HEAD."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "dist")
    parser.add_argument("--pip-flags", default="", help="further words for pip install")
    options = parser.parse_args()
    os.umask(0o022)
    if _run("git", "status", "--porcelain", "--untracked-files=no"):
        sys.exit("error: there are changes that are not committed; a release is of a commit")
    epoch = _run("git", "log", "-1", "--format=%ct")
    out: Path = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    for old in [*out.glob("stepscale-*"), out / "SHA256SUMS"]:
        old.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="stepscale-release-") as temporary:
        scratch = Path(temporary)
        sdist, wheel = distributions(out, scratch, epoch)
        python = installed(wheel, scratch, options.pip_flags.split())
        record = sbom(python, wheel, scratch, epoch)
    stem = sdist.name.removesuffix(".tar.gz")
    text = _checked(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    (out / f"{stem}.cdx.json").write_text(text)
    shutil.copyfile(PINS, out / f"{stem}-constraints.txt")
    sums = [f"{_sha256(path)}  {path.name}" for path in sorted(out.iterdir())]
    (out / "SHA256SUMS").write_text("\n".join(sums) + "\n")
    print(*sums, f"{len(record['components'])} packages in the SBOM; folder {out}", sep="\n")


if __name__ == "__main__":
    main()
