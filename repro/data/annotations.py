"""The annotation file of one split of a COCO-format directory, read and checked.

Irregular entries that real COCO files have are accepted as the standard loaders accept them: boxes of zero area, boxes
and polygons that reach beyond the border, polygons of fewer than three points (they cover no pixel and are dropped),
polygons with one number too many (it is ignored). Everything else that would silently change a metric is an error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import numpy as np
from faster_coco_eval.core import mask as mask_api
from pydantic import (
    AfterValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetPydanticSchema,
    Tag,
    TypeAdapter,
    ValidationError,
)  # fmt: skip
from pydantic_core import from_json

from repro.errors import ReproError
from repro.files.json_files import RepeatedKey, check_keys, explain_invalid_json
from repro.files.regular_files import read_regular
from repro.files.text_files import convert_to_utf8

_STRICT = ConfigDict(strict=True, allow_inf_nan=False)
_INT64 = 2**63 - 1  # the evaluator's integers
_LIMIT = 1 << 33  # bytes; COCO's largest file has 0.5 GB

#: COCO's compressed run-length encoding: {"size": [height, width], "counts": ...}.
RunLengths = dict[str, Any]

_Id = Annotated[int, Field(ge=0, le=_INT64)]
_Side = Annotated[int, Field(gt=0, le=65535)]  # the largest of a JPEG; the product still fits a run length
# Drawing a polygon takes memory in proportion to its outline, so a forged coordinate could ask for any amount.
_Coordinate = Annotated[float, Field(ge=-(2**17), le=2**17)]
_Length = Annotated[float, Field(ge=0, le=2**17)]
_Area = Annotated[float, Field(ge=0)]


def _check_file_name(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{name!r} leads out of the directory of images")
    if not path.name or "\0" in name:
        raise ValueError(f"{name!r} is no name of a file")
    return name


def _drop_pointless(polygons: list[list[float]]) -> list[np.ndarray]:
    if not polygons or not all(polygons):
        raise ValueError("an empty polygon")
    # Arrays take a quarter of the memory of lists of floats: train2017 has some 60 million coordinates.
    return [np.array(polygon) for polygon in polygons if len(polygon) >= 6]


@dataclass
class _RunLengths:
    __pydantic_config__ = _STRICT

    size: tuple[_Side, _Side]
    counts: list[Annotated[int, Field(ge=0)]] | str


def _compress(runs: _RunLengths) -> RunLengths:
    """The compressed encoding, after checking that the runs fill `size` exactly."""
    height, width = runs.size
    counts = decode_run_lengths(runs.counts) if isinstance(runs.counts, str) else runs.counts
    if sum(counts) != height * width:
        raise ValueError(f"the run lengths cover {sum(counts)} pixels, the size {height * width}")
    encoded = {"size": [height, width], "counts": runs.counts}
    return encoded if isinstance(runs.counts, str) else mask_api.frPyObjects(encoded, height, width)


def decode_run_lengths(text: str) -> list[int]:
    """Decode COCO's text of run lengths: five bits a character; from the fourth on, relative to the last but one.

    The libraries' decoders fill a mask of the claimed size, which may be forged, before they compare it with the text.

    >>> decode_run_lengths("325")
    [3, 2, 5]

    Raises:
        ValueError: the text is not one of run lengths.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            raise ValueError("the compressed run lengths are malformed")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) << (shift - 4)
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift or min(counts, default=0) < 0:
        raise ValueError("the compressed run lengths are cut short or negative")
    return counts


_WrittenSegmentation = Annotated[
    Annotated[list[list[_Coordinate]], AfterValidator(_drop_pointless), Tag("polygons")]
    | Annotated[_RunLengths, AfterValidator(_compress), Tag("run lengths")],
    Discriminator(lambda value: "polygons" if isinstance(value, list) else "run lengths"),
]
#: What is read from a `_WrittenSegmentation`.
Segmentation = Annotated[
    list[np.ndarray] | RunLengths, GetPydanticSchema(lambda _, handler: handler.generate_schema(_WrittenSegmentation))
]


@dataclass(slots=True)
class AnnotatedImage:
    """An image's entry. Sizes in pixels."""

    __pydantic_config__ = _STRICT

    id: _Id
    #: Of its file: relative to the directory of images, or to the data set's (`val2017/000000000139.jpg`).
    file_name: Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_check_file_name)]
    height: _Side
    width: _Side


