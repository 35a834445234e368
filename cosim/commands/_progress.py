"""One progress line on stderr while a command works; nothing where stderr is not a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["shown"]


@contextmanager
def shown() -> Iterator[Callable[[str, int, int], None]]:
    """Yield ``progress(what, done, total)``; a new ``what`` starts the bar anew."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns,
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bars:
        task = bars.add_task("start", total=1)
        last = ""

        def progress(what: str, done: int, total: int) -> None:
            nonlocal last
            if what != last:
                last = what
                bars.reset(task, total=total, description=what)
            bars.update(task, completed=done, total=total)

        yield progress
