"""Writing files so that an interrupted run leaves either the old file or the new one."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from golden.errors import UserError

__all__ = ["atomic_write", "cache_folder", "ensure_writable_folder", "user_cache_folder"]


def cache_folder() -> Path:
    """Return ``build/`` of a checkout that can be written, else ``user_cache_folder()``."""
    root = Path(__file__).resolve().parent.parent
    if (root / "pyproject.toml").is_file() and os.access(root, os.W_OK):
        return root / "build"
    return user_cache_folder()


def user_cache_folder() -> Path:
    """Return ``stepscale`` in the user's cache folder; XDG takes a relative one for none."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (named if named.is_absolute() else Path.home() / ".cache") / "stepscale"


def ensure_writable_folder(path: Path) -> Path:
    """Make ``path`` (and its parents) if needed and prove that a file can be made in it.

    Raises ``UserError`` naming the folder and the system's reason.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UserError(f"output folder {path}: cannot be written ({error.strerror})") from error
    return path


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` if the block succeeds.

    The temporary file is removed on any failure, an interrupt included.
    """
    ensure_writable_folder(path.parent)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
