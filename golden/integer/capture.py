"""What one conv of the quantized network read, computed and wrote: data for co-simulation."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from golden.calibration.artifact import Artifact
from golden.calibration.topology import LayerSpec

__all__ = ["LayerCapture", "LayerConstants", "layer_constants"]

Int16 = npt.NDArray[np.int16]
WIDE_K = 4  # shift of the hi pass


@dataclass(frozen=True)
class LayerConstants:
    """Constants of one layer in one step, as the scale file holds them.

    ``z``; ``k``: one a segment (region: that of the code, int8: the segment's shift, wide: 4, for
    the hi pass). ``M0``, ``n0``: SiLU quantizer, 0 for other edges. ``edge_M``, ``edge_n``: one a
    segment, empty for post-SiLU and attention edges. ``M``, ``n``, ``b``: (Cout,).
    """

    z: int
    k: tuple[int, ...]
    M0: int
    n0: int
    edge_M: tuple[int, ...]  # noqa: N815 (M as in the numeric contract)
    edge_n: tuple[int, ...]
    M: npt.NDArray[np.uint16]
    n: npt.NDArray[np.uint8]
    b: Int16


@dataclass(frozen=True)
class LayerCapture:
    """One conv at one step, one image.

    ``weight`` (Cout, Cin, kh, kw) int8. ``padding``: (left, right, top, bottom). ``source``
    (Cin, H, W) int16: u, stream, x_t or attention output, before any upsampling. ``codes``
    (Cin, H, W) int16: region codes 0..255, int8 or int12. ``segments``: channels of each
    concatenated part. ``output`` (Cout, Ho, Wo) int16, ``out_width`` bits of it are used.
    """

    name: str
    kind: str
    step: int
    group: int
    weight: npt.NDArray[np.int8]
    stride: int
    padding: tuple[int, int, int, int]
    upsample: bool
    source: Int16
    codes: Int16
    segments: tuple[int, ...]
    output: Int16
    out_width: int
    constants: LayerConstants


def layer_constants(artifact: Artifact, spec: LayerSpec, step: int) -> LayerConstants:
    """Constants of a layer at a sampler step."""
    name, kind, tensors = spec.name, artifact.kind(spec.name), artifact.tensors
    g = artifact.group(step)
    parts = len(spec.segments)

    def entry(key: str) -> int:
        table = tensors.get(f"{name}.silu.{key}")
        return 0 if table is None else int(table[g])

    def row(key: str) -> tuple[int, ...]:
        table = tensors.get(f"{name}.edge.{key}")
        return () if table is None else tuple(int(v) for v in table[g])

    k = {
        "region": (entry("k"),),
        "wide_silu": (WIDE_K,),
        "wide_stream": (WIDE_K,) * parts,
        "int8_attention": (0,),
    }.get(kind, row("k"))
    return LayerConstants(
        z=entry("z"),
        k=k,
        M0=entry("M0"),
        n0=entry("n0"),
        edge_M=row("M"),
        edge_n=row("n"),
        M=tensors[f"{name}.M"][g],
        n=tensors[f"{name}.n"][g],
        b=tensors[f"{name}.b"][step],
    )
