"""Files that others published, fetched once, checked, and kept under their sha256. Importing this loads no torch."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from repro.checkpoints import LIMIT
from repro.checkpoints.cache import Cache, DownloadSource, Wanted, require_safe_name
from repro.errors import ReproError
from repro.files.places import read_state
from repro.files.regular_files import open_regular
from repro.paths import cache_directory

if TYPE_CHECKING:
    from repro.checkpoints.transfer import Patience


@dataclass(frozen=True)
class Fetched:
    """A file in the cache."""

    path: Path
    sha256: str  #: all 64 hex digits
    size: int  #: bytes
    url: str | None  #: where it came from, now or earlier; None if that is not known
    verified: bool = False  #: its hash begins as its publisher says


def fetch(
    urls: Sequence[str],
    *,
    name: str,
    sha256: str | None,
    md5: str | None = None,
    size: int | None = None,
    directory: Path | None = None,
    progress: Callable[[int, int | None], None] | None = None,
    patience: Patience | None = None,
) -> Fetched:
    """Fetch a file from the cache or, if it is not there, from the first of `urls` that gives it.

    If several processes ask for it, one downloads and the others wait. A download that ends early is resumed, now or by
    the next call. Nothing appears in the cache under the file's name that is not whole and checked.

    Args:
        urls: addresses of the same file, in the order to try.
        name: what the file is called in the cache; no directory.
        sha256: the file's hash, or how it begins: at least 6 hex digits.
        md5: the same, used where `sha256` is None and this is all that is published.
        size: bytes of the file, if known.
        directory: the cache, instead of `cache_directory()`.
        progress: called with the number of bytes that are here (fewer than before after a restart) and the total,
            if known.
        patience: with slow and failing servers, instead of `Patience()`.

    Raises:
        ReproError: no URL gives the file (with the reason of each), no hash is given, `name` or a hash is malformed,
            the disk is full, or the cache cannot be written.
    """
    require_safe_name(name)
    wanted = _describe_wanted(name, sha256, md5, size)
    cache, problems, answered = Cache(directory or cache_directory()), [], False
    for path in _find_stored(cache, wanted, urls):
        return _describe_stored(cache, path)

    from repro.checkpoints import transfer  # slow to import, and not needed if the file is cached

    with cache.open_partial(_name_partial(wanted, urls)) as partial:
        for path in _find_stored(cache, wanted, urls):  # another process had it meanwhile
            return _describe_stored(cache, path)
        if wanted.is_met(partial):  # that process was killed before it could say so
            return _describe_stored(cache, cache.publish(partial, name, wanted.digest))
        for url in urls:
            try:
                transfer.complete(partial, url, wanted, cache, progress, patience)
            except transfer.Unavailable as reason:
                problems.append(f"\n  {url}: {reason}")
                answered |= not isinstance(reason, transfer.Unreachable)
            else:
                return _describe_stored(cache, cache.publish(partial, name, wanted.digest))
    if problems and not answered and directory is None:
        raise ReproError(
            f"{name} is not in the cache {cache.directory}, and this machine reaches none of its addresses:"
            f"{''.join(problems)}\nIf it has no network, as compute nodes of clusters: `repro checkpoints fetch "
            "--table all`, on a machine that has one and with the same REPRO_CACHE, brings what all tables need; "
            "`repro checkpoints import FILE` takes a copy from elsewhere."
        )
    raise ReproError(
        f"{name} could not be downloaded from{''.join(problems) or ' anywhere: no URL is known.'}\nIf you have a copy "
        "from elsewhere, `repro checkpoints import FILE` checks it and puts it where this command looks first."
    )


def store(
    path: Path,
    urls: Sequence[str],
    *,
    name: str,
    sha256: str | None,
    md5: str | None = None,
    size: int | None = None,
    directory: Path | None = None,
) -> Fetched:
    """Put a copy of a file into the cache, as if it had been downloaded: `fetch` finds it there from then on.

    Args:
        path: the file that the user brought.
        urls, name, sha256, md5, size, directory: as of `fetch`.

    Raises:
        ReproError: the file cannot be read or is another one, or the cache cannot be written.
    """
    require_safe_name(name)
    wanted = _describe_wanted(name, sha256, md5, size)
    cache = Cache(directory or cache_directory())
    for stored in _find_stored(cache, wanted, urls):
        return _describe_stored(cache, stored)
    with cache.open_partial(_name_partial(wanted, urls)) as partial, open_regular(path, LIMIT, "weights") as file:
        cache.require_room(read_state(path).st_size)
        partial.restart(DownloadSource(None))
        while block := file.read(1 << 20):
            partial.append(block)
        if not wanted.is_met(partial):
            raise ReproError(f"{path} is not {name}: {wanted.describe_difference(partial)}, or its size is another")
        return _describe_stored(cache, cache.publish(partial, name, wanted.digest))


def find_cached(sha256: str, directory: Path | None = None) -> Path | None:
    """Find a file of the cache by its sha256 or the beginning of it, without reading it; None if it is not there."""
    return next(Cache(directory or cache_directory()).find_stored(_require_prefix(sha256)), None)


def _describe_wanted(name: str, sha256: str | None, md5: str | None, size: int | None) -> Wanted:
    """Describe what is known of a file beforehand.

    Raises:
        ReproError: no hash is, or one is malformed.
    """
    if sha256:
        return Wanted(f"sha256:{_require_prefix(sha256)}", size)
    if md5:
        return Wanted(f"md5:{_require_prefix(md5, 'md5', 32)}", size)
    raise ReproError(f"{name} is not downloaded: no hash of it is published, so that nobody could check it.")


def _name_partial(wanted: Wanted, urls: Sequence[str]) -> str:
    """Name an unfinished download. Six digits: whoever knows more of them has the same key."""
    if wanted.sha256:
        return wanted.sha256[:6]
    return f"url-{hashlib.sha256(' '.join(urls).encode()).hexdigest()[:32]}"


def _find_stored(cache: Cache, wanted: Wanted, urls: Sequence[str]) -> Iterator[Path]:
    """Yield the undamaged files of the cache that are `wanted`. Damaged ones are left out, and so fetched again."""
    paths = cache.find_stored(wanted.sha256) if wanted.sha256 else cache.find_stored_from(urls, wanted.digest)
    return filter(cache.is_whole, paths)


def _describe_stored(cache: Cache, path: Path) -> Fetched:
    return Fetched(path, path.parent.name, read_state(path).st_size, cache.read_source_url(path), verified=True)


def _require_prefix(digits: str, kind: str = "sha256", whole: int = 64) -> str:
    if not re.fullmatch(rf"[0-9a-f]{{6,{whole}}}", digits.lower()):
        raise ReproError(f"{digits[:80]!r} is no {kind}, nor how one begins: 6 to {whole} hex digits.")
    return digits.lower()
