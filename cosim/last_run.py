"""Which cases of a suite failed in its last run, kept beside the builds for ``cosim --failed``."""

import json
from collections.abc import Sequence
from pathlib import Path

from cosim.report import BenchResult
from golden.errors import UserError
from golden.files import atomic_write, cache_folder, ensure_writable_folder

__all__ = ["last_failed", "remember"]


def remember(suite: str, results: Sequence[BenchResult]) -> None:
    """Keep (block, case) of every case that had a mismatch, or in which nothing was compared.

    A case that failed before and did not run now, as in a run of one case, stays.
    """
    ran = [case for result in results for case in result.cases]
    failed = {(case.block, case.name) for case in ran if case.mismatch_count or not case.cycles}
    path = ensure_writable_folder(cache_folder() / "runs") / f"failed-{suite}.json"
    try:
        before = _read(path)
    except (OSError, ValueError):
        before = set()
    failed |= before - {(case.block, case.name) for case in ran}
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(sorted(failed)))


def last_failed(suite: str) -> set[tuple[str, str]]:
    """Return (block, case) of what failed; ``UserError`` if the suite never ran or nothing did."""
    path = cache_folder() / "runs" / f"failed-{suite}.json"
    try:
        failed = _read(path)
    except FileNotFoundError:
        raise UserError(f"--failed: suite {suite} has not run here yet") from None
    except (OSError, ValueError) as error:
        raise UserError(f"--failed: {path} cannot be read ({error})") from error
    if not failed:
        raise UserError(f"--failed: no case of suite {suite} failed in its last run")
    return failed


def _read(path: Path) -> set[tuple[str, str]]:
    return {(block, case) for block, case in json.loads(path.read_text())}
