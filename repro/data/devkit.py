"""ILSVRC2012's development kit, which tells the classes of the validation images."""

from __future__ import annotations

import gzip
import io
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path

from repro.data.mat_files import read_structures
from repro.data.storage import describe_damage
from repro.data.synsets import DEVKIT, SOURCE
from repro.errors import ReproError
from repro.files.places import is_there
from repro.files.regular_files import open_regular
from repro.files.text_files import decode_text, split_lines

_META = "data/meta.mat"
_TRUTH = "data/ILSVRC2012_validation_ground_truth.txt"
_LIMIT = 1 << 26  # bytes, packed or unpacked; the official one has 2.6 MB
_NUMBER = re.compile(r"[0-9]{1,9}")


def read_validation_classes(root: Path, wnids: Sequence[str]) -> dict[str, str]:
    """Read the synset of every validation image, by image id: {"ILSVRC2012_val_00000001": "n01751748", ...}.

    The ground truth has a line for each image, in the order of the file names, with the devkit's own id of the class;
    meta.mat tells the synset of each id.

    Args:
        root: directory with ILSVRC2012_devkit_t12.tar.gz.
        wnids: the classes that are expected.

    Raises:
        ReproError: the devkit is missing, damaged or far too large, or has other classes.
    """
    where, files = _read_files(root)
    wnid_of_id = _read_synsets(f"{where}: {_META}", files[_META], set(wnids))
    truth = {}
    for number, text in enumerate(split_lines(decode_text(files[_TRUTH], f"{where}: {_TRUTH}").rstrip()), 1):
        id_ = text.strip()
        if not _NUMBER.fullmatch(id_) or int(id_) not in wnid_of_id:
            raise ReproError(
                f"{where}: {_TRUTH}, line {number}: {id_[:40]!r} is the id of none of the {len(wnid_of_id)} classes in "
                "meta.mat. Get the devkit again."
            )
        truth[f"ILSVRC2012_val_{number:08d}"] = wnid_of_id[int(id_)]
    return truth


def _read_files(root: Path) -> tuple[Path, dict[str, bytes]]:
    """The path of the devkit, and its two files that are needed."""
    path = root / f"{DEVKIT}.tar.gz"
    if not is_there(path):
        raise ReproError(
            f"no ILSVRC2012 devkit: {path} is missing, which says what the validation images are of. {SOURCE}."
        )
    try:
        # All of it, so that its checksum is compared.
        with open_regular(path, _LIMIT, "the devkit") as file, gzip.open(file) as unpacked:
            content = unpacked.read(_LIMIT + 1)
        if len(content) > _LIMIT:
            raise ReproError(f"{path} is no ILSVRC2012 devkit: unpacked, it has more than {_LIMIT} bytes")
        files = _extract(content)
    except ReproError:
        raise
    except Exception as error:  # what gzip and tarfile raise depends on where the damage is
        raise ReproError(f"{path} is damaged: {describe_damage(error)}. Download it again.") from None
    if absent := {_META, _TRUTH} - files.keys():
        raise ReproError(f"{path} is no ILSVRC2012 devkit: {DEVKIT}/{min(absent)} is not in it")
    return path, files


def _extract(archive: bytes) -> dict[str, bytes]:
    """The two files that are needed, by name."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
        for member in tar:
            if member.size < 0:
                raise tarfile.TarError(f"{member.name} has {member.size} bytes")
            name = member.name.removeprefix("./").removeprefix(f"{DEVKIT}/")
            if name in (_META, _TRUTH):
                found[name] = archive[member.offset_data : member.offset_data + member.size]
                if not member.isreg() or member.issparse() or len(found[name]) != member.size:
                    raise tarfile.TarError(f"{name} is no whole, plain file")
    return found


def _read_synsets(where: str, content: bytes, wnids: set[str]) -> dict[int, str]:
    """{ILSVRC2012_ID: WNID} of the classes: the synsets without children. Inner nodes of WordNet follow them."""
    try:
        synsets = read_structures(content, "synsets", ("ILSVRC2012_ID", "WNID", "num_children"))
    except ValueError as error:
        raise ReproError(f"{where} cannot be read: {error}. Get the devkit again.") from None
    leaves = [synset for synset in synsets if synset["num_children"] == 0]
    wnid_of_id = {int(synset["ILSVRC2012_ID"]): str(synset["WNID"]) for synset in leaves}
    if set(wnid_of_id.values()) != wnids or len(leaves) != len(wnids):
        odd = sorted(set(wnid_of_id.values()) ^ wnids)
        raise ReproError(
            f"{where} lists {len(leaves)} classes, which are not the {len(wnids)} of the data set: "
            f"{', '.join(odd[:3]) or 'one is there twice'}{', ...' if len(odd) > 3 else ''}"
        )
    return wnid_of_id
