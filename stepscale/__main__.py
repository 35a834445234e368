"""The program ``stepscale``, also ``python -m stepscale``: finds its packages, runs ``cosim.cli``.

Python processes that it starts find the same packages: ``PYTHONPATH`` begins with their folder, and
``PYTHONSAFEPATH`` keeps the current folder, where a user's own ``hdl/`` may lie, off their path.
"""

import os
import sys

import stepscale

__all__ = ["main"]


def main() -> None:
    """Run the command line and leave with its exit status; 2 if the packages are not ours."""
    try:
        root = str(stepscale.packages())
    except ImportError as error:
        print(f"stepscale: error: {error}", file=sys.stderr)
        sys.exit(2)
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    others = [path for path in others if path != root]
    os.environ["PYTHONPATH"] = os.pathsep.join([root, *others])
    os.environ["PYTHONSAFEPATH"] = "1"

    from cosim.cli import main as run  # noqa: PLC0415 - only now it can be found

    run()


if __name__ == "__main__":
    main()
