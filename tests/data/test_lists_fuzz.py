"""Damaged lists, annotations, archives and devkits: read as the peer reads them, or one message, never a traceback."""

from __future__ import annotations

import contextlib
import csv
import faulthandler
import gzip
import io
import json
import os
import random
import struct
import tarfile
import unicodedata
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import imagenet_trees as trees
import pycocotools.mask as pycoco_mask
import pytest
import scipy.io
from fuzzing import number_inputs, try_inputs
from pycocotools.coco import COCO

from repro.data.annotations import read_annotations
from repro.data.devkit import read_validation_classes
from repro.data.kinetics_lists import find_class, read_list
from repro.data.leftovers import is_hidden
from repro.data.storage import TarArchive
from repro.errors import ReproError

#: Of each kind, files in some seconds together, and its share of a reader's time.
FEW = {
    "csv": (500, 1 / 2),
    "text": (500, 1 / 2),
    "annotations": (300, 1),
    "tar": (200, 1 / 2),
    "devkit": (200, 1 / 2),
}
CLASSES = ("abseiling", "petting animal (not cat)", "tasting beer", "zumba")
CSV_NAMES = {"label": 0, "youtube_id": 1, "time_start": 2, "time_end": 3}
DEVKIT = "ILSVRC2012_devkit_t12"
META = trees.devkit(trees.DEVKIT_IDS, trees.TRUTH)["data/meta.mat"]
WNIDS_OF_WHOLE = {number: wnid for wnid, number in trees.DEVKIT_IDS.items()}

Result = Any
#: (file's name, valid content, what ours reads, what the peer reads)
Reader = tuple[str, bytes, Callable[[Path], Result], Callable[[bytes], Result]]


def write_list(kind: str) -> bytes:
    lines = ["label,youtube_id,time_start,time_end,split"] if kind == "csv" else []
    for number in range(12):
        label, video = number % len(CLASSES), f"-0dR_kGw{number:03d}"
        if kind == "csv":
            quote = '"' if number % 3 == 0 else ""
            lines.append(f"{quote}{CLASSES[label]}{quote},{video},{number},{number + 10},val")
        else:
            lines.append(f"{CLASSES[label].replace(' ', '_')}/{video}_{number:06d}_{number + 10:06d}.mp4 {label}")
    return "\n".join([*lines, ""]).encode()


def read_csv_as_python_does(content: bytes) -> dict[str, int | None]:
    """With Python's csv, in its strict mode; only where every row is well-formed."""
    rows = csv.DictReader(io.StringIO(decode(content), newline=""), strict=True)
    found: dict[str, int | None] = {}
    for row in rows:
        seconds = [int(float(row[name])) for name in ("time_start", "time_end")]
        video = unicodedata.normalize("NFC", row["youtube_id"].strip())
        found[f"{video}_{seconds[0]:06d}_{seconds[1]:06d}"] = find_class(row["label"], CLASSES)
    return found


def read_text_as_mmaction2_does(content: bytes) -> dict[str, int]:
    found = {}
    for line in io.StringIO(decode(content), newline=None):
        if line.strip():
            name, number = line.strip().rsplit(" ", 1)
            stem = os.path.splitext(os.path.basename(name))[0]
            found[unicodedata.normalize("NFC", stem)] = int(number)
    return found


def decode(content: bytes) -> str:
    for mark, encoding in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"\xef\xbb\xbf", "utf-8-sig")):
        if content.startswith(mark):
            return content.decode(encoding)
    return content.decode("utf-16-le" if content[1:2] == b"\0" else "utf-8")


def write_annotations() -> bytes:
    image = {"id": 7, "file_name": "a/7.jpg", "height": 20, "width": 30}
    thing = {"image_id": 7, "category_id": 1, "bbox": [2.0, 2.5, 10.0, 1e1], "area": 50.0, "iscrowd": 0}
    return json.dumps(
        {
            "images": [image, {**image, "id": 3, "file_name": "é.jpg"}],
            "annotations": [
                {"id": 1, **thing, "segmentation": [[2.0, 2.0, 12.0, 2.0, 2.0, 12.0]]},
                {"id": 2, **thing, "iscrowd": 1, "segmentation": {"size": [20, 30], "counts": [100, 50, 450]}},
            ],
            "categories": [{"id": 1, "name": "person"}, {"id": 2}],
        }
    ).encode()


def read_annotations_of(path: Path) -> Result:
    found = read_annotations(path)
    return (
        [(image.id, image.file_name, image.height, image.width) for image in found.images.values()],
        found.category_ids,
        {
            i: [(o.id, o.category_id, tuple(o.bbox), o.area, o.iscrowd, draw_mask(o.segmentation)) for o in of]
            for i, of in found.objects.items()
        },
    )


