"""From a trained network to an artifact: measure, partition, quantize, correct, report.

float trajectories -> statistics of every edge and step -> timestep groups by dynamic programming
-> scales, region codes and int8 weights -> bias correction, group by group -> eps-SQNR on other
seeds. The same arguments give the same bytes.
"""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from golden.calibration.artifact import Artifact
from golden.calibration.bias import base_biases, corrections, round_biases
from golden.calibration.groups import (
    group_of,
    optimal_partition,
    partition_error,
    uniform_boundaries,
)
from golden.calibration.quality import eps_sqnr, group_summary
from golden.calibration.ranges import total_cost
from golden.calibration.tables import build_tables, sampler_tables, stream_fraction
from golden.calibration.topology import WIDE_DEFAULT, edge_kind, layers
from golden.calibration.trajectories import Trajectories, collect, run_float
from golden.errors import UserError
from golden.integer.network import IntegerNetwork
from golden.network.checkpoint import Checkpoint
from golden.network.samplers import START, make_sampler, noise_q12

__all__ = ["Progress", "calibrate", "noise_sha256"]

Progress = Callable[[str, float], None]
"""Called with the name of the stage and the share of it that is done, 0..1."""

IMAGES = 32
REPORT_IMAGES = 16


def noise_sha256(seed: int, images: int, shape: tuple[int, ...]) -> str:
    """Hash of the starting noise of images 0..images-1, int16 little-endian."""
    digest = hashlib.sha256()
    for image in range(images):
        digest.update(noise_q12(seed, image, START, shape).astype("<i2").tobytes())
    return digest.hexdigest()


def calibrate(
    checkpoint: Checkpoint,
    *,
    steps: int = 50,
    sampler: str = "ddim",
    groups: int = 8,
    seed: int = 0,
    images: int = IMAGES,
    report_images: int = REPORT_IMAGES,
    wide: tuple[str, ...] = WIDE_DEFAULT,
    progress: Progress | None = None,
) -> Artifact:
    """Quantize a network for one sampler and step count.

    Calibrates on images 0..images-1 of ``seed``; figures are measured on ``report_images`` images
    of ``seed + 1`` (0: no figures). ``wide``: layers whose input has 12 bits. ``UserError`` for
    arguments that cannot be, before anything is computed.
    """
    unet, specs = checkpoint.unet, layers(checkpoint.config)
    schedule = make_sampler(sampler, checkpoint.scheduler, steps)
    uniform = uniform_boundaries(steps, groups)
    for what, value, least in (("images", images, 1), ("report images", report_images, 0)):
        if value < least:
            raise UserError(f"{what}: {value}; allowed: {least} or more")
    unknown = sorted(set(wide) - specs.keys())
    if unknown:
        raise UserError(f"wide edge {unknown[0]}: no such layer; allowed: {', '.join(specs)}")
    for spec in specs.values():
        edge_kind(spec, wide)

    def stage(name: str) -> Callable[[float], None]:
        def report(share: float) -> None:
            if progress is not None:
                progress(name, share)

        return report

    statistics = collect(unet, schedule, seed, range(images), stage("trajectories"))
    cost = total_cost(statistics, specs, wide)
    partition = optimal_partition(cost, groups)
    spans = partition.spans(steps)
    group = [group_of(partition.boundaries, i) for i in range(steps)]
    fraction = stream_fraction(statistics.stream_peak)
    tables = build_tables(unet, statistics, spans, wide, fraction)
    base = base_biases(unet, schedule.timesteps, tables.output_steps, group)
    empty = {f"{name}.b": np.zeros(values.shape, dtype=np.int16) for name, values in base.items()}
    shape = (checkpoint.config.in_channels, *checkpoint.config.sample_size)
    artifact = Artifact(
        config=checkpoint.config,
        checkpoint_sha256=checkpoint.sha256,
        sampler=sampler,
        steps=steps,
        boundaries=partition.boundaries,
        stream_fraction=fraction,
        wide=tuple(name for name in specs if name in wide),
        tensors={**tables.tensors, **empty, **sampler_tables(schedule)},
        provenance={
            "scheduler": checkpoint.scheduler.to_dict(),
            "timesteps": list(schedule.timesteps),
            "calibration": {"seed": seed, "images": images},
            "reference_noise": {
                "seed": seed + 1,
                "images": report_images,
                "sha256": noise_sha256(seed + 1, report_images, shape),
            },
        },
    )
    correction = corrections(
        unet,
        artifact,
        statistics.trajectories.x,
        base,
        tables.output_steps,
        schedule.timesteps,
        stage("bias correction"),
    )
    artifact = artifact.replace(tensors={**artifact.tensors, **round_biases(base, correction)})
    figures: dict[str, Any] = {
        "group_error": partition.error,
        "group_error_uniform": partition_error(cost, uniform),
        "uniform_boundaries": list(uniform),
        "stream_peak": statistics.stream_peak,
    }
    if report_images:
        reference = run_float(
            unet, schedule, seed + 1, range(report_images), stage("report trajectories")
        )
        figures |= _quality(artifact, reference, spans, stage("report"))
    return artifact.replace(provenance={**artifact.provenance, "figures": figures})


def _quality(
    artifact: Artifact,
    reference: Trajectories,
    spans: list[tuple[int, int]],
    progress: Callable[[float], None],
) -> dict[str, Any]:
    decibels = eps_sqnr(IntegerNetwork(artifact), reference, progress)
    return {
        "eps_sqnr_db": [round(float(value), 3) for value in decibels],
        "eps_sqnr_db_mean": round(float(decibels.mean()), 3),
        "eps_sqnr_db_min": round(float(decibels.min()), 3),
        "groups": group_summary(decibels, spans),
    }
