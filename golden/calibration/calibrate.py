"""From a trained network to an artifact: measure, partition, quantize, round, correct, report.

float trajectories -> statistics of every edge and step -> timestep groups by dynamic programming,
weighted by what each step means for the image -> scales and region codes -> 12-bit edges within a
budget of multiplications -> weights rounded for least output error -> bias of every step -> once
more on the integer model's own trajectories -> eps-SQNR on other seeds. The same arguments give the
same bytes on a CPU, on any number of threads.
"""

import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from golden.calibration.artifact import Artifact
from golden.calibration.bias import base_biases, corrections, round_biases
from golden.calibration.groups import (
    group_of,
    optimal_partition,
    partition_error,
    uniform_boundaries,
)
from golden.calibration.quality import eps_sqnr, group_summary
from golden.calibration.ranges import total_cost, with_rare_noise
from golden.calibration.rounding import input_covariances, round_weight
from golden.calibration.sensitivity import image_sensitivity
from golden.calibration.tables import (
    Tables,
    build_tables,
    mixed,
    real_weight,
    sampler_tables,
    stream_fraction,
    weight_steps,
)
from golden.calibration.topology import WIDE_DEFAULT, LayerSpec, edge_kind, layers, macs
from golden.calibration.trajectories import Statistics, Trajectories, collect, run_float
from golden.calibration.wide import can_be_wide, choose, edge_noise, extra_macs
from golden.errors import UserError
from golden.integer.network import IntegerNetwork
from golden.network.checkpoint import Checkpoint
from golden.network.samplers import START, Sampler, make_sampler, noise_q12
from golden.threads import spread

__all__ = ["Options", "Progress", "calibrate", "noise_sha256"]

Progress = Callable[[str, float], None]
"""Called with the name of the stage and the share of it that is done, 0..1."""

Float64 = npt.NDArray[np.float64]
COVARIANCE_IMAGES = 8
PROBE_IMAGES = 4
PROBE_STEPS = 12
BUDGET_DEFAULT = 0.05


@dataclass(frozen=True)
class Options:
    """What decides the result, beside the network.

    Calibrates on images 0..``images``-1 of ``seed``; figures are measured on ``report_images``
    images of ``seed + 1`` (0: no figures). ``wide``: layers whose input has 12 bits; ``None``:
    chosen within ``budget``, the share of multiplications that second passes may add. ``rounding``:
    ``output`` (least output error) or ``nearest``. ``bias_correction``, ``second_pass`` (correction
    on the integer model's own trajectories) and ``weighted_groups`` can be turned off to see what
    they are worth. ``UserError`` for values that cannot be.
    """

    steps: int = 50
    sampler: str = "ddim"
    groups: int = 8
    seed: int = 0
    images: int = 32
    report_images: int = 16
    wide: tuple[str, ...] | None = None
    budget: float = BUDGET_DEFAULT
    rounding: str = "output"
    bias_correction: bool = True
    second_pass: bool = True
    weighted_groups: bool = True
    device: str = "cpu"

    def __post_init__(self) -> None:
        for what, value, least in (
            ("images", self.images, 1),
            ("report images", self.report_images, 0),
            ("seed", self.seed, 0),
        ):
            if value < least:
                raise UserError(f"{what}: {value}; allowed: {least} or more")
        if not 0 <= self.budget <= 1:
            raise UserError(f"budget: {self.budget}; allowed: 0..1, a share of all MACs")
        if self.rounding not in {"output", "nearest"}:
            raise UserError(f"rounding: {self.rounding!r}; allowed: output, nearest")

    def check_wide(self, specs: dict[str, LayerSpec]) -> None:
        """``UserError`` if ``wide`` names what this network has not, or cannot widen."""
        unknown = sorted(set(self.wide or ()) - specs.keys())
        if unknown:
            raise UserError(f"wide edge {unknown[0]}: no such layer; allowed: {', '.join(specs)}")
        for spec in specs.values():
            edge_kind(spec, self.wide or ())


def noise_sha256(seed: int, images: int, shape: tuple[int, ...]) -> str:
    """Hash of the starting noise of images 0..images-1, int16 little-endian."""
    digest = hashlib.sha256()
    for image in range(images):
        digest.update(noise_q12(seed, image, START, shape).astype("<i2").tobytes())
    return digest.hexdigest()


def calibrate(
    checkpoint: Checkpoint, options: Options | None = None, progress: Progress | None = None
) -> Artifact:
    """Quantize a network for one sampler and step count.

    ``UserError`` for options that this network does not have, before anything is computed.
    """
    return _Calibration(checkpoint, options or Options(), progress).run()


