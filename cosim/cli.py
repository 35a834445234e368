"""The program ``stepscale``: one command a module of ``cosim.commands``, errors on one line.

Exit status: 0 done and right, 1 something compared did not agree, 2 bad input, 130 interrupted.
"""

import importlib
import importlib.metadata
import os
import pkgutil
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NoReturn

import typer

import cosim.commands
from golden.errors import UserError

__all__ = ["app", "main", "run"]

OK, DISAGREES, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
_ORDER = (
    *("demo", "verilog", "train", "calibrate", "compile", "sample", "evaluate", "bench"),
    *("cosim", "formal", "mutation", "coverage", "report", "synth", "doctor"),
)

app = typer.Typer(
    name="stepscale",
    help="Int8 diffusion-UNet hardware: quantize a network, generate Verilog, prove it.",
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"stepscale {importlib.metadata.version('stepscale')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="print it and end"),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _place(name: str) -> tuple[int, str]:
    return (_ORDER.index(name) if name in _ORDER else len(_ORDER), name)


def _register() -> None:
    """Add the function of each command module; one that does not load fails only when called."""
    names = [module.name for module in pkgutil.iter_modules(cosim.commands.__path__)]
    names = [name for name in names if not name.startswith("_")]
    for name in sorted(names, key=_place):
        try:
            module = importlib.import_module(f"cosim.commands.{name}")
        except ImportError as error:
            app.command(name, help=f"(does not load: {error})")(_broken(name, str(error)))
            continue
        command = getattr(module, name, None)
        if callable(command):
            app.command(name)(command)


def _broken(name: str, reason: str) -> Callable[[], None]:
    def command() -> None:
        raise UserError(f"command {name} does not load: {reason}; run `make setup` or pip again")

    return command


_register()


def _one_line(error: object) -> str:
    return " ".join(str(error).split())


def _complain(text: str) -> None:
    print(f"stepscale: {_one_line(text)}", file=sys.stderr)


def _terminated(number: int, frame: Any) -> NoReturn:
    """Unwind on a polite kill, so that temporary files and simulators go too."""
    raise SystemExit(128 + number)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status; never a traceback for bad input.

    ``STEPSCALE_TRACEBACK=1`` shows where an internal error came from.
    """
    try:
        status = app(args=list(arguments), prog_name="stepscale", standalone_mode=False)
    except KeyboardInterrupt:
        status = INTERRUPTED
    except UserError as error:
        _complain(f"error: {error}")
        return BAD_INPUT
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        if hasattr(error, "format_message"):  # typer's own: unknown option, missing value
            _complain(f"error: {error.format_message()}")
            return BAD_INPUT
        if os.environ.get("STEPSCALE_TRACEBACK"):
            traceback.print_exc()
        kind = type(error).__name__
        _complain(f"internal error: {kind}: {error} (STEPSCALE_TRACEBACK=1 shows where)")
        return DISAGREES
    if status == INTERRUPTED:
        _complain("interrupted")
    return status if isinstance(status, int) else OK


def main() -> None:
    """Run the program's command line, once ``stepscale.__main__`` has found the packages."""
    signal.signal(signal.SIGTERM, _terminated)
    # read when torch is imported: threads that spin while they wait cost minutes on a busy machine
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
