"""One denoising step in integers: ``x0 = clamp(rsh(p*x + q*eps, 20), -reach, reach)``,
``x' = sat16(rsh(a*x0 + b*x + d*eps + c*noise, 20))``.

x, eps, noise and x0 are Q3.12; the coefficients are Q12.20, six a step, from
``golden.network.samplers``. Terms that a scheduler does not use are 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import astuple

import numpy as np
import numpy.typing as npt

from golden.cycles import PipelineModel
from golden.errors import UserError
from golden.network.samplers import Sampler
from golden.numbers import Int64, check_range, rsh, sat

__all__ = [
    "COEFFICIENT_FRACTION",
    "LATENCY",
    "SamplerModel",
    "coefficient_table",
    "image_byte",
    "sampler_step",
]

COEFFICIENT_FRACTION = 20
X_FRACTION = 12
ROUNDING = COEFFICIENT_FRACTION
LATENCY = 10


def coefficient_table(sampler: Sampler) -> npt.NDArray[np.int32]:
    """Return p, q, a, b, d, c of every step, (T, 6) int32 Q12.20, rounded to nearest.

    ``UserError`` if one leaves Q12.20 (|coefficient| >= 2**11).
    """
    real = np.array([astuple(row) for row in sampler.table], dtype=np.float64)
    scaled = np.rint(np.ldexp(real, COEFFICIENT_FRACTION))
    if np.abs(scaled).max() >= 1 << 31:
        step = int(np.abs(scaled).max(axis=1).argmax())
        raise UserError(f"sampler {sampler.name}: step {step} needs a coefficient of 2048 or more")
    return scaled.astype(np.int32)


def sampler_step(
    x: npt.ArrayLike,
    eps: npt.ArrayLike,
    coefficients: npt.ArrayLike,
    reach: int,
    noise: npt.ArrayLike = 0,
) -> Int64:
    """Return x of the next step, int16 Q3.12, any shape.

    ``x``, ``eps``, ``noise`` int16 Q3.12; ``coefficients``: p, q, a, b, d, c of the step, int32
    Q12.20; ``reach``: largest magnitude of x0 in Q3.12, 4096 for a clip to [-1, 1].
    """
    low, high = -(1 << 15), (1 << 15) - 1
    now = check_range(x, low, high, "x")
    predicted = check_range(eps, low, high, "eps")
    fresh = check_range(noise, low, high, "noise")
    table = check_range(coefficients, -(1 << 31), (1 << 31) - 1, "coefficients")
    p, q, a, b, d, c = (int(value) for value in table)
    x0 = np.clip(rsh(p * now + q * predicted, ROUNDING), -reach, reach)
    return sat(rsh(a * x0 + b * now + d * predicted + c * fresh, ROUNDING), 16)


def image_byte(x: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    """Return ``clamp(rsh((x + 4096) * 255, 13), 0, 255)`` of x int16 Q3.12: [-1, 1] to 0..255."""
    values = check_range(x, -(1 << 15), (1 << 15) - 1, "x")
    return np.clip(rsh((values + (1 << X_FRACTION)) * 255, X_FRACTION + 1), 0, 255).astype(np.uint8)


class SamplerModel(PipelineModel):
    """A rigid pipeline that takes a row of constants only while it is empty.

    A row that is offered holds back beats from its first cycle on, so it is taken once the beats
    in flight have left, and the first beat of the row a cycle later at the earliest.
    """

    inputs: Sequence[str] = ("i", "i_row")

    def __init__(self) -> None:
        super().__init__(LATENCY)

    def evaluate(
        self, valid: Mapping[str, int], ready: Mapping[str, bool], plain: Mapping[str, int]
    ) -> tuple[dict[str, bool], dict[str, int]]:
        """See ``CycleModel``."""
        moves = self.pipeline.ready(ready["o"])
        return {"i": moves and valid["i_row"] < 0, "i_row": self.pipeline.empty}, {}
