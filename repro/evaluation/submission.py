"""The files that COCO's evaluation server takes: detections of a split whose annotations only the server has.

The server's rules are on https://cocodataset.org/#upload and #format-results. It evaluates boxes ("bbox") and masks
("segm") in separate submissions, each a zip archive of one JSON file, both of them named
`detections_<split>_<algorithm>_results`. An entry has image_id, category_id, score, and bbox (x, y, width, height in
pixels from the image's upper left corner; tenths are recommended) or segmentation (a compressed run-length encoding).
At most 100 detections of an image count.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from repro.data.annotations import decode_run_lengths
from repro.data.coco import Detections
from repro.errors import ReproError
from repro.files.regular_files import open_regular
from repro.paths import write_atomically

Task = Literal["bbox", "segm"]
TASKS: tuple[Task, ...] = ("bbox", "segm")

#: Number of detections of an image that the metric looks at.
MOST = 100
_TENTHS = 1  #: number of decimals of a coordinate
_SCORE_DECIMALS = 5
_LARGEST = 4 << 30  #: bytes of an archive's content; 100 detections of each test image have a third
#: Pixels that a box may reach beyond the image, as those of the authors' framework do by up to one.
_OVERHANG = 1.0

_NAME = re.compile(r"detections_(val2017|test-dev2017)_[^_]+_results")
_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
_Score = Annotated[float, Field(ge=0, le=1)]


def name_file(split: str, algorithm: str) -> str:
    """Name the JSON file and the archive around it, without their suffixes.

    >>> name_file("test-dev2017", "gcnet")
    'detections_test-dev2017_gcnet_results'
    """
    return f"detections_{split}_{algorithm}_results"


def write(
    detections: Iterable[Detections],
    task: Task,
    path: Path,
    category_ids: list[int],
    sizes: Mapping[int, tuple[int, int]],
) -> str:
    """Write the archive of one task and return its sha256. Equal detections give equal bytes, whatever their order.

    Boxes are rounded to tenths of a pixel, scores to five decimals. Boxes are not cut to the image: the server does not
    ask for it, and neither the authors' framework nor the evaluation on val2017 does it.

    Args:
        path: named as `name_file` says, and ".zip".
        category_ids: the official ids in the order of the labels.
        sizes: (height, width) of every image of the split in pixels, by id.

    Raises:
        ReproError: the file cannot be written.
    """
    content = io.BytesIO()
    member = zipfile.ZipInfo(f"{path.stem}.json", date_time=(1980, 1, 1, 0, 0, 0))
    member.compress_type = zipfile.ZIP_DEFLATED
    member.create_system = 3  # Unix wherever it is written
    member.external_attr = 0o644 << 16
    with zipfile.ZipFile(content, "w") as archive, archive.open(member, "w") as file:
        separator = b"["
        for image in sorted(detections, key=lambda image: image.image_id):
            for entry in _list_entries(image, task, category_ids, sizes[image.image_id]):
                file.write(separator + json.dumps(entry, separators=(",", ":")).encode())
                separator = b",\n"
        file.write(b"]" if separator != b"[" else b"[]")
    write_atomically(path, content.getvalue())
    return hashlib.sha256(content.getvalue()).hexdigest()


def _list_entries(
    image: Detections, task: Task, category_ids: list[int], size: tuple[int, int]
) -> Iterable[dict[str, Any]]:
    """An image's detections, best first."""
    corners = np.asarray(image.boxes, dtype=np.float64).reshape(-1, 4).round(_TENTHS)
    boxes = np.concatenate([corners[:, :2], (corners[:, 2:] - corners[:, :2]).round(_TENTHS)], axis=1).tolist()
    scores = np.asarray(image.scores, dtype=np.float64)
    for index in np.argsort(-scores, kind="stable")[:MOST].tolist():
        if task == "bbox":
            shape = {"bbox": boxes[index]}
        else:
            counts = image.masks[index]["counts"]
            text = counts.decode() if isinstance(counts, bytes) else counts
            shape = {"segmentation": {"size": list(size), "counts": text}}
        category_id = category_ids[int(image.labels[index])]
        score = round(scores[index].item(), _SCORE_DECIMALS)
        yield {"image_id": int(image.image_id), "category_id": category_id, **shape, "score": score}


@dataclass(config=_STRICT, slots=True)
class _Entry:
    image_id: int
    category_id: int
    score: _Score


@dataclass(config=_STRICT, slots=True)
class _BoxEntry(_Entry):
    bbox: tuple[float, float, float, float]


@dataclass(config=_STRICT, slots=True)
class _SubmittedMask:
    size: tuple[int, int]
    counts: str


@dataclass(config=_STRICT, slots=True)
class _MaskEntry(_Entry):
    segmentation: _SubmittedMask