class _Calibration:
    """The stages, in order; each leaves what the next one needs."""

    def __init__(self, checkpoint: Checkpoint, options: Options, progress: Progress | None) -> None:
        self.checkpoint, self.options, self.progress = checkpoint, options, progress
        self.config = checkpoint.config
        self.specs = layers(self.config)
        options.check_wide(self.specs)
        self.sampler: Sampler = make_sampler(options.sampler, checkpoint.scheduler, options.steps)
        self.uniform = uniform_boundaries(options.steps, options.groups)
        self.sampler_tables = sampler_tables(self.sampler)
        self.device = torch.device(options.device)
        self.unet = checkpoint.unet
        if self.device.type != "cpu":
            self.unet = copy.deepcopy(checkpoint.unet).to(self.device)

    def _stage(self, name: str) -> Callable[[float], None]:
        def report(share: float) -> None:
            if self.progress is not None:
                self.progress(name, share)

        return report

    def run(self) -> Artifact:
        """All stages."""
        o = self.options
        statistics = collect(
            self.unet, self.sampler, o.seed, range(o.images), self._stage("trajectories")
        )
        statistics = with_rare_noise(statistics, self.specs, self.sampler)
        figures = self._partition(statistics)
        self.fraction = stream_fraction(statistics.stream_peak)
        x = statistics.trajectories.x
        wide = o.wide
        if wide is None:
            wide, tables, found = self._choose_wide(statistics)
            figures |= found
        else:
            tables = build_tables(self.unet, statistics, self.spans, wide, self.fraction)
        artifact = self._artifact(tables, wide)
        if o.rounding == "output":
            artifact = self._correct(
                artifact, tables, x[:, :COVARIANCE_IMAGES], "bias before rounding"
            )
            artifact = self._round(artifact, tables, x[:, :COVARIANCE_IMAGES])
        artifact = self._correct(artifact, tables, x, "bias correction")
        if o.second_pass and o.bias_correction:
            own = self._own_trajectories(artifact)
            artifact = self._correct(artifact, tables, own, "second bias correction")
        figures |= {
            "stream_peak": statistics.stream_peak,
            "extra_macs": extra_macs(macs(self.config), artifact.wide),
        }
        if o.report_images:
            figures |= self._quality(artifact)
        return artifact.replace(provenance={**artifact.provenance, "figures": figures})

    def _partition(self, statistics: Statistics) -> dict[str, Any]:
        """Timestep groups."""
        o = self.options
        weights: Float64 = np.ones(o.steps)
        if o.weighted_groups and o.groups > 1:
            weights = image_sensitivity(
                self.unet,
                self.sampler,
                statistics.trajectories,
                o.seed,
                progress=self._stage("sensitivity of the image"),
            )
        always = o.wide if o.wide is not None else WIDE_DEFAULT
        cost = total_cost(statistics, self.specs, always, weights)
        partition = optimal_partition(cost, o.groups)
        self.boundaries = partition.boundaries
        self.spans = partition.spans(o.steps)
        self.group = [group_of(partition.boundaries, i) for i in range(o.steps)]
        return {
            "group_error": partition.error,
            "group_error_uniform": partition_error(cost, self.uniform),
            "uniform_boundaries": list(self.uniform),
            "image_sensitivity": [round(float(w), 4) for w in weights],
        }

    def _artifact(self, tables: Tables, wide: tuple[str, ...]) -> Artifact:
        """Everything but the biases, which are the float network's."""
        o, checkpoint = self.options, self.checkpoint
        self.base = base_biases(self.unet, self.sampler.timesteps, tables.output_steps, self.group)
        zero = {name: np.zeros_like(values) for name, values in self.base.items()}
        shape = (self.config.in_channels, *self.config.sample_size)
        return Artifact(
            config=self.config,
            checkpoint_sha256=checkpoint.sha256,
            sampler=o.sampler,
            steps=o.steps,
            boundaries=self.boundaries,
            stream_fraction=self.fraction,
            wide=tuple(name for name in self.specs if name in wide),
            tensors={**tables.tensors, **round_biases(self.base, zero), **self.sampler_tables},
            provenance={
                "scheduler": checkpoint.scheduler.to_dict(),
                "timesteps": list(self.sampler.timesteps),
                "calibration": {
                    "seed": o.seed,
                    "images": o.images,
                    "rounding": o.rounding,
                    "bias_correction": o.bias_correction,
                    "second_pass": o.second_pass,
                    "weighted_groups": o.weighted_groups,
                    "budget": o.budget if o.wide is None else None,
                },
                "reference_noise": {
                    "seed": o.seed + 1,
                    "images": o.report_images,
                    "sha256": noise_sha256(o.seed + 1, o.report_images, shape),
                },
            },
        )

    def _correct(
        self, artifact: Artifact, tables: Tables, x: npt.NDArray[np.int16], stage: str
    ) -> Artifact:
        if not self.options.bias_correction:
            return artifact
        found = corrections(
            self.unet,
            artifact,
            x,
            self.base,
            tables.output_steps,
            self.sampler.timesteps,
            self._stage(stage),
        )
        return artifact.replace(tensors={**artifact.tensors, **round_biases(self.base, found)})

    def _choose_wide(
        self, statistics: Statistics
    ) -> tuple[tuple[str, ...], Tables, dict[str, Any]]:
        """Layers to read in 12 bits, their tables, and the measured noise behind the choice."""
        always = tuple(name for name, spec in self.specs.items() if spec.source == "image")
        counts = macs(self.config)
        left = self.options.budget * sum(counts.values()) - sum(counts[name] for name in always)
        every = tuple(
            name
            for name, spec in self.specs.items()
            if name in always or (can_be_wide(spec) and counts[name] <= left)
        )
        trajectories = statistics.trajectories
        images = slice(0, PROBE_IMAGES)
        probe = Trajectories(trajectories.x[:, images], trajectories.eps[:, images])
        narrow, broad = (
            build_tables(self.unet, statistics, self.spans, wide, self.fraction)
            for wide in (always, every)
        )
        artifact = self._artifact(broad, every)
        artifact = self._correct(artifact, broad, probe.x, "bias of wide edges")
        steps = np.unique(np.linspace(0, self.options.steps - 1, PROBE_STEPS).round().astype(int))
        floor, noise = edge_noise(
            artifact,
            narrow.tensors,
            broad.tensors,
            probe,
            [int(step) for step in steps],
            self.device,
            self._stage("noise of each edge"),
        )
        picked = choose(floor, noise, counts, self.options.budget, always)
        total = floor + sum(noise.values())
        figures = {
            "edge_noise": {
                name: {
                    "share": round(float(np.mean(own / total)), 5),
                    "extra_macs": round(counts[name] / sum(counts.values()), 5),
                    "wide": name in picked,
                }
                for name, own in noise.items()
            },
            "picked": picked,
        }
        wide = (*always, *picked)
        return wide, mixed(narrow, broad, wide), figures

    def _round(self, artifact: Artifact, tables: Tables, x: npt.NDArray[np.int16]) -> Artifact:
        """The artifact with weights of least output error."""
        report = self._stage("weights")
        covariances = input_covariances(
            artifact,
            tables.operand_steps,
            x,
            set(self.specs),
            self.options.seed,
            self.device,
            lambda share: report(share / 2),
        )

        def rounded(spec: LayerSpec) -> npt.NDArray[np.int8]:
            weight = real_weight(self.unet, spec)
            return round_weight(weight, weight_steps(weight), covariances.pop(spec.name))

        tensors = dict(artifact.tensors)
        for count, weight in enumerate(spread(rounded, self.specs.values())):
            tensors[f"{list(self.specs)[count]}.weight"] = weight
            report((1 + (count + 1) / len(self.specs)) / 2)
        return artifact.replace(tensors=tensors)

    def _own_trajectories(self, artifact: Artifact) -> npt.NDArray[np.int16]:
        """x_t that the integer model itself meets, (T, N, C, H, W)."""
        o, report = self.options, self._stage("own trajectories")
        network = IntegerNetwork(artifact, self.device)
        images = range(o.images)
        x = network.start(o.seed, images)
        steps = []
        for step in range(o.steps):
            steps.append(x.cpu().numpy())
            x = network.step(x, step, o.seed, images)
            report((step + 1) / o.steps)
        return np.stack(steps)

    def _quality(self, artifact: Artifact) -> dict[str, Any]:
        o = self.options
        reference = run_float(
            self.unet,
            self.sampler,
            o.seed + 1,
            range(o.report_images),
            self._stage("report trajectories"),
        )
        network = IntegerNetwork(artifact, self.device)
        decibels = eps_sqnr(network, reference, self._stage("report"))
        return {
            "eps_sqnr_db": [round(float(value), 3) for value in decibels],
            "eps_sqnr_db_mean": round(float(decibels.mean()), 3),
            "eps_sqnr_db_min": round(float(decibels.min()), 3),
            "groups": group_summary(decibels, self.spans),
        }
