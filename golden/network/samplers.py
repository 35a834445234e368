"""DDIM (eta 0) and DDPM samplers as one table of six numbers a step.

``x0 = clip(p*x + q*eps)``, ``x' = a*x0 + b*x + d*eps + c*noise``. Terms that a scheduler does not
use are 0; where it does not clip, ``a`` is 0 and x0 is folded into ``b`` and ``d``. Steps are
counted in execution order: step 0 is the noisiest.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from golden.errors import UserError

__all__ = [
    "SAMPLERS",
    "Coefficients",
    "DdimSampler",
    "DdpmSampler",
    "Sampler",
    "SchedulerConfig",
    "make_sampler",
    "noise",
    "noise_q12",
    "sample",
]

START = -1
"""Step number of the noise that a trajectory starts from."""

CHOICES: dict[str, tuple[Any, ...]] = {
    "beta_schedule": ("linear", "scaled_linear"),
    "prediction_type": ("epsilon",),
    "rescale_betas_zero_snr": (False,),
    "thresholding": (False,),
    "timestep_spacing": ("leading",),
    "trained_betas": (None,),
    "variance_type": ("fixed_small", "fixed_small_log", "fixed_large"),
}
"""Options with few supported values."""

WITHOUT_EFFECT = ("dynamic_thresholding_ratio", "sample_max_value")
"""Options of a thresholding that is refused."""


@dataclass(frozen=True)
class SchedulerConfig:
    """Noise schedule; names and defaults are those of diffusers' DDPM and DDIM schedulers.

    Raises ``UserError`` naming the option if a value is not supported.
    """

    num_train_timesteps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02
    beta_schedule: str = "linear"
    clip_sample: bool = True
    clip_sample_range: float = 1.0
    prediction_type: str = "epsilon"
    set_alpha_to_one: bool = True
    steps_offset: int = 0
    timestep_spacing: str = "leading"
    variance_type: str = "fixed_small"

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if hasattr(self, name) and getattr(self, name) not in allowed:
                self._refuse(name, getattr(self, name), " or ".join(repr(v) for v in allowed))
        for name, low, top in (("num_train_timesteps", 1, 100000), ("steps_offset", 0, 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= top:
                self._refuse(name, value, f"an integer in {low}..{top}")
        for name in ("clip_sample", "set_alpha_to_one"):
            if not isinstance(getattr(self, name), bool):
                self._refuse(name, getattr(self, name), "true or false")
        for name, high in (("beta_start", 1.0), ("beta_end", 1.0), ("clip_sample_range", 7.0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                self._refuse(name, value, "a number")
            if not 0 < value < high:
                self._refuse(name, value, f"a number between 0 and {high}")

    @staticmethod
    def _refuse(name: str, value: Any, allowed: str) -> None:
        raise UserError(f"scheduler option {name} = {value!r} is not supported; allowed: {allowed}")

    @classmethod
    def from_dict(
        cls, options: Mapping[str, Any], where: str = "scheduler_config.json"
    ) -> "SchedulerConfig":
        """Read a diffusers scheduler configuration; unknown options are refused by name."""
        known = {field.name for field in fields(cls)}
        try:
            for name, value in options.items():
                if name in CHOICES:
                    if value not in CHOICES[name]:
                        cls._refuse(name, value, " or ".join(repr(v) for v in CHOICES[name]))
                elif name not in known and name not in WITHOUT_EFFECT and name[:1] != "_":
                    cls._refuse(name, value, "leave it out")
            return cls(**{name: value for name, value in options.items() if name in known})
        except UserError as error:
            raise UserError(f"{where}: {error}") from error

    @classmethod
    def from_file(cls, path: Path) -> "SchedulerConfig":
        """Read ``scheduler_config.json``; ``UserError`` if missing, not JSON or not supported."""
        try:
            options = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error
        except ValueError as error:
            raise UserError(f"{path}: is not JSON ({error})") from error
        if not isinstance(options, dict):
            raise UserError(f"{path}: must hold one JSON object, got {type(options).__name__}")
        return cls.from_dict(options, str(path))

    def to_dict(self) -> dict[str, Any]:
        """The configuration as diffusers writes it for its ``DDPMScheduler``."""
        return {"_class_name": "DDPMScheduler", **asdict(self)}

    def alphas_cumprod(self) -> Tensor:
        """``prod(1 - beta)`` up to each training step, (num_train_timesteps,) float32."""
        count = self.num_train_timesteps
        if self.beta_schedule == "linear":
            betas = torch.linspace(self.beta_start, self.beta_end, count)
        else:
            betas = torch.linspace(math.sqrt(self.beta_start), math.sqrt(self.beta_end), count) ** 2
        return torch.cumprod(1 - betas, dim=0)


@dataclass(frozen=True)
class Coefficients:
    """The six numbers of one step; the module docstring has the formula."""

    p: float
    q: float
    a: float
    b: float
    d: float
    c: float


class Sampler:
    """Steps of one sampler; subclasses give ``name`` and ``_previous`` and ``_coefficients``.

    ``timesteps`` are the training steps in execution order, ``table`` the coefficients of each.
    """

    name = ""

    def __init__(self, scheduler: SchedulerConfig, steps: int) -> None:
        last = scheduler.num_train_timesteps
        if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= last:
            raise UserError(f"steps = {steps!r} is not supported; allowed: an integer in 1..{last}")
        self.scheduler = scheduler
        self.steps = steps
        self.stride = last // steps
        offset = scheduler.steps_offset
        self.timesteps = [i * self.stride + offset for i in reversed(range(steps))]
        if self.timesteps[0] >= last:
            raise UserError(f"steps = {steps} with steps_offset {offset} passes step {last - 1}")
        self._alphas = [float(value) for value in scheduler.alphas_cumprod()]
        self.table = [self._fold(self._coefficients(i)) for i in range(steps)]

    def _coefficients(self, i: int) -> Coefficients:
        raise NotImplementedError

    def _x0(self, i: int) -> tuple[float, float]:
        """Return p and q of ``x0 = (x - sqrt(1 - alpha) * eps) / sqrt(alpha)``."""
        alpha = self._alphas[self.timesteps[i]]
        return 1 / math.sqrt(alpha), -math.sqrt(1 - alpha) / math.sqrt(alpha)

    def _fold(self, k: Coefficients) -> Coefficients:
        if self.scheduler.clip_sample:
            return k
        return Coefficients(k.p, k.q, 0.0, k.b + k.a * k.p, k.d + k.a * k.q, k.c)

    @property
    def uses_noise(self) -> bool:
        """Whether any step adds noise."""
        return any(k.c for k in self.table)

    def step(self, i: int, x: Tensor, eps: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return x after step ``i``; ``noise`` is needed where ``table[i].c`` is not 0."""
        k = self.table[i]
        out = k.b * x + k.d * eps
        if k.a:
            reach = self.scheduler.clip_sample_range
            out = out + k.a * (k.p * x + k.q * eps).clamp(-reach, reach)
        if k.c:
            if noise is None:
                raise ValueError(f"step {i} of {self.name} needs noise")
            out = out + k.c * noise
        return out


