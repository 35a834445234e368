"""The one import name of an installed stepscale; the program's packages lie in a folder of it.

``golden``, ``hdl`` and ``cosim`` are names that a user's own folders may bear. In a wheel they are
therefore not installed beside other packages but in ``stepscale/_packages``, which is on nobody's
path. The program puts that folder on its own path; a library user says so::

    import stepscale
    stepscale.packages()
    from golden.requantizer import requantize

In a checkout the folder is the repository's root. Importing ``stepscale`` changes nothing.
"""

import importlib.metadata
import importlib.util
import sys
from pathlib import Path

__all__ = ["NAMES", "folder", "packages"]

NAMES = ("golden", "hdl", "cosim")
"""What the folder holds, in the order in which they need each other."""


def __getattr__(name: str) -> str:
    """``__version__``, read when it is asked for; it stands in pyproject.toml."""
    if name == "__version__":
        return importlib.metadata.version("stepscale")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def folder() -> Path:
    """Return the folder that holds the packages; changes nothing."""
    here = Path(__file__).resolve().parent
    installed = here / "_packages"
    return installed if installed.is_dir() else here.parent


def packages() -> Path:
    """Make ``golden``, ``hdl`` and ``cosim`` importable in this process; return their folder.

    It becomes the first entry of ``sys.path``, so in this process these names mean stepscale's from
    here on. Calling it again changes nothing. ``ImportError``, and nothing changed, if one of the
    names is already another package, or would be found elsewhere all the same.
    """
    root = folder()
    for name in NAMES:
        module = sys.modules.get(name)
        if module is not None:
            _refuse_other(name, getattr(module, "__file__", None), root, "is already imported")
    before = list(sys.path)
    sys.path[:] = [str(root), *(entry for entry in before if entry != str(root))]
    try:
        for name in NAMES:
            spec = importlib.util.find_spec(name)
            _refuse_other(name, spec.origin if spec else None, root, "is found before ours")
    except BaseException:
        sys.path[:] = before
        raise
    return root


def _refuse_other(name: str, file: str | None, root: Path, verb: str) -> None:
    if file is None or Path(file).resolve().parent.parent != root:
        where = file or "a folder without __init__.py"
        raise ImportError(f"another package {name!r} {verb} ({where}); needed is {root / name}")
