"""Quality of a quantized network against its float one, row by row.

A row has the teacher-forced eps-SQNR of every step (mean and least), free-running images from the
same noise (PSNR ``10 log10(4 / mean squared error)``, errors averaged over images), and the
Fréchet distance of their features with the change from float and its interval.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
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
from golden.evaluation.drawing import (
    FloatDraw,
    FloatEps,
    IntegerDraw,
    drawn_by_workers,
    repeatable_float32,
)
from golden.evaluation.fid import FeatureNetwork, Reference, fid_change, frechet_distance
from golden.evaluation.image_store import ImageStore
from golden.evaluation.simulated import SimulatedUNet, table_bytes
from golden.evaluation.variants import Variant
from golden.evaluation.worker_pool import HERE, WorkerPool
from golden.files import atomic_write
from golden.network.checkpoint import Checkpoint
from golden.network.samplers import make_sampler
from golden.sampler import image_byte

__all__ = ["Evaluation", "Settings"]

Row = dict[str, Any]
Images = npt.NDArray[np.uint8]
Eps = Callable[[Tensor, int], Tensor]
Progress = Callable[[str, float], None]
CORRECTION_IMAGES = 16
FLOAT = "float"


def _real(images: npt.NDArray[Any]) -> npt.NDArray[np.floating]:
    """Images as real numbers: int16 ones are Q3.12."""
    return images / np.float64(1 << X_FRACTION) if images.dtype == np.int16 else images


def _to_bytes(images: npt.NDArray[Any]) -> Images:
    """Images as bytes: ``golden.sampler.image_byte``, or ``to_bytes`` of ``network.image``."""
    if images.dtype == np.int16:
        return image_byte(images)
    return np.clip(np.floor((images + 1) * 127.5 + 0.5), 0, 255).astype(np.uint8)


def _letters(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)


def _part_name(name: str, key: Row) -> str:
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return f"{_letters(name)}.{digest[:16]}"


def _row_name(variant: Variant, bits: int) -> str:
    return f"{variant.name}, {bits} bits"


@dataclass(frozen=True)
class _Model:
    """What a row is measured on. ``draw``: float x0 or int16 Q3.12; ``facts``: known beforehand."""

    name: str
    draw: Callable[[range], npt.NDArray[Any]]
    sqnr: Callable[[], npt.NDArray[np.float64]] | None
    facts: Row
    tables: Artifact | None = None


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
    """Rows of one network. ``folder``: finished rows are kept there and not computed again.

    ``workers`` draw the images; everything else is measured in this process.
    """

    checkpoint: Checkpoint
    artifact: Artifact
    settings: Settings
    features: FeatureNetwork | None = None
    reference: Reference | None = None
    folder: Path | None = None
    progress: Progress | None = None
    workers: WorkerPool = HERE
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
        repeatable_float32(str(self.device))

    def _tell(self, what: str, share: float) -> None:
        if self.progress is not None:
            self.progress(what, share)

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

    def statistics(self) -> Statistics:
        """Of the calibration seed, measured once."""
        if "statistics" not in self._float:
            self._float["statistics"] = collect(
                self.unet,
                self.sampler,
                self.settings.calibration_seed,
                range(self.settings.images),
                lambda share: self._tell("statistics", share),
            )
        return self._float["statistics"]

    def _store(self) -> ImageStore:
        s = self.settings
        return ImageStore(
            None if self.folder is None else self.folder / "parts", s.samples, s.batch
        )

    def _free(self, eps: Eps) -> FloatDraw:
        return FloatDraw(eps, self.sampler, self.settings.seed, self.shape, str(self.device))

    def _images(self, model: _Model) -> npt.NDArray[Any]:
        name, store = _part_name(model.name, self._key(model.tables)), self._store()

        def told(share: float) -> None:
            self._tell(f"{model.name}, images", share)

        if self.workers.client is None:
            return store.gather(name, model.draw, told)
        with TemporaryDirectory(prefix="stepscale-") as scratch:
            folder = store.folder or Path(scratch)
            spread = partial(drawn_by_workers, self.workers, folder)
            return store.gather(name, model.draw, told, spread)

    def _float_images(self) -> npt.NDArray[np.float32]:
        if "images" not in self._float:
            self._float["images"] = self._images(self._float_model())
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

    def _distance(self, images: Images) -> Row:
        names = ("fid", "fid_change", "fid_change_low", "fid_change_high", "fid_resolved")
        empty = dict.fromkeys(names)
        found = self._features_of(images)
        if found is None or self.reference is None or len(images) < 2:
            return empty
        if "features" not in self._float:
            self._float["features"] = self._features_of(_to_bytes(self._float_images()))
        own = self._float["features"]
        change = fid_change(own, found, self.reference, seed=self.settings.seed)
        values = (change.fid_b, change.change, change.low, change.high, change.resolved)
        return dict(zip(names, values, strict=True))

    def _key(self, tables: Artifact | None) -> Row:
        """What a kept row must have been measured with."""
        s = self.settings
        return {
            "checkpoint": self.checkpoint.sha256,
            "artifact": hashlib.sha256((tables or self.artifact).to_bytes()).hexdigest(),
            "features": None if self.features is None else self.features.sha256,
            "reference": None if self.reference is None else self.reference.features,
            "samples": s.samples,
            "images": s.images,
            "seed": s.seed,
            "calibration_seed": s.calibration_seed,
            "sqnr_images": s.sqnr_images,
            "batch": s.batch,
            "device": self.device.type,
        }

    def _path(self, name: str) -> Path | None:
        return None if self.folder is None else self.folder / f"{_letters(name)}.json"

    def _row(self, name: str, make: Callable[[], _Model], tables: Artifact | None = None) -> Row:
        """The row called ``name``: as kept from an earlier run, or measured now and kept."""
        path, key = self._path(name), self._key(tables)
        if path is not None and path.is_file():
            try:
                row = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise UserError(f"row {path}: is not JSON ({error}); delete it") from error
            if row.get("key") == key:
                return row
        model = make()
        row = {"name": name, **model.facts, **self._measure(model), "key": key}
        if path is not None:
            with atomic_write(path) as temporary:
                temporary.write_text(json.dumps(row, indent=2) + "\n", encoding="utf-8")
            if name != FLOAT:
                self._store().remove(_part_name(name, key))
        return row

    def _measure(self, model: _Model) -> Row:
        images = self._images(model)
        if model.sqnr is None:
            found = self._features_of(_to_bytes(images))
            fid = None
            if found is not None and self.reference is not None and len(found) > 1:
                fid = frechet_distance(found, self.reference)
            return {"fid": fid}
        decibels = model.sqnr()
        return {
            "eps_sqnr_db": [round(float(v), 2) for v in decibels],
            "eps_sqnr_db_mean": round(float(decibels.mean()), 3),
            "eps_sqnr_db_min": round(float(decibels.min()), 3),
            "psnr_db": self._psnr(images),
            **self._distance(_to_bytes(images)),
        }

    def _psnr(self, images: npt.NDArray[Any]) -> float:
        """Both saturated to [-1, 1], peak 2."""
        error = np.clip(_real(images), -1, 1) - np.clip(self._float_images(), -1, 1)
        return round(float(10 * np.log10(4 / max(float(np.square(error).mean()), 1e-12))), 3)

    def _float_model(self) -> _Model:
        facts = {"bits": None, "extra_macs": 0.0, "table_bytes": None}
        eps = FloatEps(self.unet, self.sampler.timesteps)
        return _Model(FLOAT, self._free(eps), None, facts)

    def _simulated(self, variant: Variant, bits: int) -> _Model:
        steps = self.artifact.steps
        edges = [0, *self.artifact.boundaries, steps]
        spans = {
            "dp": list(pairwise(edges)),
            "static": [(0, steps)],
            "step": [(i, i + 1) for i in range(steps)],
        }[variant.groups]
        config = self.checkpoint.config
        images = tuple(n for n, s in layers(config).items() if s.source == "image")
        wide = {"none": (), "first": images, "budget": self.artifact.wide}[variant.wide]
        statistics = self.statistics()
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
        count = len(spans)
        facts = {
            "bits": bits,
            "groups": count,
            "extra_macs": extra_macs(macs(config), wide if variant.code else ()),
            "table_bytes": table_bytes(
                self.unet, steps, count, variant.code, wide, variant.correction
            ),
        }
        name = _row_name(variant, bits)
        return _Model(name, self._free(model.eps), lambda: self._sqnr(model.eps), facts)

    def _integer(self, name: str, tables: Artifact) -> _Model:
        draw = IntegerDraw(tables, self.settings.seed, str(self.device))
        kept = ("weight", "gamma", "beta", "E")
        size = sum(
            t.nbytes for key, t in tables.tensors.items() if key.rsplit(".", 1)[-1] not in kept
        )
        facts = {
            "bits": 8,
            "groups": tables.groups,
            "extra_macs": extra_macs(macs(tables.config), tables.wide),
            "table_bytes": size,
        }
        return _Model(
            name,
            draw,
            lambda: eps_sqnr(draw.network, self._trajectories()),
            facts,
            tables,
        )

    def float_row(self) -> Row:
        """The float network: its Fréchet distance."""
        return self._row(FLOAT, self._float_model)

    def simulated_row(self, variant: Variant, bits: int) -> Row:
        """One row of simulated quantization."""
        return self._row(_row_name(variant, bits), lambda: self._simulated(variant, bits))

    def integer_row(self, name: str = "integer", artifact: Artifact | None = None) -> Row:
        """The integer network of an artifact, this evaluation's own by default."""
        tables = artifact or self.artifact
        return self._row(name, lambda: self._integer(name, tables), tables)

    def share(
        self,
        variants: Sequence[tuple[Variant, int]],
        artifacts: Mapping[str, Artifact],
        shard: int,
        shards: int,
    ) -> None:
        """Draw this process's part of the images of every row that is not finished.

        ``variants``: with their bits; ``artifacts``: by row name; process ``shard`` of ``shards``.
        """
        makers: list[tuple[str, Callable[[], _Model], Artifact | None]] = [
            (FLOAT, self._float_model, None)
        ]
        for variant, bits in variants:
            maker = partial(self._simulated, variant, bits)
            makers.append((_row_name(variant, bits), maker, None))
        for name, own in artifacts.items():
            makers.append((name, partial(self._integer, name, own), own))
        for name, make, tables in makers:
            path = self._path(name)
            if name == FLOAT or path is None or not path.is_file():
                part = _part_name(name, self._key(tables))
                self._store().fill(part, make().draw, shard, shards)

    def pictures(self, count: int) -> tuple[Images, Images]:
        """The first ``count`` float images and the integer model's, uint8 (count, C, H, W)."""
        images = range(count)
        network = self._integer("integer", self.artifact)
        return _to_bytes(self._float_model().draw(images)), _to_bytes(network.draw(images))

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