class DdimSampler(Sampler):
    """DDIM with eta 0: deterministic, ``x' = sqrt(alpha') x0 + sqrt(1 - alpha') eps``."""

    name = "ddim"

    def _coefficients(self, i: int) -> Coefficients:
        previous = self.timesteps[i] - self.stride
        final = 1.0 if self.scheduler.set_alpha_to_one else self._alphas[0]
        alpha = self._alphas[previous] if previous >= 0 else final
        return Coefficients(*self._x0(i), math.sqrt(alpha), 0.0, math.sqrt(1 - alpha), 0.0)


class DdpmSampler(Sampler):
    """DDPM: the posterior's mean plus ``sqrt(variance)`` of noise in all steps but the last."""

    name = "ddpm"

    def _coefficients(self, i: int) -> Coefficients:
        alpha = self._alphas[self.timesteps[i]]
        last = i == self.steps - 1
        alpha_previous = 1.0 if last else self._alphas[self.timesteps[i + 1]]
        alpha_step = alpha / alpha_previous
        beta_step = 1 - alpha_step
        a = math.sqrt(alpha_previous) * beta_step / (1 - alpha)
        b = math.sqrt(alpha_step) * (1 - alpha_previous) / (1 - alpha)
        variance = beta_step
        if self.scheduler.variance_type != "fixed_large":
            variance = max((1 - alpha_previous) / (1 - alpha) * beta_step, 1e-20)
        # diffusers adds no noise at training step 0, wherever the trajectory ends
        c = math.sqrt(variance) if self.timesteps[i] > 0 else 0.0
        return Coefficients(*self._x0(i), a, b, 0.0, c)


SAMPLERS: dict[str, type[Sampler]] = {"ddim": DdimSampler, "ddpm": DdpmSampler}
"""Samplers by name."""


def make_sampler(name: str, scheduler: SchedulerConfig, steps: int) -> Sampler:
    """Return the sampler called ``name``; ``UserError`` lists the names."""
    if name not in SAMPLERS:
        raise UserError(f"sampler {name!r} is not known; allowed: {', '.join(SAMPLERS)}")
    return SAMPLERS[name](scheduler, steps)


def noise_q12(seed: int, image: int, step: int, shape: tuple[int, ...]) -> npt.NDArray[np.int16]:
    """Unit Gaussian noise in Q3.12, a pure function of (seed, image, step); ``START`` is step -1.

    Philox with key (seed, image * 2**32 + step + 1); round half up.
    """
    if not 0 <= seed < 1 << 64:
        raise UserError(f"seed = {seed} is not supported; allowed: an integer in 0..2**64 - 1")
    if not (0 <= image < 1 << 32 and -1 <= step < (1 << 32) - 1):
        raise ValueError(f"image and step must be below 2**32, got {image} and {step}")
    key = np.array([seed, (image << 32) + step + 1], dtype=np.uint64)
    normal = np.random.Generator(np.random.Philox(key=key)).standard_normal(shape)
    return np.clip(np.floor(normal * 4096 + 0.5), -32768, 32767).astype(np.int16)


def noise(seed: int, images: range, step: int, shape: tuple[int, ...]) -> Tensor:
    """Noise of several images as float32, exact multiples of 2**-12: (len(images), *shape)."""
    codes = np.stack([noise_q12(seed, image, step, shape) for image in images])
    return torch.from_numpy(codes.astype(np.float32) / np.float32(4096))


@torch.no_grad()
def sample(
    model: Callable[[Tensor, Tensor], Tensor],
    sampler: Sampler,
    seed: int,
    images: range,
    shape: tuple[int, int, int],
    *,
    device: torch.device | str = "cpu",
    observe: Callable[[int, Tensor, Tensor], None] | None = None,
) -> Tensor:
    """Denoise ``images`` from their own noise; return x0 (len(images), *shape) on ``device``.

    ``model(x, timestep)`` predicts the noise; ``observe(step, x, eps)`` sees every step.
    """
    x = noise(seed, images, START, shape).to(device)
    for i, timestep in enumerate(sampler.timesteps):
        t = torch.full((len(images),), timestep, dtype=torch.int64, device=device)
        eps = model(x, t)
        if observe is not None:
            observe(i, x, eps)
        fresh = noise(seed, images, i, shape).to(device) if sampler.table[i].c else None
        x = sampler.step(i, x, eps, fresh)
    return x