@dataclass(slots=True)
class Annotation:
    """One object.

    Its `segmentation` is a list of polygons, which may be empty, each a float64 array (x1, y1, x2, y2, ...) of at least
    three points, or a compressed run-length encoding of the image's size.
    """

    __pydantic_config__ = _STRICT

    id: Annotated[int, Field(gt=0, le=_INT64)]  #: not 0: the COCO metric takes a match with object 0 for no match
    image_id: _Id
    category_id: _Id
    bbox: tuple[_Coordinate, _Coordinate, _Length, _Length]  #: x, y, width, height in pixels
    area: _Area  #: of the segmentation, square pixels
    iscrowd: Annotated[int, Field(ge=0, le=1)]
    segmentation: Segmentation


@dataclass(slots=True)
class _Category:
    __pydantic_config__ = _STRICT

    id: _Id


@dataclass(slots=True)
class _Listing:
    images: list[AnnotatedImage]
    categories: list[_Category]


@dataclass(slots=True)
class _File(_Listing):
    annotations: list[Annotation]


@dataclass
class Annotations:
    """A checked annotation file."""

    images: dict[int, AnnotatedImage]  #: by id, ascending
    objects: dict[int, list[Annotation]]  #: by image id, in the order of the file; every image has an entry
    category_ids: list[int]  #: ascending
    sha256: str  #: of the file


def read_annotations(path: Path, *, labelled: bool = True) -> Annotations:
    """Read and check a COCO instances file or, if not `labelled`, a list of images whose annotations are withheld.

    Raises:
        ReproError: it cannot be read, is not whole JSON, lacks a key or has it twice, holds a value that is malformed
            or not finite, repeats an id or the name of an image file, names an image file outside of the images'
            directory, or refers to an image or a category that it does not list. File, entry and key are named.
    """
    content = read_regular(path, _LIMIT)
    text = convert_to_utf8(content, str(path))
    try:
        file = TypeAdapter(_File if labelled else _Listing).validate_json(text)
    except ValidationError as error:
        raise _explain(path, text, error) from None
    try:
        check_keys(text)
    except RepeatedKey as error:
        raise ReproError(f"{path}: {error}, and programs take one of them or the other: remove one") from None
    images = {image.id: image for image in sorted(file.images, key=lambda image: image.id)}
    known = {category.id for category in file.categories}
    annotations = file.annotations if isinstance(file, _File) else []
    for kind, entries in (("images", file.images), ("annotations", annotations), ("categories", file.categories)):
        _check_unique(path, kind, (entry.id for entry in entries))
    _check_unique(path, "images", (image.file_name for image in file.images), "file_name")
    objects: dict[int, list[Annotation]] = {image_id: [] for image_id in images}
    for index, annotation in enumerate(annotations):
        where = f"{path}: annotations[{index}] (id {annotation.id})"
        if annotation.image_id not in images:
            raise ReproError(f"{where}, key image_id: there is no image {annotation.image_id} in the file")
        if annotation.category_id not in known:
            raise ReproError(f"{where}, key category_id: there is no category {annotation.category_id} in the file")
        image = images[annotation.image_id]
        encoded = annotation.segmentation
        if isinstance(encoded, dict) and encoded["size"] != [image.height, image.width]:
            raise ReproError(
                f"{where}, key segmentation.size: the run lengths are for {encoded['size']} pixels (height, width), "
                f"image {image.id} has {[image.height, image.width]}"
            )
        objects[annotation.image_id].append(annotation)
    return Annotations(images, objects, sorted(known), hashlib.sha256(content).hexdigest())


def _check_unique(path: Path, kind: str, values: Iterable[int | str], key: str = "id") -> None:
    seen: set[int | str] = set()
    for index, value in enumerate(values):
        if value in seen:
            raise ReproError(f"{path}: {kind}[{index}], key {key}: {str(value)[:100]} is there a second time")
        seen.add(value)


def _explain(path: Path, content: bytes, error: ValidationError) -> ReproError:
    """The first thing wrong with the file, with the entry's index and, where it has one, its id."""
    first = error.errors(include_url=False)[0]
    if first["type"] == "json_invalid":
        return explain_invalid_json(path, content, first["ctx"]["error"])
    kinds = ("polygons", "run lengths", "str", "list[constrained-int]")  # alternatives, which are no keys
    location = [part for part in first["loc"] if part not in kinds]
    where = str(path)
    if len(location) >= 2:
        entry: Any = from_json(content)[location[0]][location[1]]
        identity = f" (id {str(entry['id'])[:30]})" if isinstance(entry, dict) and "id" in entry else ""
        where += f": {location[0]}[{location[1]}]{identity}"
        location = location[2:]
    key = ".".join(map(str, location))
    what = "the key is missing" if first["type"] == "missing" else first["msg"].removeprefix("Value error, ")
    return ReproError(f"{where}, key {key}: {what}" if key else f"{where}: {what}")
