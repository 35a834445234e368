"""Jobs of a suite, and how they run: here one after the other, or as tasks of a worker pool."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cosim.bench import run_cases
from cosim.process_group import end_groups
from cosim.report import BenchResult
from golden.cycles import Case
from golden.errors import UserError
from golden.evaluation.worker_pool import HERE, WorkerPool, finished

if TYPE_CHECKING:
    from cosim.accelerator_suite import AcceleratorTask
    from cosim.layer_suite import LayerTask

__all__ = ["Job", "only_cases", "run_jobs"]

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Job:
    """Cases of one build. ``words`` of the command line make them again."""

    block: str
    parameters: Mapping[str, Any]
    cases: Sequence[Case]
    rtl: Path | None
    words: Sequence[str]
    seed: int
    simulator: str = "verilator"

    @property
    def name(self) -> str:
        """Block, and the case if there is one."""
        return f"{self.block} {self.cases[0].name}" if len(self.cases) == 1 else self.block

    def run(self, waves: bool, level: int, progress: Progress | None = None) -> BenchResult:
        """Run the cases in this process."""
        return run_cases(
            self.block, self.parameters, self.cases, rtl=self.rtl, waves=waves, seed=self.seed,
            level=level, simulator=self.simulator, repeat=self.words,
            progress=progress and _named(progress, self.block),
        )  # fmt: skip


def only_cases(jobs: Any, names: Collection[tuple[str, str]]) -> list[Any]:
    """Return ``jobs`` with those cases alone whose (block, name) is in ``names``."""
    chosen = []
    for job in jobs:
        if not isinstance(job, Job):
            chosen += [job] if (job.block, job.name) in names else []
            continue
        cases = [case for case in job.cases if (case.block, case.name) in names]
        chosen += [replace(job, cases=cases)] if cases else []
    if not chosen:
        raise UserError("--failed: none of the cases that failed is made with these options")
    return chosen


def run_jobs(
    jobs: "Sequence[Job] | Sequence[LayerTask] | Sequence[AcceleratorTask]",
    *,
    waves: bool,
    level: int,
    using: WorkerPool = HERE,
    progress: Progress | None = None,
) -> list[BenchResult]:
    """Run jobs one after the other here, or as independent tasks of a pool; in the order given."""
    if using.client is None:
        return [job.run(waves, level, progress) for job in jobs]
    parts = [part for job in jobs for part in _parts(job)]
    found: dict[int, BenchResult] = {}
    names = [part.name for part in parts]
    work = [(part, waves, level) for part in parts]
    try:
        for index, result in finished(using, _run, work, names):
            found[index] = result
            if progress is not None:
                progress("compare", len(found), len(parts))
    except BaseException:
        if using.client.cluster is not None:  # workers of our own: what they run ends, too
            using.client.run(end_groups, on_error="ignore")
        raise
    return [found[index] for index in sorted(found)]


class Task(Protocol):
    """What a worker runs."""

    @property
    def name(self) -> str:
        """What an error calls it."""

    def run(self, waves: bool, level: int, progress: Progress | None = None) -> BenchResult:
        """Compare everything, in this process."""


def _parts(job: "Job | LayerTask | AcceleratorTask") -> Sequence[Task]:
    """Return a job's cases apart where they are few and long."""
    if not isinstance(job, Job) or job.block != "datapath":
        return [job]
    return [replace(job, cases=[case]) for case in job.cases]


def _run(task: Task, waves: bool, level: int) -> BenchResult:
    return task.run(waves, level)


def _named(progress: Progress, name: str) -> Progress:
    return lambda what, done, total: progress(f"{what} {name}", done, total)
