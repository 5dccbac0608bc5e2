"""Places of the project's data files, and writing of files such that an interruption leaves none half written."""

from __future__ import annotations

import errno
import os
import stat
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
#: The committed records and their evidence: a directory of results like the users'.
REFERENCE = TABLES / "reference"
#: Beside `tables/` in both.
CHECKPOINTS = TABLES.parent / "checkpoints.yaml"


def cache_directory() -> Path:
    """`REPRO_CACHE`, else the user's cache directory of this platform."""
    from platformdirs import user_cache_dir

    return Path(os.environ.get("REPRO_CACHE") or user_cache_dir("gcnet-repro", appauthor=False))


def write_atomically(path: Path, content: bytes, *, lasting: bool = True) -> None:
    """Write `content` to `path` so that a reader sees the old file or the new one, never a part.

    Args:
        lasting: wait until it is on the disk. Otherwise the machine's failure within moments may lose it, and hundreds
            of files take no longer than one.

    Raises:
        ReproError: the directory cannot be written or the disk is full; an existing `path` is untouched.
    """
    try:
        replace_file(path, content, lasting=lasting)
    except OSError as error:
        raise unwritable(path, error) from error


def replace_file(path: Path, content: bytes, *, lasting: bool = True) -> None:
    """Put a file with `content` in the place of `path` at once. It keeps the mode and, where possible, the owner of the
    file that it replaces; a new one has what the umask leaves. A link is replaced, not followed.

    Raises:
        OSError: the directory cannot be written, or the disk is full; what was at `path` is untouched.
    """
    # No name that somebody could have guessed, nor one longer than the file's own may be.
    temporary = path.with_name(f".{path.name[:20]}.{os.urandom(8).hex()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    before = None
    with suppress(FileNotFoundError):
        before = path.lstat()
    kept = before if before and stat.S_ISREG(before.st_mode) else None
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with open(os.open(temporary, flags, 0o600 if kept else 0o666), "wb") as file:
        try:
            if kept:
                with suppress(PermissionError):  # only root may give a file away
                    os.fchown(file.fileno(), kept.st_uid, kept.st_gid)
                os.fchmod(file.fileno(), stat.S_IMODE(kept.st_mode))
            file.write(content)
            file.flush()
            if lasting:
                os.fsync(file.fileno())
            try:
                os.replace(temporary, path)
            except FileNotFoundError:  # of a file server whose answer was lost, and that was asked again
                if not os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                    raise
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise


def unwritable(path: Path, error: OSError) -> ReproError:
    """The error to raise where a file cannot be written, with the reason in words."""
    why = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}.get(error.errno or 0)
    advice = "Free some space, or choose another place." if why else "Choose another place."
    return ReproError(f"cannot write {path}: {why or error.strerror}. {advice}")
