"""DDPM training: ``loss = mean((unet(sqrt(alpha) x0 + sqrt(1 - alpha) noise, t) - noise)**2)``.

t is uniform over the 1000 training steps; Adam with warm-up and cosine decay; an exponential moving
average (EMA) of the weights is what is kept. The random numbers of a step are a pure function of
(seed, step), so a resumed run continues exactly where the interrupted one stopped.
"""

import json
import math
import pickle
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from golden.errors import UserError
from golden.files import atomic_write, ensure_writable_folder
from golden.network.checkpoint import Checkpoint, save_checkpoint
from golden.network.config import UNetConfig
from golden.network.samplers import SchedulerConfig
from golden.network.unet import UNet

__all__ = ["Trainer", "TrainingOptions", "pick_device", "train"]

STATE = "training_state.pt"
EAGER_STEPS = 8
"""Steps before the CUDA graph is captured: they warm up the allocator and the optimizer."""


@dataclass(frozen=True)
class TrainingOptions:
    """What decides the result of a run, beside data and device.

    EMA decay at step s is ``min(ema_decay, 1 - (1 + s) ** -0.75)``, as in diffusers.
    """

    steps: int = 60000
    batch: int = 512
    learning_rate: float = 1e-3
    warmup: int = 1000
    ema_decay: float = 0.9999
    clip_norm: float = 1.0
    precision: str = "float32"
    compile: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("steps", 1, 10**9),
            ("batch", 1, 10**6),
            ("warmup", 0, 10**9),
            ("seed", 0, 2**31 - 1),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or not low <= value <= high:
                raise UserError(f"{name} = {value!r} is not allowed; allowed: {low}..{high}")
        if not 0 < self.learning_rate < 1:
            raise UserError(f"learning_rate = {self.learning_rate} is not allowed; allowed: 0..1")
        if not 0 <= self.ema_decay < 1:
            raise UserError(f"ema_decay = {self.ema_decay} is not allowed; allowed: 0..1")
        if self.precision not in ("float32", "bf16"):
            raise UserError(f"precision {self.precision!r} is not known; allowed: float32, bf16")

    def rate(self, step: int) -> float:
        """Learning rate of ``step``: linear warm-up, then half a cosine down to 0."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(self.steps - self.warmup, 1)
        return self.learning_rate * (1 + math.cos(math.pi * done)) / 2

    def decay(self, step: int) -> float:
        """EMA decay of ``step``."""
        return min(self.ema_decay, 1 - (1 + step) ** -0.75)


def pick_device(name: str) -> torch.device:
    """Resolve "auto", "cpu" or "cuda"; ``UserError`` if there is no such device."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda"):
        raise UserError(f"device {name!r} is not known; allowed: auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device 'cuda' is not there: torch sees no CUDA device; allowed: auto, cpu")
    return torch.device(name)