def check(path: Path, task: Task, sizes: Mapping[int, tuple[int, int]], category_ids: Collection[int]) -> int:
    """Check that the server would take and evaluate an archive as it is; return the number of its detections.

    Args:
        sizes, category_ids: as `write` takes them.

    Raises:
        ReproError: the archive breaks a rule; the entry is named, counted from 0.
    """
    content = _read_content(path)
    try:
        entries = TypeAdapter(list[_BoxEntry] if task == "bbox" else list[_MaskEntry]).validate_json(content)
    except ValidationError as error:
        raise _explain(path, error) from None
    if not entries:
        raise ReproError(f"{path}: it holds no detection, which the server does not take")
    seen: Counter[int] = Counter()
    for index, entry in enumerate(entries):
        seen[entry.image_id] += 1
        if problem := _find_problem(entry, seen[entry.image_id], sizes, category_ids):
            raise ReproError(f"{path}: entry {index} (image {entry.image_id}): {problem}")
    return len(entries)


def _read_content(path: Path) -> bytes:
    """The content of the JSON file in the archive."""
    if path.suffix != ".zip" or not _NAME.fullmatch(path.stem):
        raise ReproError(
            f"{path}: the server wants the name detections_[val2017 or test-dev2017]_[algorithm]_results.zip, without "
            "an underscore in the algorithm's"
        )
    try:
        with open_regular(path) as whole, zipfile.ZipFile(whole) as archive:
            names = archive.namelist()
            if names != [f"{path.stem}.json"]:
                raise ReproError(f"{path}: it must hold {path.stem}.json and nothing else, and holds {names}")
            with archive.open(names[0]) as file:  # a header can lie about the size
                content = file.read(_LARGEST + 1)
            if len(content) > _LARGEST:
                raise ReproError(f"{path}: {names[0]} unpacks to more than {_LARGEST} bytes, which no server takes")
            return content
    # RuntimeError: it is encrypted.
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise ReproError(f"{path} cannot be read as a zip archive: {error}") from None


def _find_problem(
    entry: _Entry, nth: int, sizes: Mapping[int, tuple[int, int]], category_ids: Collection[int]
) -> str | None:
    """The rule that an entry, the `nth` of its image, breaks, in words."""
    if entry.image_id not in sizes:
        return "the split has no such image"
    if entry.category_id not in category_ids:
        return f"category_id {entry.category_id} is none of the {len(category_ids)} official ids"
    if nth > MOST:
        return f"it is detection {nth} of its image, of which at most {MOST} count"
    if round(entry.score, _SCORE_DECIMALS) != entry.score:
        return f"score {entry.score} has more than {_SCORE_DECIMALS} decimals"
    height, width = sizes[entry.image_id]
    if isinstance(entry, _BoxEntry):
        return _find_box_problem(entry.bbox, height, width)
    if isinstance(entry, _MaskEntry):
        return _find_mask_problem(entry.segmentation, height, width)
    return None


def _find_box_problem(box: tuple[float, float, float, float], height: int, width: int) -> str | None:
    x, y, wide, high = box
    if any(round(value, _TENTHS) != value for value in box):
        return f"bbox {list(box)} is not in tenths of a pixel"
    if wide < 0 or high < 0:
        return f"bbox {list(box)} has a negative side"
    # Sums of tenths are off in the last bits.
    most = _OVERHANG + 1e-6
    if x < -most or y < -most or x + wide > width + most or y + high > height + most:
        return f"bbox {list(box)} is not within the image of {width} x {height} pixels"
    return None


def _find_mask_problem(mask: _SubmittedMask, height: int, width: int) -> str | None:
    if mask.size != (height, width):
        return f"segmentation.size is {list(mask.size)}, the image's [height, width] is {[height, width]}"
    try:
        covered = sum(decode_run_lengths(mask.counts))
    except ValueError as error:
        return f"segmentation.counts: {error}"
    if covered != height * width:
        return f"segmentation.counts covers {covered} pixels, the image has {height * width}"
    return None


def _explain(path: Path, error: ValidationError) -> ReproError:
    first = error.errors(include_url=False)[0]
    if first["type"] == "json_invalid":
        return ReproError(f"{path}: the file in it is not whole JSON: {first['ctx']['error']}")
    if not first["loc"]:
        return ReproError(f"{path}: the file in it must be a list of detections: {first['msg']}")
    index, *keys = first["loc"]
    what = {"missing": "the key is missing", "unexpected_keyword_argument": "there must be no such key"}
    key = ".".join(map(str, keys))
    where = f"entry {index}" + (f", key {key}" if key else "")
    return ReproError(f"{path}: {where}: {what.get(first['type'], first['msg'])}")
