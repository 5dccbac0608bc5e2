"""ILSVRC2012's development kit: which class every validation image is of."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import scipy.io

from repro.data.synsets import DEVKIT, SOURCE
from repro.errors import ReproError

_META = "data/meta.mat"
_TRUTH = "data/ILSVRC2012_validation_ground_truth.txt"

#: What scipy raises for a file that is no .mat file, or a damaged one, found by damaging files at random.
_NO_MAT = (ValueError, TypeError, KeyError, IndexError, OSError, EOFError, zlib.error, NotImplementedError,
           MemoryError, OverflowError, AttributeError, UnboundLocalError)  # fmt: skip


def validation_classes(root: Path, wnids: Sequence[str]) -> dict[str, str]:
    """The synset of every validation image, by image id: {"ILSVRC2012_val_00000001": "n01751748", ...}.

    The ground truth is a line an image, in the order of the file names, with the devkit's own id of the class; meta.mat
    says which synset that id is.

    Args:
        root: directory with ILSVRC2012_devkit_t12.tar.gz, or with what is in it under ILSVRC2012_devkit_t12/.
        wnids: the classes that there may be.

    Raises:
        ReproError: the devkit is not there, is damaged, or is about other classes.
    """
    where, files = _read(root)
    wnid_of_id = _synsets(f"{where}: {_META}", files[_META], set(wnids))
    truth = {}
    for number, line in enumerate(files[_TRUTH].split(b"\n")[:-1] or [b""], 1):
        try:
            wnid = wnid_of_id[int(line)]
        except (ValueError, KeyError):
            raise ReproError(
                f"{where}: {_TRUTH}, line {number}: {line[:40]!r} is the id of none of the {len(wnid_of_id)} classes in "
                "meta.mat. Get the devkit again."
            ) from None
        truth[f"ILSVRC2012_val_{number:08d}"] = wnid
    return truth


def _read(root: Path) -> tuple[Path, dict[str, bytes]]:
    """Where the devkit is, and its two files that matter."""
    directory, archive = root / DEVKIT, root / f"{DEVKIT}.tar.gz"
    if directory.is_dir():
        try:
            return directory, {name: (directory / name).read_bytes() for name in (_META, _TRUTH)}
        except OSError as error:
            raise ReproError(f"{error.filename} cannot be read: {error.strerror}. Unpack {DEVKIT}.tar.gz again.") from None
    if not archive.is_file():
        raise ReproError(
            f"no ILSVRC2012 devkit: {archive} is missing, which says what the validation images are of. {SOURCE}."
        )
    try:
        with tarfile.open(archive) as tar:
            files = {name: tar.extractfile(f"{DEVKIT}/{name}") for name in (_META, _TRUTH)}
            return archive, {name: file.read() for name, file in files.items()}
    except KeyError as error:
        raise ReproError(f"{archive} is no ILSVRC2012 devkit: {error.args[0]}") from None
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, OSError, AttributeError) as error:
        raise ReproError(f"{archive} is damaged: {error}. Download it again.") from None


def _synsets(where: str, content: bytes, wnids: set[str]) -> dict[int, str]:
    """{ILSVRC2012_ID: WNID} of the classes: the synsets without children. Inner nodes of WordNet follow them."""
    try:
        synsets = scipy.io.loadmat(io.BytesIO(content), squeeze_me=True, variable_names=["synsets"])["synsets"]
        found = {
            int(one["ILSVRC2012_ID"]): str(one["WNID"]) for one in synsets.ravel() if int(one["num_children"]) == 0
        }
    except _NO_MAT as error:
        raise ReproError(f"{where} cannot be read ({type(error).__name__}: {error}). Get the devkit again.") from None
    if set(found.values()) != wnids or len(found) != len(wnids):
        odd = sorted(set(found.values()) ^ wnids)
        raise ReproError(
            f"{where} lists {len(found)} classes, which are not the {len(wnids)} of the data set: "
            f"{', '.join(odd[:3]) or 'one is there twice'}{', ...' if len(odd) > 3 else ''}"
        )
    return found