def draw_mask(segmentation: Any) -> Any:
    """Polygons of three points and more; of run lengths, the sum and the hash of the pixels."""
    if not isinstance(segmentation, dict):
        return [list(polygon) for polygon in segmentation if len(polygon) >= 6]
    height, width = segmentation["size"]
    if height * width > 1 << 20:
        return segmentation["size"]
    if isinstance(segmentation["counts"], list):
        segmentation = pycoco_mask.frPyObjects(segmentation, height, width)
    mask = pycoco_mask.decode(segmentation)
    return int(mask.sum()), hash(mask.tobytes())


def read_annotations_as_pycocotools_does(content: bytes) -> Result:
    coco = COCO()
    coco.dataset = json.loads(decode(content))
    coco.createIndex()
    images = [coco.imgs[i] for i in sorted(coco.imgs)]
    return (
        [(image["id"], image["file_name"], image["height"], image["width"]) for image in images],
        sorted(coco.cats),
        {
            image["id"]: [
                (o["id"], o["category_id"], tuple(o["bbox"]), o["area"], o["iscrowd"], draw_mask(o["segmentation"]))
                for o in coco.imgToAnns[image["id"]]
            ]
            for image in images
        },
    )


def write_archive() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("a.JPEG", "x" * 120 + ".JPEG", "é.JPEG", "c.JPEG"):
            member = tarfile.TarInfo(name)
            member.size = 700
            archive.addfile(member, io.BytesIO(name.encode().ljust(700, b"-")))
    return content.getvalue()


def read_archive(path: Path) -> Result:
    archive = TarArchive(path)
    return {name: archive.read(index, 1 << 20, name) for index, name in enumerate(archive.names)}


def read_archive_as_tarfile_does(content: bytes) -> Result:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        files = {}
        for member in archive.getmembers():
            if not member.isdir() and not is_hidden(member.name.removeprefix("./")):
                files[member.name.removeprefix("./")] = archive.extractfile(member).read()
        return files


def write_devkit() -> bytes:
    files = {**trees.devkit(trees.DEVKIT_IDS, trees.TRUTH), "data/meta.mat": META}  # which has the time in it
    return trees.tar({f"{DEVKIT}/{name}": content for name, content in files.items()})


def read_devkit(path: Path) -> Result:
    path.write_bytes(gzip.compress(path.read_bytes(), 1))  # damaged before it was packed
    return read_validation_classes(path.parent, trees.WNIDS)


def read_devkit_as_scipy_does(content: bytes) -> Result:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        text = archive.extractfile(f"{DEVKIT}/data/ILSVRC2012_validation_ground_truth.txt").read()
        meta = archive.extractfile(f"{DEVKIT}/data/meta.mat").read()
    wnids = WNIDS_OF_WHOLE if meta == META else read_synsets_in_a_child(meta)
    return {f"ILSVRC2012_val_{i:08d}": wnids[int(one)] for i, one in enumerate(decode(text).split(), 1)}


