"""Set-up of a local worker process, loaded by Dask: Ctrl-C is for the process that started it."""

import signal
from typing import Any

__all__ = ["dask_setup"]


def dask_setup(worker: Any) -> None:
    """Leave SIGINT to the parent, which closes its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
