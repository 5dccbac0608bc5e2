"""Where the three data sets come from, under which licences, how large they are, and how they are laid out."""

from __future__ import annotations

from dataclasses import dataclass, field

from repro.data.layout import IMAGES, find_annotations_archive, name_annotations
from repro.data.synsets import DEVKIT, OFFICIAL


@dataclass(frozen=True)
class DataFile:
    """A file to get."""

    name: str
    url: str
    size: int | None  #: bytes, where known
    purpose: str


@dataclass(frozen=True)
class DataGuide:
    """What to get for a data set."""

    title: str
    tables: tuple[int, ...]
    licence: str
    access: str  #: how one gets it
    files: list[DataFile]
    layout: list[str]  #: below the data set's directory
    remarks: list[str] = field(default_factory=list)


def _guide_coco() -> DataGuide:
    purposes = {
        "train2017": "to train, Tables 1 to 3",
        "val2017": "to evaluate, Tables 1 to 3a",
        "test-dev2017": "Table 3b alone, whose answers only COCO's server has",
    }
    lists = dict.fromkeys(find_annotations_archive(split) for split in purposes)
    files = [
        DataFile(archive.name, archive.urls[0], archive.size, "annotations, or lists of images") for archive in lists
    ]
    files += [DataFile(IMAGES[s].name, IMAGES[s].urls[0], IMAGES[s].size, purpose) for s, purpose in purposes.items()]
    return DataGuide(
        title="COCO 2017",
        tables=(1, 2, 3),
        licence="annotations CC BY 4.0; the images' own terms are Flickr's, and the use of them is yours to judge",
        access="free; `repro data fetch coco --root DIR` gets and checks all of it, and resumes",
        files=files,
        layout=[
            *(name_annotations(split) for split in purposes),
            "train2017.zip or train2017/",
            "val2017.zip or val2017/",
        ],
        remarks=["The archives of images need not be unpacked; those of annotations are (by `fetch`)."],
    )


def _guide_imagenet() -> DataGuide:
    site = "https://image-net.org/data/ILSVRC/2012/"
    purposes = {"train": "to train", "val": "to evaluate"}
    files = [
        DataFile(OFFICIAL[split].archive, site + OFFICIAL[split].archive, OFFICIAL[split].size, f"{purpose}, Table 4")
        for split, purpose in purposes.items()
    ]
    files.append(DataFile(f"{DEVKIT}.tar.gz", f"{site}{DEVKIT}.tar.gz", None, "the classes of the validation images"))
    return DataGuide(
        title="ImageNet, ILSVRC2012",
        tables=(4,),
        licence="research and education that is not commercial, by ImageNet's terms of access",
        access="an account at image-net.org, which grants access; nothing can be fetched without it",
        files=files,
        layout=[*(f"{file.name}" for file in files), "or train/<wnid>/*.JPEG and val/<wnid>/*.JPEG"],
        remarks=["The archives need not be unpacked: images are read from them."],
    )


def _guide_kinetics() -> DataGuide:
    site = "https://s3.amazonaws.com/kinetics/400/"
    files = [
        DataFile("train.csv", f"{site}annotations/train.csv", None, "the official list, 246,534 rows"),
        DataFile("val.csv", f"{site}annotations/val.csv", None, "the official list, 19,906 rows"),
        DataFile("part_0.tar.gz to part_241.tar.gz", f"{site}train/", None, "to train, Tables 1 and 5"),
        DataFile("part_0.tar.gz to part_19.tar.gz", f"{site}val/", 30354517239, "to evaluate; size by a third party"),
        DataFile(
            "replacement_for_corrupted_k400.tgz", f"{site}replacement_for_corrupted_k400.tgz", None,
            "1,392 videos, to be unpacked over the split",
        ),
    ]  # fmt: skip
    return DataGuide(
        title="Kinetics-400",
        tables=(1, 5),
        licence="annotations CC BY 4.0; the videos are YouTube's, each under its own terms",
        access="the copy of the CVD Foundation, here; other copies have other videos",
        files=files,
        layout=["annotations/train.csv", "annotations/val.csv", "train/*.mp4", "val/*.mp4"],
        remarks=[
            "A third party's script tells of 435 GiB with the test split.",
            "No copy has all videos: `repro data verify kinetics` counts what is there, and records say of how many.",
            "Weights of Kinetics-700 must not be evaluated on it: their training videos include some of this split's.",
        ],
    )


GUIDES = {"coco": _guide_coco, "imagenet": _guide_imagenet, "kinetics": _guide_kinetics}


def describe(guide: DataGuide) -> list[str]:
    """Describe a guide in lines of text."""
    lines = [
        f"{guide.title}: Table{'s' * (len(guide.tables) > 1)} {', '.join(map(str, guide.tables))}",
        f"  licence: {guide.licence}",
        f"  access:  {guide.access}",
        "",
        "  to get:",
    ]
    for file in guide.files:
        lines += [f"    {file.name}  ({_describe_size(file.size)}; {file.purpose})", f"      {file.url}"]
    known = _describe_size(sum(file.size or 0 for file in guide.files))
    rest = "" if all(file.size for file in guide.files) else ", and what has no size here"
    lines += [f"    in all {known}{rest}", "", "  layout below --root:", *(f"    {path}" for path in guide.layout)]
    return [*lines, "", *(f"  {remark}" for remark in guide.remarks)]


def _describe_size(size: int | None) -> str:
    if size is None:
        return "size not known"
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"