def read_synsets_in_a_child(meta: bytes) -> dict[int, str]:
    """scipy ends the process for some damaged files."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        faulthandler.disable()  # pytest's would print where
        with contextlib.suppress(Exception):
            synsets = scipy.io.loadmat(io.BytesIO(meta), squeeze_me=True, variable_names=["synsets"])["synsets"]
            found = {int(s["ILSVRC2012_ID"]): str(s["WNID"]) for s in synsets.ravel() if int(s["num_children"]) == 0}
            os.write(writing, json.dumps(list(found.items())).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        content = pipe.read()
    os.waitpid(child, 0)
    return dict(json.loads(content))


def read_of(root: Path) -> Result:
    return read_list(root, "val", CLASSES)[1]


READERS: dict[str, Reader] = {
    "csv": ("val.csv", write_list("csv"), lambda path: read_of(path.parent), read_csv_as_python_does),
    "text": (
        "kinetics400_val_list_videos.txt",
        write_list("text"),
        lambda path: read_of(path.parent),
        read_text_as_mmaction2_does,
    ),
    "annotations": (
        "instances_val2017.json",
        write_annotations(),
        read_annotations_of,
        read_annotations_as_pycocotools_does,
    ),
    "tar": ("ILSVRC2012_img_val.tar", write_archive(), read_archive, read_archive_as_tarfile_does),
    "devkit": (f"{DEVKIT}.tar.gz", write_devkit(), read_devkit, read_devkit_as_scipy_does),
}
SNIPPETS = {
    "text": [b'"', b"'", b",", b"\n", b"\r", b"\r\n", b" ", b"\xef\xbb\xbf", b"\0", b"\xff", b"\xe2\x80\xa8",
             b"9" * 5000, b"-1", b"1.0", b"\x1f\x8b", b"[" * 300, b"{", b"}", b"]", b"null", b"true", b"NaN", b"1e999",
             b"\\ud800", b"../", b"x" * 140_000, b":", b"\xd9\xa1", b"e\xcc\x81"],
    "binary": [struct.pack("<I", n) for n in (0, 1, 2, 14, 15, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)]
    + [b"\x80" + bytes(11), b"\xff" * 12, b"00000000000\0", b"77777777777\0", b"x", b"g", b"L", b"S", b"5", b"9",
       b"20 path=../../a.JPEG\n", b"12 size=-512\n", b"22 GNU.sparse.size=9\n"],
}  # fmt: skip


def make_damaged(kind: str, number: int) -> bytes:
    """File `number` of a kind: bytes changed, put in, left out, moved or doubled; sometimes in another encoding."""
    draw = random.Random(f"{kind} {number}")
    binary = kind in ("tar", "devkit")
    content = bytearray(READERS[kind][1])
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        at, how = draw.randrange(len(content) + 1), draw.random()
        length = draw.choice((1, 1, 2, 4, 8, 40, 512))
        snippet = draw.choice(SNIPPETS["binary" if binary else "text"])
        if binary and draw.random() < 0.5:  # within a header
            at = at // 512 * 512 + draw.choice((0, 100, 124, 124, 148, 156, 257, 345)) + draw.choice((0, 0, 1, 5))
        if how < 0.2 and content:
            content[min(at, len(content) - 1)] ^= 1 << draw.randrange(8)
        elif how < 0.5:
            content[at : at + len(snippet)] = snippet
        elif how < 0.65:
            content[at:at] = snippet
        elif how < 0.75:
            del content[at : at + length]
        elif how < 0.85:
            content[at:at] = content[at : at + length]
        elif how < 0.95:
            other = draw.randrange(len(content) + 1)
            content[at : at + length] = content[other : other + length]
        else:
            del content[at:]
    if kind == "annotations" and draw.random() < 0.7:
        content = bytearray(make_other_values(draw))
    if kind == "tar" or draw.random() < 0.5:
        content = mend_checksums(content) if binary else content
    if not binary and draw.random() < 0.1:
        return bytes(content).decode(errors="replace").encode(draw.choice(("utf-16", "utf-8-sig", "utf-16-le")))
    return bytes(content)


VALUES = [
    *(None, True, 0, -1, 1, 2, 7, 3, 20, 30, 600, 0.5, 1e308, -1e308, float("nan"), float("inf"), -float("inf")),
    *(
        2**31,
        2**63,
        10**400,
        "",
        "x",
        "7.jpg",
        "../7.jpg",
        "/7.jpg",
        "P",
        "[]",
        [],
        {},
        [[[]]],
        [0, 0, 5],
        [0, 0, -5, 5],
    ),
    *([0, 600], [-1, 601], [100, 50, 449], [1, 2, 3, 4], [[1, 1, 2, 2, 3, 3, 4]], [[1, 1, 2, 2]]),
    *({"size": size, "counts": counts} for size in ([20, 30], [30, 20]) for counts in ([600], [0, 600], "Pb0", "`b0")),
]


def make_other_values(draw: random.Random) -> bytes:
    """The annotations with other values, entries left out or twice; NaN and infinities too."""
    content = json.loads(READERS["annotations"][1])
    for _ in range(draw.choice((1, 1, 2))):
        where = [(entry, key) for entries in content.values() for entry in entries for key in entry]
        where += [(content, key) for key in content] + [(entries, 0) for entries in content.values() if entries]
        container, key = draw.choice(where)
        how = draw.random()
        if how < 0.7:
            container[key] = draw.choice(VALUES)
        elif how < 0.8 or not isinstance(container, list):
            del container[key]
        else:
            container.append(container[key])
        if not all(
            isinstance(entries, list) and all(isinstance(e, dict) for e in entries) for entries in content.values()
        ):
            break
    return json.dumps(content).encode()


def mend_checksums(content: bytearray) -> bytearray:
    """With a checksum that is right in everything that looks like a header, so that what is behind it is tried."""
    for at in range(0, len(content) - 511, 512):
        if content[at + 257 : at + 262] == b"ustar":
            content[at + 148 : at + 156] = b"        "
            content[at + 148 : at + 156] = b"%06o\0 " % sum(content[at : at + 512])
    return content


@pytest.mark.parametrize("kind", READERS)
def test_damaged_files(tmp_path: Path, kind: str, monkeypatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("REPRO_CACHE", os.devnull)  # an index that is kept would be of the file before
    name, whole, read, read_as_peer = READERS[kind]
    path, few, share = tmp_path / name, *FEW[kind]

    def read_written(content: bytes) -> Result:
        path.write_bytes(content)
        return read(path)

    def compare(content: bytes, ours: Result) -> str | None:
        theirs = read_as_peer(content)
        return None if ours == theirs else f"{str(ours)[:400]} and {str(theirs)[:400]}"

    assert compare(whole, read_written(whole)) is None
    numbers, make = number_inputs(few, share), partial(make_damaged, kind)
    assert try_inputs(kind, numbers, make, read_written, ReproError, compare, capfd, named=str(path))
