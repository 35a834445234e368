"""The ablation at full size: one process a device draws its images, then one measures every row.

``python -m golden.evaluation.sharded --checkpoint C --artifact A --samples 10000 --devices
cuda:0,cuda:1 --out DIR``: process r of n draws batches r, r + n, ...; the same bytes and figures
whatever the number of processes. What is finished is kept in DIR and not drawn again.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from golden.calibration.artifact import Artifact, embedded_artifact
from golden.errors import UserError
from golden.evaluation.ablation import Evaluation, Settings
from golden.evaluation.report import markdown_table, measures, parse_bits, summary
from golden.evaluation.variants import chosen
from golden.files import atomic_write, ensure_writable_folder
from golden.network.checkpoint import embedded_checkpoint, load_checkpoint

__all__ = ["main"]


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m golden.evaluation.sharded")
    parser.add_argument("--checkpoint", type=Path, help="embedded if left out")
    parser.add_argument("--artifact", type=Path, help="embedded if left out")
    parser.add_argument(
        "--front",
        type=Path,
        action="append",
        default=[],
        help="another artifact of the network, one more integer row; can be repeated",
    )
    parser.add_argument("--samples", type=int, default=10000)
    parser.add_argument("--sqnr-images", type=int, default=64)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bits", default="8,7,6")
    parser.add_argument("--variants", default=None)
    parser.add_argument("--no-ablation", action="store_true")
    parser.add_argument("--devices", default="cpu", help="separated by commas")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shard", default=None, help="r/n: draw this part and end")
    return parser


def _run(arguments: Sequence[str]) -> None:
    options = _arguments().parse_args(arguments)
    devices = [d.strip() for d in options.devices.split(",") if d.strip()]
    if not devices:
        raise UserError("devices: none given")
    settings = Settings(
        samples=options.samples,
        seed=options.seed,
        sqnr_images=options.sqnr_images,
        images=options.images,
        batch=options.batch,
        device=devices[0],
    )
    widths = [] if options.no_ablation else parse_bits(options.bits)
    variants = [(v, b) for b in widths for v in chosen(options.variants)]
    load = options.checkpoint
    network = embedded_checkpoint() if load is None else load_checkpoint(load)
    tables = embedded_artifact() if options.artifact is None else Artifact.load(options.artifact)
    artifacts = {f"integer, {path.stem}": Artifact.load(path) for path in options.front}
    artifacts["integer"] = tables
    features, reference = measures(network.config, None, None, settings.device)
    ensure_writable_folder(options.out)
    evaluation = Evaluation(network, tables, settings, features, reference, options.out)
    if options.shard is not None:
        shard, shards = (int(v) for v in options.shard.split("/"))
        evaluation.share(variants, artifacts, shard, shards)
        return
    started = time.perf_counter()
    if len(devices) > 1:
        _spread(arguments, devices)
        print(f"images of {len(devices)} processes: {time.perf_counter() - started:.0f} s")
    rows = [evaluation.float_row()]
    for variant, bits in variants:
        rows.append(evaluation.simulated_row(variant, bits))
        print(f"{time.perf_counter() - started:6.0f} s  {rows[-1]['name']}", flush=True)
    rows += [evaluation.integer_row(name, found) for name, found in artifacts.items()]
    report = summary(evaluation, rows)
    with atomic_write(options.out / "report.json") as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(markdown_table(report))


def _spread(arguments: Sequence[str], devices: Sequence[str]) -> None:
    """Run one process a device and wait; ``UserError`` if one fails, after all have ended."""
    base = [sys.executable, "-m", "golden.evaluation.sharded", *arguments]
    processes = [
        subprocess.Popen([*base, "--devices", device, "--shard", f"{r}/{len(devices)}"])
        for r, device in enumerate(devices)
    ]
    failed = [r for r, process in enumerate(processes) if process.wait() != 0]
    if failed:
        lost = ", ".join(f"{r} ({devices[r]})" for r in failed)
        raise UserError(f"process {lost} failed; run the same line again to go on from there")


def main() -> int:
    """Run the command line; 0 done, 2 bad input."""
    try:
        _run(sys.argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
