"""Files of predictions of whole data sets, packed with gzip; refused when damaged.

Predictions are known by the sha256 of what is packed: the same packed by another Python or zlib are other bytes.
Records of earlier versions have the sha256 of the file, which is taken as well.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from repro.errors import ReproError
from repro.files.compressed import decompress
from repro.files.regular_files import read_regular
from repro.files.schema import describe_violation
from repro.paths import write_atomically

Document = TypeVar("Document")

#: Bytes that such a file has at most, packed or not: the scores of all of Kinetics' validation split have 0.5 GB.
PREDICTIONS_LIMIT = 8 << 30
REMEDY = "Delete it to have the predictions made again."


def check_ids(evaluated: Iterable[int | str], expected: Iterable[int | str], items: str, place: Path) -> None:
    """Check that no item is left out, added or evaluated twice.

    Args:
        items: what the ids are of, "images" or "videos".
        place: where the data set is.

    Raises:
        ReproError: the ids are not exactly the expected ones, each once; some are named.
    """
    counts, wanted = Counter(evaluated), set(expected)
    problems = {
        "missing": wanted - counts.keys(),
        "not in the data set": counts.keys() - wanted,
        "there more than once": {item for item, n in counts.items() if n > 1},
    }
    wrong = [
        f"{len(ids)} {what} ({', '.join(map(str, sorted(ids)[:3]))}{', ...' if len(ids) > 3 else ''})"
        for what, ids in problems.items()
        if ids
    ]
    if wrong:
        raise ReproError(
            f"the predictions are not for exactly the {len(wanted)} {items} of {place}: {'; '.join(wrong)}"
        )


def write(document: object, path: Path) -> str:
    """Write `document` to `path` (.json.gz) and return the sha256 of its JSON.

    Raises:
        ReproError: the file cannot be written.
    """
    return pack(json.dumps(document, separators=(",", ":"), sort_keys=True, allow_nan=False).encode(), path)


def pack(content: bytes, path: Path) -> str:
    """Write `content` to `path`, packed, and return its sha256.

    Raises:
        ReproError: the file cannot be written.
    """
    write_atomically(path, gzip.compress(content, compresslevel=6, mtime=0))
    return hashlib.sha256(content).hexdigest()


def unpack(path: Path, what: str, sha256: str | None) -> bytes:
    """Read what `pack` wrote.

    Args:
        what: what it is, for messages.
        sha256: as of `read`.

    Raises:
        ReproError: the file is missing, cut short or changed.
    """
    packed = read_regular(path, PREDICTIONS_LIMIT, what)
    content = decompress(packed, path, PREDICTIONS_LIMIT, what, REMEDY)
    if sha256 is not None and sha256 not in (hashlib.sha256(one).hexdigest() for one in (content, packed)):
        raise ReproError(f"{what} {path} are not the ones recorded: the sha256 is not {sha256}. {REMEDY}")
    return content


def read(path: Path, schema: TypeAdapter[Document], sha256: str | None = None) -> Document:
    """Read what `write` wrote.

    Args:
        sha256: of the content or, in records of earlier versions, of the file, where it is known, to refuse a file that
            is whole but another.

    Raises:
        ReproError: the file is missing, cut short, changed, or not of that schema.
    """
    content = unpack(path, "predictions", sha256)
    try:
        return schema.validate_json(content)
    except ValidationError as error:
        raise ReproError(f"{path} is not a predictions file: {describe_violation(error)}. {REMEDY}") from None
