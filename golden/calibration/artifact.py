"""The artifact: everything that the integer network needs, in integers, and where it came from.

Group of sampler step i (0..T-1, execution order): the number of boundaries <= i. Per layer,
``y = sat(rsh(acc * M[group], n[group]) + b[i])``. What a field means stands in docs/artifact.md.
"""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from golden.calibration.artifact_checks import (
    check_attention,
    check_layer,
    check_norm,
    check_sampler,
    check_table,
    overflow_bounds,
)
from golden.calibration.artifact_file import canonical_json, pack, unpack
from golden.calibration.groups import group_of
from golden.calibration.topology import (
    LayerSpec,
    attentions,
    edge_kind,
    layers,
    norm_sizes,
    norms,
)
from golden.errors import UserError
from golden.files import atomic_write
from golden.network.config import UNetConfig
from golden.network.presets import EMBEDDED
from golden.network.samplers import SAMPLERS

__all__ = ["Artifact", "embedded_artifact"]

FRACTION_RANGE = (4, 12)
Tensors = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Artifact:
    """Tables of one network for one sampler and step count.

    ``tensors``: by name, ``<layer>.weight`` int8 (Cout, Cin, kh, kw), ``<layer>.M`` uint16 and
    ``.n`` uint8 (G, Cout), ``<layer>.b`` int16 (T, Cout), ``<layer>.silu.M0`` uint16, ``.n0``,
    ``.z``, ``.k`` uint8 (G,), ``<layer>.edge.M`` uint16, ``.n``, ``.k`` uint8 (G, segments),
    ``<norm>.gamma``, ``.beta`` int16 (C,), ``.E`` int64 (1,), ``<attention>.logit.M``,
    ``.value.M`` uint16, ``.n`` uint8 (G,), ``sampler.coefficients`` int32 (T, 6),
    ``sampler.reach`` int32 (1,). ``wide``: layers whose edge has 12 bits. ``provenance``: JSON
    that is kept, not interpreted: scheduler, seeds, hash of the reference noise, figures.

    ``UserError`` from the constructor if anything is missing, out of range or not proven.
    """

    config: UNetConfig
    checkpoint_sha256: str
    sampler: str
    steps: int
    boundaries: tuple[int, ...]
    stream_fraction: int
    wide: tuple[str, ...]
    tensors: Tensors
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check_origin()
        self._check_boundaries()
        low, high = FRACTION_RANGE
        if not low <= self.stream_fraction <= high:
            raise UserError(f"stream_fraction: {self.stream_fraction}; allowed: {low}..{high}")
        unknown = sorted(set(self.wide) - self.layers.keys())
        if unknown:
            raise UserError(f"wide: {unknown[0]} is no layer of this network")
        if len(set(self.wide)) < len(self.wide):
            raise UserError(f"wide: {list(self.wide)} names a layer twice")
        expected = self._expected()
        for name in sorted(expected.keys() | self.tensors.keys()):
            if name not in self.tensors:
                raise UserError(f"tensor {name}: is missing")
            if name not in expected:
                raise UserError(f"tensor {name}: does not belong to this network")
            check_table(name, self.tensors[name], *expected[name])
        for spec in self.layers.values():
            check_layer(spec, self.kind(spec.name), self.tensors)
        for name, elements in self.norms.items():
            check_norm(name, elements, self.tensors)
        sizes = norm_sizes(self.config)
        for name in attentions(self.layers):
            height, width = sizes[f"{name}.group_norm"]
            check_attention(name, height * width, self.tensors)
        check_sampler(self.tensors)

    def _check_origin(self) -> None:
        if self.sampler not in SAMPLERS:
            raise UserError(f"sampler: {self.sampler!r}; allowed: {', '.join(SAMPLERS)}")
        if re.fullmatch("[0-9a-f]{64}", self.checkpoint_sha256) is None:
            raise UserError(
                f"checkpoint_sha256: {self.checkpoint_sha256!r}; allowed: 64 digits 0-9, a-f"
            )
        inputs, outputs = self.config.in_channels, self.config.out_channels
        if inputs != outputs:
            raise UserError(f"config: out_channels {outputs}; allowed: in_channels, {inputs}")

    def _check_boundaries(self) -> None:
        if self.steps < 1:
            raise UserError(f"steps: {self.steps}; allowed: 1 or more")
        edges = (0, *self.boundaries, self.steps)
        if any(a >= b for a, b in pairwise(edges)):
            raise UserError(
                f"boundaries: {list(self.boundaries)} must increase strictly in 1..{self.steps - 1}"
            )

    def _expected(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Dtype and shape of every tensor of this network."""
        g, t = self.groups, self.steps
        expected: dict[str, tuple[str, tuple[int, ...]]] = {}
        for name, spec in self.layers.items():
            kind, out, parts = self.kind(name), spec.out_channels, len(spec.segments)
            shape = (out, spec.in_channels, spec.kernel, spec.kernel)
            expected[f"{name}.weight"] = ("int8", shape)
            expected[f"{name}.M"] = ("uint16", (g, out))
            expected[f"{name}.n"] = ("uint8", (g, out))
            expected[f"{name}.b"] = ("int16", (t, out))
            if kind in {"region", "wide_silu"}:
                keys = ("n0", "z", "k") if kind == "region" else ("n0",)
                expected[f"{name}.silu.M0"] = ("uint16", (g,))
                expected |= {f"{name}.silu.{key}": ("uint8", (g,)) for key in keys}
            elif kind != "int8_attention":
                expected[f"{name}.edge.M"] = ("uint16", (g, parts))
                expected[f"{name}.edge.n"] = ("uint8", (g, parts))
                expected[f"{name}.edge.k"] = ("uint8", (g, parts))
        for name, channels in norms(self.layers).items():
            expected |= {f"{name}.{key}": ("int16", (channels,)) for key in ("gamma", "beta")}
            expected[f"{name}.E"] = ("int64", (1,))
        for name in attentions(self.layers):
            for part in ("logit", "value"):
                expected[f"{name}.{part}.M"] = ("uint16", (g,))
                expected[f"{name}.{part}.n"] = ("uint8", (g,))
        expected["sampler.coefficients"] = ("int32", (t, 6))
        expected["sampler.reach"] = ("int32", (1,))
        return expected

    @cached_property
    def layers(self) -> dict[str, LayerSpec]:
        """Every conv of the network in execution order."""
        return layers(self.config)

    @cached_property
    def norms(self) -> dict[str, int]:
        """Elements of one group of every GroupNorm by module path."""
        sizes = norm_sizes(self.config)
        return {
            name: channels // self.config.norm_num_groups * sizes[name][0] * sizes[name][1]
            for name, channels in norms(self.layers).items()
        }

    @property
    def groups(self) -> int:
        """Number of timestep groups."""
        return len(self.boundaries) + 1

    @property
    def overflow(self) -> dict[str, int]:
        """Largest accumulator magnitude that each layer can reach, over channels and groups."""
        return {
            name: max(max(row) for row in overflow_bounds(spec, self.kind(name), self.tensors))
            for name, spec in self.layers.items()
        }

    def kind(self, name: str) -> str:
        """Edge kind of a layer, one of ``topology.EDGE_KINDS``."""
        return edge_kind(self.layers[name], self.wide)

    def group(self, step: int) -> int:
        """Timestep group of a sampler step 0..T-1."""
        if not 0 <= step < self.steps:
            raise ValueError(f"step must be in 0..{self.steps - 1}, got {step}")
        return group_of(self.boundaries, step)

    def require(self, *, sampler: str | None = None, steps: int | None = None) -> None:
        """``UserError`` if the artifact was calibrated for another sampler or step count."""
        if sampler is not None and sampler != self.sampler:
            raise UserError(
                f"sampler: {sampler!r} asked for, the artifact was calibrated for {self.sampler!r}"
            )
        if steps is not None and steps != self.steps:
            raise UserError(
                f"steps: {steps} asked for, the artifact was calibrated for {self.steps}"
            )

    def replace(self, **changes: Any) -> "Artifact":
        """A checked copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to_bytes(self) -> bytes:
        """The file's content; equal artifacts give equal bytes."""
        return pack(self.tensors, self._metadata())

    def save(self, path: Path) -> None:
        """Write the file atomically."""
        data = self.to_bytes()
        with atomic_write(path) as temporary:
            temporary.write_bytes(data)

    def _metadata(self) -> dict[str, Any]:
        return {
            "boundaries": list(self.boundaries),
            "checkpoint_sha256": self.checkpoint_sha256,
            "config": self.config.to_dict(),
            "overflow": self.overflow,
            "provenance": self.provenance,
            "sampler": self.sampler,
            "steps": self.steps,
            "stream_fraction": self.stream_fraction,
            "wide": list(self.wide),
        }

    @classmethod
    def load(cls, path: Path) -> "Artifact":
        """Read and check a file; ``UserError`` says which file, what is wrong and where."""
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UserError(f"artifact {path}: cannot be read ({error.strerror})") from error
        try:
            return cls.from_bytes(data)
        except UserError as error:
            raise UserError(f"artifact {path}: {error}") from error

    @classmethod
    def from_bytes(cls, data: bytes) -> "Artifact":
        """Read and check the content of a file; ``UserError`` as ``load``, without the name."""
        tensors, metadata = unpack(data)
        values = _fields(metadata)
        overflow = values.pop("overflow")
        config = UNetConfig.from_dict(values.pop("config"), "config")
        artifact = cls(
            config=config,
            boundaries=tuple(values.pop("boundaries")),
            wide=tuple(values.pop("wide")),
            tensors={name: np.ascontiguousarray(t) for name, t in tensors.items()},
            **values,
        )
        if canonical_json(artifact.overflow) != canonical_json(overflow):
            raise UserError("overflow: the stated bounds differ from those of the weights")
        return artifact


def embedded_artifact() -> Artifact:
    """The embedded network for DDIM-50 in 8 groups, of an earlier ``stepscale calibrate``."""
    return Artifact.load(EMBEDDED / "artifact.safetensors")


def _fields(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata's fields with their types checked."""
    types: dict[str, type] = {
        "boundaries": list, "checkpoint_sha256": str, "config": dict, "overflow": dict,
        "provenance": dict, "sampler": str, "steps": int, "stream_fraction": int, "wide": list,
    }  # fmt: skip
    for name in sorted(types.keys() | metadata.keys()):
        if name not in metadata:
            raise UserError(f"metadata {name}: is missing")
        if name not in types:
            raise UserError(f"metadata {name}: is not known")
        value = metadata[name]
        if not isinstance(value, types[name]) or isinstance(value, bool):
            raise UserError(f"metadata {name}: must be {types[name].__name__}, got {value!r}")
    for name, kind in (("boundaries", int), ("wide", str)):
        if any(type(item) is not kind for item in metadata[name]):
            raise UserError(f"metadata {name}: must be a list of {kind.__name__}")
    return dict(metadata)
