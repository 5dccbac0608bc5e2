"""Places of the project's data files, and writing of files such that an interruption leaves none half written."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from repro.errors import ReproError

_PACKAGE = Path(__file__).resolve().parent
#: `tables/` stands beside the package in a checkout and inside it in a wheel.
TABLES = _PACKAGE / "tables" if (_PACKAGE / "tables").is_dir() else _PACKAGE.parent / "tables"
#: Whether this is an installed copy, in which nothing may be written, and not a checkout of the repository.
INSTALLED = TABLES.parent == _PACKAGE
PUBLISHED = TABLES / "published"
TEMPLATES = TABLES / "templates"
#: Beside `tables/` in both.
CHECKPOINTS = TABLES.parent / "checkpoints.yaml"


def cache_directory() -> Path:
    """`REPRO_CACHE`, else the user's cache directory of this platform."""
    from platformdirs import user_cache_dir

    return Path(os.environ.get("REPRO_CACHE") or user_cache_dir("gcnet-repro", appauthor=False))


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that a reader sees the old file or the new one, never a part.

    Raises:
        ReproError: the directory cannot be written or the disk is full; an existing `path` is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)  # of a process with this number that was killed, or a link by someone else
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> ReproError:
    """The error to raise where a file cannot be written, with the reason in words."""
    why = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}.get(error.errno or 0)
    advice = "Free some space, or choose another place." if why else "Choose another place."
    return ReproError(f"cannot write {path}: {why or error.strerror}. {advice}")
