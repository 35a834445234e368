"""``stepscale compile``: an artifact to instructions, memory layout and images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from golden.accelerator.compiler import Program

__all__ = ["compile"]


def compile(
    artifact: Annotated[
        Path | None, typer.Option(help="artifact file; the embedded one if left out")
    ] = None,
    rows: Annotated[int, typer.Option(help="rows of the array: 4, 8, 16 or 32")] = 16,
    cols: Annotated[int, typer.Option(help="columns of the array, as many as rows")] = 16,
    stream_words: Annotated[int, typer.Option(help="words of the stream scratchpad")] = 4096,
    code_words: Annotated[int, typer.Option(help="words of the code scratchpad")] = 4096,
    sum_chunks: Annotated[int, typer.Option(help="chunks whose channel sums are held")] = 64,
    listing: Annotated[bool, typer.Option("--listing", help="write and show listing.txt")] = False,
    out: Annotated[Path, typer.Option(help="folder to write")] = Path("out/program"),
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here")] = None,
) -> None:
    """Compile for an accelerator: program, weights and tables, a manifest and the memory plan."""
    import json

    from rich.console import Console

    from cosim.commands._progress import shown
    from cosim.memory_picture import write_memory_plan
    from golden.accelerator.compiler import compile_artifact
    from golden.accelerator.configuration import AcceleratorConfig
    from golden.accelerator.listing import listing as lines_of
    from golden.calibration.artifact import Artifact, embedded_artifact
    from golden.errors import UserError
    from golden.files import atomic_write, ensure_writable_folder

    if rows != cols:
        raise UserError(f"--rows {rows}, --cols {cols}: the array must be square; allowed: equal")
    config = AcceleratorConfig(
        size=rows, stream_words=stream_words, code_words=code_words, sum_chunks=sum_chunks
    )
    tables = embedded_artifact() if artifact is None else Artifact.load(artifact)
    ensure_writable_folder(out)
    if json_file is not None:
        ensure_writable_folder(json_file.parent)
    with shown() as progress:
        progress("compile", 0, 2)
        program = compile_artifact(tables, config)
        # a folder without a manifest is unfinished
        (out / "manifest.json").unlink(missing_ok=True)
        (out / "listing.txt").unlink(missing_ok=True)
        for name, content in program.regions.items():
            with atomic_write(out / f"{name}.bin") as temporary:
                temporary.write_bytes(content)
        progress("memory plan", 1, 2)
        write_memory_plan(out / "memory_plan.png", program)
        text = "\n".join(lines_of(program)) + "\n"
        if listing:
            with atomic_write(out / "listing.txt") as temporary:
                temporary.write_text(text, encoding="utf-8")
        record = manifest(program)
        for path in [out / "manifest.json", *([json_file] if json_file else [])]:
            with atomic_write(path) as temporary:
                temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    if listing:
        print(text, end="")
    used = record["used"]
    Console().print(
        f"{record['instructions']['step']} instructions a step, {used['stream_words']} of "
        f"{stream_words} stream words, {used['code_words']} of {code_words} code words: {out}"
    )


def manifest(program: "Program") -> dict[str, Any]:
    """What a host needs to run the program, and how full the memories are."""
    import dataclasses
    import hashlib

    from golden.accelerator.operations import Space

    plan = program.plan
    return {
        "format": 1,
        "configuration": dataclasses.asdict(program.header.config),
        "steps": program.header.steps,
        "boundaries": list(program.header.boundaries),
        "regions": {
            name: {
                "file": f"{name}.bin",
                "bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
            for name, content in program.regions.items()
        },
        "data_bytes": program.data_bytes,
        "data": {name: dataclasses.asdict(block) for name, block in program.data.items()},
        "instructions": {section.value: len(pairs) for section, pairs in program.listed.items()},
        "bands": program.bands,
        "used": {
            "stream_words": plan.peak(Space.STREAM),
            "code_words": plan.peak(Space.CODES),
            "sum_chunks": max((at + t.chunks for t, at in plan.sums.items()), default=0),
        },
    }
