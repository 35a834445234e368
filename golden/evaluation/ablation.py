"""Quality of a quantized network against its float one, row by row.

A row has the teacher-forced eps-SQNR of every step (mean and least), free-running images from the
same noise (PSNR ``10 log10(4 / mean squared error)``, errors averaged over images), and the
Fréchet distance of their features with the change from float and its interval.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from golden.calibration.artifact import Artifact
from golden.calibration.quality import eps_sqnr
from golden.calibration.topology import layers, macs
from golden.calibration.trajectories import X_FRACTION, Statistics, Trajectories, collect, run_float
from golden.calibration.wide import extra_macs
from golden.errors import UserError
from golden.evaluation.fid import FeatureNetwork, Reference, fid_change, frechet_distance
from golden.evaluation.simulated import SimulatedUNet, table_bytes
from golden.evaluation.variants import Variant
from golden.files import atomic_write
from golden.integer.network import IntegerNetwork
from golden.network.checkpoint import Checkpoint
from golden.network.image import to_bytes
from golden.network.samplers import make_sampler, sample
from golden.sampler import image_byte

__all__ = ["Evaluation", "Settings"]

Images = npt.NDArray[np.uint8]
Eps = Callable[[Tensor, int], Tensor]
Progress = Callable[[str, float], None]
CORRECTION_IMAGES = 16


@dataclass(frozen=True)
class Settings:
    """What is measured. ``calibration_seed`` and ``seed`` differ: the one fits, the other reports.

    ``samples``: free-running images; ``sqnr_images``: of the teacher-forced trajectories;
    ``batch``: images at a time.
    """

    samples: int = 64
    seed: int = 1
    calibration_seed: int = 0
    sqnr_images: int = 16
    images: int = 32
    batch: int = 64
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name, low in (("samples", 1), ("sqnr_images", 1), ("images", 1), ("batch", 1)):
            if getattr(self, name) < low:
                raise UserError(f"{name}: {getattr(self, name)}; allowed: {low} or more")
        if self.seed == self.calibration_seed:
            raise UserError(f"seed: {self.seed} is the calibration's; take another for the report")


@dataclass
class Evaluation:
    """Rows of one network. ``folder``: finished rows are kept there and not computed again."""

    checkpoint: Checkpoint
    artifact: Artifact
    settings: Settings
    features: FeatureNetwork | None = None
    reference: Reference | None = None
    folder: Path | None = None
    progress: Progress | None = None
    _float: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.artifact.checkpoint_sha256 != self.checkpoint.sha256:
            was, now = self.artifact.checkpoint_sha256[:12], self.checkpoint.sha256[:12]
            raise UserError(f"artifact was made from checkpoint {was}..., not from {now}...")
        self.device = torch.device(self.settings.device)
        self.sampler = make_sampler(
            self.artifact.sampler, self.checkpoint.scheduler, self.artifact.steps
        )
        config = self.checkpoint.config
        self.shape = (config.in_channels, *config.sample_size)
        self.unet = self.checkpoint.unet.to(self.device)

    def _tell(self, what: str, share: float) -> None:
        if self.progress is not None:
            self.progress(what, share)

    def _ranges(self) -> Iterator[range]:
        s = self.settings
        for first in range(0, s.samples, s.batch):
            yield range(first, min(first + s.batch, s.samples))

    def _trajectories(self) -> Trajectories:
        if "trajectories" not in self._float:
            self._float["trajectories"] = run_float(
                self.unet,
                self.sampler,
                self.settings.seed,
                range(self.settings.sqnr_images),
                lambda share: self._tell("float trajectories", share),
            )
        return self._float["trajectories"]

    def _statistics(self) -> Statistics:
        if "statistics" not in self._float:
            self._float["statistics"] = collect(
                self.unet,
                self.sampler,
                self.settings.calibration_seed,
                range(self.settings.images),
                lambda share: self._tell("statistics", share),
            )
        return self._float["statistics"]

    def _free(self, what: str, eps: Eps) -> npt.NDArray[np.float32]:
        """Images of a float model, all of them, (samples, C, H, W)."""
        step_of = {timestep: step for step, timestep in enumerate(self.sampler.timesteps)}
        parts = []
        for images in self._ranges():
            x = sample(
                lambda x, t: eps(x, step_of[int(t[0])]),
                self.sampler,
                self.settings.seed,
                images,
                self.shape,
                device=self.device,
            )
            parts.append(x.cpu().numpy())
            self._tell(what, images.stop / self.settings.samples)
        return np.concatenate(parts)

    def _float_images(self) -> npt.NDArray[np.float32]:
        if "images" not in self._float:

            def eps(x: Tensor, step: int) -> Tensor:
                return self.unet(
                    x, torch.full((len(x),), self.sampler.timesteps[step]).to(x.device)
                )

            self._float["images"] = self._free("float images", eps)
        return self._float["images"]

    def _features_of(self, images: Images) -> Tensor | None:
        if self.features is None:
            return None
        batch = 500
        parts = [
            self.features(torch.from_numpy(images[i : i + batch]))
            for i in range(0, len(images), batch)
        ]
        return torch.cat(parts).cpu()

    def _distance(self, images: Images) -> dict[str, Any]:
        names = ("fid", "fid_change", "fid_change_low", "fid_change_high", "fid_resolved")
        empty = dict.fromkeys(names)
        found = self._features_of(images)
        if found is None or self.reference is None or len(images) < 2:
            return empty
        if "features" not in self._float:
            self._float["features"] = self._features_of(to_bytes(self._float_images()))
        own = self._float["features"]
        change = fid_change(own, found, self.reference, seed=self.settings.seed)
        values = (change.fid_b, change.change, change.low, change.high, change.resolved)
        return dict(zip(names, values, strict=True))

    def _key(self) -> dict[str, Any]:
        """What a kept row must have been measured with."""
        s = self.settings
        return {
            "checkpoint": self.checkpoint.sha256,
            "artifact": self.artifact.checkpoint_sha256[:8] + str(len(self.artifact.to_bytes())),
            "samples": s.samples,
            "seed": s.seed,
            "calibration_seed": s.calibration_seed,
            "sqnr_images": s.sqnr_images,
        }

    def _kept(self, name: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The row called ``name``: as kept from an earlier run, or measured now and kept."""
        letters = "".join(c if c.isalnum() else "_" for c in name)
        path = None if self.folder is None else self.folder / f"{letters}.json"
        if path is not None and path.is_file():
            row = json.loads(path.read_text(encoding="utf-8"))
            if row.get("key") == self._key():
                return row
        row = {"name": name, **measure(), "key": self._key()}
        if path is not None:
            with atomic_write(path) as temporary:
                temporary.write_text(json.dumps(row, indent=2) + "\n", encoding="utf-8")
        return row

    def _quality(
        self, decibels: npt.NDArray[np.float64], images: Images, psnr: float
    ) -> dict[str, Any]:
        return {
            "eps_sqnr_db": [round(float(v), 2) for v in decibels],
            "eps_sqnr_db_mean": round(float(decibels.mean()), 3),
            "eps_sqnr_db_min": round(float(decibels.min()), 3),
            "psnr_db": psnr,
            **self._distance(images),
        }

    def _psnr(self, images: npt.NDArray[Any]) -> float:
        """Both saturated to [-1, 1], peak 2."""
        error = np.clip(images, -1, 1) - np.clip(self._float_images(), -1, 1)
        return round(float(10 * np.log10(4 / max(float(np.square(error).mean()), 1e-12))), 3)

    def float_row(self) -> dict[str, Any]:
        """The float network: its Fréchet distance."""

        def measure() -> dict[str, Any]:
            found = self._features_of(to_bytes(self._float_images()))
            fid = None
            if found is not None and self.reference is not None and len(found) > 1:
                fid = frechet_distance(found, self.reference)
            return {"bits": None, "fid": fid, "extra_macs": 0.0, "table_bytes": None}

        return self._kept("float", measure)

    def simulated_row(self, variant: Variant, bits: int) -> dict[str, Any]:
        """One row of simulated quantization."""

        def measure() -> dict[str, Any]:
            steps = self.artifact.steps
            edges = [0, *self.artifact.boundaries, steps]
            spans = {
                "dp": list(pairwise(edges)),
                "static": [(0, steps)],
                "step": [(i, i + 1) for i in range(steps)],
            }[variant.groups]
            images = tuple(
                n for n, s in layers(self.checkpoint.config).items() if s.source == "image"
            )
            wide = {"none": (), "first": images, "budget": self.artifact.wide}[variant.wide]
            statistics = self._statistics()
            model = SimulatedUNet(
                self.unet,
                statistics,
                self.sampler.timesteps,
                bits=bits,
                code=variant.code,
                spans=spans,
                wide=wide,
                device=self.device,
            )
            if variant.correction:
                model.correct(self.unet, statistics.trajectories.x[:, :CORRECTION_IMAGES])
            free = self._free(f"{variant.name}, {bits} bits", model.eps)
            counts = macs(self.checkpoint.config)
            return {
                "bits": bits,
                "groups": len(spans),
                "extra_macs": extra_macs(counts, wide if variant.code else ()),
                "table_bytes": table_bytes(
                    self.unet, steps, len(spans), variant.code, wide, variant.correction
                ),
                **self._quality(self._sqnr(model.eps), to_bytes(free), self._psnr(free)),
            }

        return self._kept(f"{variant.name}, {bits} bits", measure)

    def _sqnr(self, eps: Eps) -> npt.NDArray[np.float64]:
        reference = self._trajectories()
        result = np.zeros(len(reference.x))
        for step, codes in enumerate(reference.x):
            x = torch.from_numpy(codes.astype(np.float32) / np.float32(1 << X_FRACTION))
            got = eps(x.to(self.device), step).cpu().double().numpy()
            real = reference.eps[step].astype(np.float64)
            noise = float(np.square(real - got).sum())
            result[step] = 10 * np.log10(float(np.square(real).sum()) / max(noise, 1e-30))
        return result

    def integer_row(
        self, name: str = "integer", artifact: Artifact | None = None
    ) -> dict[str, Any]:
        """The integer network of an artifact, this evaluation's own by default."""
        tables = artifact or self.artifact

        def measure() -> dict[str, Any]:
            network = IntegerNetwork(tables, self.device)
            parts = []
            for images in self._ranges():
                parts.append(network.sample(self.settings.seed, images))
                self._tell(f"{name} images", images.stop / self.settings.samples)
            codes = np.concatenate(parts)
            kept = ("weight", "gamma", "beta", "E")
            size = sum(
                t.nbytes for key, t in tables.tensors.items() if key.rsplit(".", 1)[-1] not in kept
            )
            return {
                "bits": 8,
                "groups": tables.groups,
                "extra_macs": extra_macs(macs(tables.config), tables.wide),
                "table_bytes": size,
                **self._quality(
                    eps_sqnr(network, self._trajectories()),
                    image_byte(codes),
                    self._psnr(codes / np.float64(1 << X_FRACTION)),
                ),
            }

        return self._kept(name, measure)
