"""Worker processes to draw on: none (this process), a local Dask cluster, or a running one.

One process a CUDA device, each seeing its own device alone; on a CPU N processes that share the
threads: ``threads of a worker = max(1, threads // N)``. Dask is imported only for more than one.
"""

import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from golden.errors import UserError

if TYPE_CHECKING:
    import torch

__all__ = ["HERE", "WorkerPool", "finished", "pool", "worker_count"]

CONNECT_SECONDS = 10
PRE_SPAWN = {"distributed.nanny.pre-spawn-environ": {"OMP_NUM_THREADS": 1, "MKL_NUM_THREADS": 1}}
"""Dask's own but for MALLOC_TRIM_THRESHOLD_, with which every tensor costs new pages."""


@dataclass(frozen=True)
class WorkerPool:
    """Workers to draw on. ``client``: of Dask; None is this process. ``threads``: of torch in
    each worker.
    """

    client: Any = None
    threads: int | None = None


HERE = WorkerPool()


def worker_count(device: "torch.device | str", workers: int | None) -> int:
    """Workers to start for ``device``: one a visible CUDA device, or ``workers`` on a CPU."""
    if workers is not None and not 1 <= workers <= 1024:
        raise UserError(f"workers = {workers} is not allowed; allowed: an integer in 1..1024")
    if not str(device).startswith("cuda"):
        return workers or 1
    import torch  # noqa: PLC0415 - a pool on the CPU needs none

    target = torch.device(device)
    found = 1 if target.index is not None else torch.cuda.device_count()
    if workers is not None and workers > found:
        raise UserError(f"workers = {workers} is not allowed; CUDA devices to use: {found}")
    return workers or found


@contextmanager
def pool(
    workers: int | None = None,
    scheduler: str | None = None,
    device: "torch.device | str" = "cpu",
) -> Iterator[WorkerPool]:
    """Workers for several ``draw`` calls: this process, a local cluster, or a running one."""
    count = worker_count(device, workers) if scheduler is None else 0
    if count == 1:
        yield HERE
        return
    try:
        import dask  # noqa: PLC0415 - one process needs none
        import distributed  # noqa: PLC0415
    except ImportError as error:
        raise UserError(f"several workers need dask[distributed] ({error}): make setup") from error
    quiet = logging.CRITICAL + 1
    with (
        _silent("distributed", quiet),
        # a worker that is ended cannot remove its files
        tempfile.TemporaryDirectory(prefix="stepscale-", ignore_cleanup_errors=True) as scratch,
        dask.config.set(
            {
                "distributed.admin.tick.limit": "1h",
                "temporary-directory": scratch,
                **PRE_SPAWN,
            }
        ),
    ):
        if scheduler is not None:
            yield from _connected(distributed, scheduler)
            return
        threads = max(1, len(os.sched_getaffinity(0)) // count)
        on_cuda = str(device).startswith("cuda")
        own = {"host": "127.0.0.1", "dashboard": False}
        specification = {
            i: {
                "cls": distributed.Nanny,
                "options": {
                    **own,
                    "nthreads": 1,
                    "memory_limit": 0,
                    "silence_logs": quiet,
                    "env": {"TMPDIR": scratch, **(_environment(i) if on_cuda else {})},
                    "preload": ["golden.evaluation.shard_worker"],
                },
            }
            for i in range(count)
        }
        local = {
            "cls": distributed.Scheduler,
            "options": {**own, "dashboard_address": "127.0.0.1:0", "port": 0},
        }
        with (
            distributed.SpecCluster(
                workers=specification, scheduler=local, silence_logs=quiet
            ) as cluster,
            distributed.Client(cluster, set_as_default=False) as client,
        ):
            yield WorkerPool(client, threads)


def finished(
    using: WorkerPool,
    work: Callable[..., Any],
    tasks: Sequence[tuple[Any, ...]],
    names: Sequence[str],
) -> Iterator[tuple[int, Any]]:
    """Yield (index, ``work(*tasks[index])``), each once, as the workers finish them.

    A task whose worker dies runs again elsewhere. ``names``: of the tasks, for errors.
    ``UserError`` that ``work`` raised, or if a task has ended four workers in turn.
    """
    from distributed import KilledWorker, as_completed  # noqa: PLC0415 - one process needs none

    client = using.client
    futures = {
        client.submit(_answer, work, task, pure=False): index for index, task in enumerate(tasks)
    }
    try:
        for future in as_completed(list(futures), loop=client.loop):
            index = futures[future]
            try:
                result = future.result()
            except KilledWorker as error:
                raise UserError(
                    f"{names[index]}: four workers in turn died of it (out of memory?)"
                ) from error
            if isinstance(result, _Refused):
                raise UserError(result.message)
            yield index, result
            future.release()
    finally:
        client.cancel(list(futures), force=True)


@dataclass(frozen=True)
class _Refused:
    """A ``UserError`` on its way back; Dask would wrap it in a traceback."""

    message: str


def _answer(work: Callable[..., Any], task: tuple[Any, ...]) -> Any:
    try:
        return work(*task)
    except UserError as error:
        return _Refused(str(error))


def _connected(distributed: Any, scheduler: str) -> Iterator[WorkerPool]:
    try:
        client = distributed.Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(f"scheduler {scheduler}: cannot be reached ({error})") from error
    with client:
        if not client.scheduler_info()["workers"]:
            raise UserError(f"scheduler {scheduler}: has no workers; start `dask worker` there")
        yield WorkerPool(client)


def _environment(index: int) -> Mapping[str, str]:
    """CUDA_VISIBLE_DEVICES of worker ``index``, out of those that this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = [] if visible is None else [d.strip() for d in visible.split(",") if d.strip()]
    return {"CUDA_VISIBLE_DEVICES": devices[index] if devices else str(index)}


@contextmanager
def _silent(name: str, level: int) -> Iterator[None]:
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)
