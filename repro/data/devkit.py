"""ILSVRC2012's development kit, which tells the classes of the validation images."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import scipy.io
from scipy.io.matlab import MatReadError

from repro.data.synsets import DEVKIT, SOURCE
from repro.errors import ReproError

_META = "data/meta.mat"
_TRUTH = "data/ILSVRC2012_validation_ground_truth.txt"


def read_validation_classes(root: Path, wnids: Sequence[str]) -> dict[str, str]:
    """Read the synset of every validation image, by image id: {"ILSVRC2012_val_00000001": "n01751748", ...}.

    The ground truth has a line for each image, in the order of the file names, with the devkit's own id of the class;
    meta.mat tells the synset of each id.

    Args:
        root: directory with ILSVRC2012_devkit_t12.tar.gz.
        wnids: the classes that are expected.

    Raises:
        ReproError: the devkit is missing or damaged, or has other classes.
    """
    where, files = _read_files(root)
    wnid_of_id = _read_synsets(f"{where}: {_META}", files[_META], set(wnids))
    truth = {}
    for number, id_ in enumerate(files[_TRUTH].split(), 1):
        try:
            wnid = wnid_of_id[int(id_)]
        except (ValueError, KeyError):
            raise ReproError(
                f"{where}: {_TRUTH}, line {number}: {id_[:40]!r} is the id of none of the {len(wnid_of_id)} classes in "
                "meta.mat. Get the devkit again."
            ) from None
        truth[f"ILSVRC2012_val_{number:08d}"] = wnid
    return truth


def _read_files(root: Path) -> tuple[Path, dict[str, bytes]]:
    """The path of the devkit, and its two files that are needed."""
    path = root / f"{DEVKIT}.tar.gz"
    if not path.is_file():
        raise ReproError(
            f"no ILSVRC2012 devkit: {path} is missing, which says what the validation images are of. {SOURCE}."
        )
    try:
        # All of it, so that its checksum is compared: scipy can crash on a damaged .mat file.
        content = gzip.decompress(path.read_bytes())
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            return path, {name: _extract(tar, f"{DEVKIT}/{name}") for name in (_META, _TRUTH)}
    except KeyError as error:
        raise ReproError(f"{path} is no ILSVRC2012 devkit: {error.args[0]}") from None
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise ReproError(f"{path} is damaged: {error}. Download it again.") from None


def _extract(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    if file is None:
        raise KeyError(f"{name} is no file")
    return file.read()


def _read_synsets(where: str, content: bytes, wnids: set[str]) -> dict[int, str]:
    """{ILSVRC2012_ID: WNID} of the classes: the synsets without children. Inner nodes of WordNet follow them."""
    try:
        file = io.BytesIO(content)
        # scipy-stubs lacks file objects, which scipy documents.
        synsets = scipy.io.loadmat(file, squeeze_me=True, variable_names=["synsets"])["synsets"]  # type: ignore[arg-type]
        wnid_of_id = {
            int(synset["ILSVRC2012_ID"]): str(synset["WNID"])
            for synset in synsets.ravel()
            if int(synset["num_children"]) == 0
        }
    except (MatReadError, ValueError, TypeError, LookupError, OSError, NotImplementedError, zlib.error) as error:
        raise ReproError(f"{where} cannot be read ({type(error).__name__}: {error}). Get the devkit again.") from None
    if set(wnid_of_id.values()) != wnids or len(wnid_of_id) != len(wnids):
        odd = sorted(set(wnid_of_id.values()) ^ wnids)
        raise ReproError(
            f"{where} lists {len(wnid_of_id)} classes, which are not the {len(wnids)} of the data set: "
            f"{', '.join(odd[:3]) or 'one is there twice'}{', ...' if len(odd) > 3 else ''}"
        )
    return wnid_of_id
