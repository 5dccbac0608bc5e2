"""The reader of the small array files (.npz, no pickle) that evaluations leave."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from repro.errors import UNREADABLE, ReproError
from repro.files.regular_files import open_regular

_LIMIT = 1 << 30  #: bytes; the matches of all of COCO's validation split have a hundredth of it
REMEDY = "Delete it to have it made again."


@contextmanager
def open_arrays(path: Path, version: int) -> Iterator[Any]:
    """Open a file whose array `format` is `version`; its arrays are read by name within the `with` block.

    Raises:
        ReproError: the file is missing, damaged, of another version, or what is read of it is not there.
    """
    try:
        with open_regular(path, _LIMIT) as opened, np.load(opened, allow_pickle=False) as file:
            if int(file["format"]) != version:
                raise ReproError(f"{path} is of another version. {REMEDY}")
            yield file
    except OSError as error:
        raise ReproError(f"{path} cannot be read: {error.strerror or error}. {REMEDY}") from None
    # The file of a single array is opened, too, and has no `with` block: TypeError, until Python 3.10 AttributeError.
    except (*UNREADABLE, zipfile.BadZipFile, zlib.error, lzma.LZMAError, ArithmeticError, MemoryError) as error:
        raise ReproError(f"{path} is damaged: {error}. {REMEDY}") from None
