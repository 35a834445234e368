"""``stepscale verilog``: write a block's Verilog and its manifest."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from golden.errors import UserError

if TYPE_CHECKING:
    from hdl.emit import EmittedDesign

__all__ = ["verilog"]


def verilog(
    block: Annotated[str, typer.Option(help="a block, datapath, or all of them")] = "datapath",
    rows: Annotated[int, typer.Option(help="rows of the array")] = 16,
    cols: Annotated[int, typer.Option(help="columns of the array; lanes of a block")] = 16,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", "--parameter", help="NAME=VALUE of the block; repeatable"),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="folder to write; all: one folder for each block in it")
    ] = Path("out/verilog"),
    package: Annotated[
        Path | None,
        typer.Option(
            help="write a package here instead: Verilog, AMBA wrapper, smoke bench, "
            "constraints, FuseSoC core, registers, driver, README"
        ),
    ] = None,
    artifact: Annotated[
        Path | None,
        typer.Option(
            help="what the smoke bench of a packaged accelerator runs [default: embedded]"
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="lint: Verilator, and slang and Verible where installed")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here")] = None,
) -> None:
    """Generate Verilog, one module a file, and manifest.json; the same settings, the same bytes."""
    import json

    from rich.console import Console
    from rich.table import Table

    from cosim.commands._progress import shown
    from cosim.generate import block_names, block_parameters, generate, parse_settings
    from cosim.lint import installed
    from golden.files import atomic_write, ensure_writable_folder
    from hdl.emit import write

    if package is None and artifact is not None:
        raise UserError("--artifact belongs to --package of the accelerator")
    if package is not None:
        _package(block, rows, cols, parse_settings(settings or []), package, artifact, json_file)
        return
    names = block_names(block)
    parsed = parse_settings(settings or [])
    several = len(names) > 1
    wanted = {
        name: block_parameters(name, rows, cols, parsed, strict=not several) for name in names
    }
    ensure_writable_folder(out)
    if json_file is not None:
        ensure_writable_folder(json_file.parent)
    records: list[dict[str, Any]] = []
    with shown() as progress:
        for index, name in enumerate(names):
            progress("generate", index, len(names))
            design = generate(name, wanted[name])
            folder = out / name if several else out
            write(design, folder)
            record: dict[str, Any] = {"folder": str(folder), **design.manifest}
            if check:
                progress(f"check {name}", index, len(names))
                _check(design, folder)
                record["lint"] = ", ".join(installed())
            records.append(record)
    if json_file is not None:
        with atomic_write(json_file) as temporary:
            temporary.write_text(json.dumps({"blocks": records}, indent=2) + "\n")
    table = Table(title="Verilog")
    for title in ("block", "modules", "ports", "latency", "hash", "folder"):
        table.add_column(title, overflow="fold")
    if check:
        table.add_column("lint clean")
    for record in records:
        latency = ", ".join(
            str(value) if key == "cycles" else f"{key} {value}"
            for key, value in record["latency"].items()
        )
        table.add_row(
            record["block"],
            str(len(record["files"])),
            _count(record["ports"], "stream") + ", " + _count(record["ports"], "plain"),
            latency,
            record["hash"][:12],
            record["folder"],
            *([record["lint"]] if check else []),
        )
    Console().print(table)


def _package(
    block: str,
    rows: int,
    cols: int,
    parsed: dict[str, Any],
    folder: Path,
    artifact: Path | None,
    json_file: Path | None,
) -> None:
    import json

    from cosim.commands._progress import shown
    from cosim.generate import block_names, block_parameters
    from cosim.package.package import write_package
    from golden.calibration.artifact import Artifact, embedded_artifact
    from golden.files import atomic_write, ensure_writable_folder

    names = block_names(block)
    if len(names) != 1:
        raise UserError("--package takes one block, got all")
    parameters = block_parameters(block, rows, cols, parsed, strict=True)
    if block == "accelerator" and "size" not in parameters:
        if rows != cols:
            raise UserError(f"the accelerator's array is square, got --rows {rows} --cols {cols}")
        parameters["size"] = rows
    if json_file is not None:
        ensure_writable_folder(json_file.parent)
    tables = None
    if block == "accelerator":
        tables = embedded_artifact() if artifact is None else Artifact.load(artifact)
    elif artifact is not None:
        raise UserError(f"--artifact belongs to the accelerator, not to block {block}")
    with shown() as progress:
        manifest = write_package(block, parameters, folder, tables, progress)
    if json_file is not None:
        with atomic_write(json_file) as temporary:
            temporary.write_text(json.dumps(manifest, indent=2) + "\n")
    typer.echo(
        f"{folder}: package of {block}, {len(manifest['package'])} files; README.md names them"
    )
    typer.echo(f"check it with Verilator alone: make -C {folder / 'sim'}")


def _count(ports: list[dict[str, Any]], kind: str) -> str:
    return f"{sum(port['kind'] == kind for port in ports)} {kind}"


def _check(design: "EmittedDesign", folder: Path) -> None:
    """Raise ``UserError`` with the first message of a linter."""
    from cosim.lint import lint_all

    messages = lint_all(folder, design.manifest["top"], design.manifest["files"])
    if messages:
        raise UserError(f"{folder}: lint: {messages[0]}")