class Trainer:
    """One training run: weights, optimizer, average and the place of the next step.

    ``images`` (count, C, H, W) float32 in [-1, 1]. ``advance`` runs one step; ``state`` and
    ``restore`` carry everything that the next step depends on.
    """

    def __init__(
        self,
        config: UNetConfig,
        scheduler: SchedulerConfig,
        images: npt.NDArray[np.float32],
        options: TrainingOptions,
        device: torch.device,
    ) -> None:
        self.options, self.device = options, device
        self.step = 0
        self.losses: list[tuple[int, float]] = []
        torch.manual_seed(options.seed)
        self.unet = UNet(config).to(device)
        if device.type == "cuda":
            torch.backends.cudnn.benchmark = True
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
            for parameter in self.unet.parameters():
                if parameter.dim() == 4:
                    parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self.parameters: list[Tensor] = list(self.unet.parameters())
        self.average = [p.detach().clone() for p in self.parameters]
        self.images = torch.from_numpy(images).to(device)
        alphas = scheduler.alphas_cumprod().to(device)
        self.signal, self.sigma = alphas.sqrt(), (1 - alphas).sqrt()
        self.rate = torch.tensor(0.0, device=device)
        self.optimizer = torch.optim.Adam(
            self.parameters, lr=self.rate, capturable=device.type == "cuda"
        )
        self.predict = torch.compile(self.unet) if options.compile else self.unet
        self.generator = torch.Generator(device)
        self.graph: torch.cuda.CUDAGraph | None = None
        self.average_weight = torch.tensor(0.0, device=device)
        self.loss_sum = torch.tensor(0.0, device=device)
        self.loss_count = 0
        shape = (options.batch, *images.shape[1:])
        self.clean = torch.zeros(shape, device=device)
        self.noise = torch.zeros(shape, device=device)
        self.timestep = torch.zeros(options.batch, dtype=torch.int64, device=device)

    def _draw(self) -> None:
        """Draw images, timesteps and noise of this step."""
        draw = self.generator
        draw.manual_seed((self.options.seed << 32) + self.step)
        size, count = self.options.batch, len(self.images)
        index = torch.randint(count, (size,), generator=draw, device=self.device)
        self.clean.copy_(self.images[index])
        self.timestep.random_(0, len(self.signal), generator=draw)
        self.noise.normal_(generator=draw)

    def _update(self) -> None:
        """One gradient step on the drawn batch; the part that a CUDA graph records."""
        signal = self.signal[self.timestep][:, None, None, None]
        sigma = self.sigma[self.timestep][:, None, None, None]
        noisy = signal * self.clean + sigma * self.noise
        half = self.options.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            eps = self.predict(noisy, self.timestep)
        loss = torch.nn.functional.mse_loss(eps.float(), self.noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, self.options.clip_norm)
        self.optimizer.step()
        with torch.no_grad():
            change = torch._foreach_sub(self.parameters, self.average)
            torch._foreach_mul_(change, self.average_weight)
            torch._foreach_add_(self.average, change)
            self.loss_sum += loss

    def _run(self) -> None:
        if self.device.type != "cuda":
            self.optimizer.zero_grad(set_to_none=True)
            self._update()
        elif self.graph is not None:
            self.graph.replay()
        elif self.step < EAGER_STEPS or not self.optimizer.state:
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                self.optimizer.zero_grad(set_to_none=True)
                self._update()
            torch.cuda.current_stream().wait_stream(side)
        else:
            self.optimizer.zero_grad(set_to_none=True)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self._update()
            self.graph.replay()

    def advance(self) -> None:
        """Run one step."""
        self._draw()
        self.rate.fill_(self.options.rate(self.step))
        self.average_weight.fill_(1 - self.options.decay(self.step))
        self._run()
        self.loss_count += 1
        self.step += 1

    def record(self) -> float:
        """Append (step, mean loss since the last record) to ``losses`` and return the loss."""
        loss = float(self.loss_sum) / max(self.loss_count, 1)
        self.loss_sum.zero_()
        self.loss_count = 0
        self.losses.append((self.step, round(loss, 6)))
        return loss

    def averaged_weights(self) -> dict[str, Tensor]:
        """The EMA of every parameter, by name."""
        names = [name for name, _ in self.unet.named_parameters()]
        return dict(zip(names, self.average, strict=True))

    def start(self, weights: dict[str, Tensor]) -> None:
        """Begin from ``weights`` of every parameter, by name, in place of random ones."""
        with torch.no_grad():
            for name, mine, mean in zip(
                self.averaged_weights(), self.parameters, self.average, strict=True
            ):
                mine.copy_(weights[name])
                mean.copy_(weights[name])

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "options": asdict(self.options),
            "step": self.step,
            "losses": self.losses,
            "weights": self.unet.state_dict(),
            "average": self.averaged_weights(),
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from ``state``; ``UserError`` if it was made with other options."""
        for name, value in asdict(self.options).items():
            if state["options"].get(name) != value:
                was = state["options"].get(name)
                raise UserError(f"resume: {name} = {value!r}, but the run began with {was!r}")
        self.step, self.losses = state["step"], [tuple(x) for x in state["losses"]]
        self.unet.load_state_dict(state["weights"])
        for mine, name in zip(self.average, self.averaged_weights(), strict=True):
            mine.copy_(state["average"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate


def _load_state(path: Path, trainer: Trainer) -> None:
    try:
        trainer.restore(torch.load(path, map_location=trainer.device, weights_only=True))
    except FileNotFoundError as error:
        raise UserError(f"resume: {path} is missing; start without --resume") from error
    except OSError as error:
        raise UserError(f"resume: {path} cannot be read ({error.strerror})") from error
    except (RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise UserError(f"resume: {path} is damaged or belongs to another network") from error


def train(
    config: UNetConfig,
    images: npt.NDArray[np.float32],
    options: TrainingOptions,
    out: Path,
    device: torch.device,
    *,
    scheduler: SchedulerConfig | None = None,
    minutes: float | None = None,
    resume: bool = False,
    start: Checkpoint | None = None,
    command: str = "",
    log_every: int = 500,
    report: Callable[[int, float, float], None] | None = None,
) -> dict[str, Any]:
    """Train, write the checkpoint to ``out`` and return the record (also ``training.json``).

    A run that is interrupted, or stopped after ``minutes``, leaves ``training_state.pt`` in ``out``
    for ``resume``; a stopped run writes its checkpoint too, a finished one removes the state.
    ``start``: a checkpoint of the same configuration whose weights the run begins from.
    ``report(step, loss, images_per_second)`` is called every ``log_every`` steps.
    """
    ensure_writable_folder(out)
    scheduler = scheduler or SchedulerConfig()
    state_file = out / STATE
    if state_file.exists() and not resume:
        raise UserError(f"{state_file} is an unfinished run; add --resume or give another --out")
    if start is not None and start.config != config:
        raise UserError("start: the checkpoint is of another configuration than the preset")
    trainer = Trainer(config, scheduler, images, options, device)
    if start is not None:
        trainer.start(start.unet.state_dict())
    if resume:
        _load_state(state_file, trainer)
    began, first = time.monotonic(), trainer.step
    diverged = False
    try:
        while trainer.step < options.steps:
            trainer.advance()
            if trainer.step % log_every == 0 or trainer.step == options.steps:
                loss = trainer.record()
                diverged = not math.isfinite(loss)
                if diverged:
                    raise UserError(f"training diverged at step {trainer.step}: loss is {loss}")
                seconds = time.monotonic() - began
                if report is not None:
                    report(trainer.step, loss, (trainer.step - first) * options.batch / seconds)
                if minutes is not None and seconds > 60 * minutes:
                    break
    finally:
        if trainer.step < options.steps and not diverged:
            with atomic_write(state_file) as temporary:
                torch.save(trainer.state(), temporary)
    seconds = time.monotonic() - began
    record = {
        "command": command,
        "options": asdict(options),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "parameters": sum(p.numel() for p in trainer.parameters),
        "images": len(images),
        "steps_done": trainer.step,
        "finished": trainer.step == options.steps,
        "seconds": round(seconds, 1),
        "images_per_second": round((trainer.step - first) * options.batch / seconds),
        "losses": trainer.losses,
        "start": None if start is None else start.sha256,
    }
    save_checkpoint(out, config, scheduler, trainer.averaged_weights(), record)
    if trainer.step == options.steps:
        with suppress(FileNotFoundError):
            state_file.unlink()
    return json.loads(json.dumps(record))
