"""`repro data`: what to get to train on and to evaluate on, and what is on disk."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repro.cli import completion, options
from repro.cli.help import Verb, create_group
from repro.cli.progress import show_bar, show_bars
from repro.cli.streams import print_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from repro.data.verification import DataReport

app = create_group("Data sets: what to get, and whether what is on disk is the official one, and complete.")

#: Splits of each data set.
_SPLITS: dict[str, tuple[str, ...]] = {
    "imagenet": ("train", "val"),
    "coco": ("train2017", "val2017"),
    "kinetics": ("train", "val"),
}
_FETCHED = ("train2017", "val2017", "test-dev2017")
DataSetName = Annotated[
    str,
    typer.Argument(
        metavar="imagenet|coco|kinetics",
        help="Which data set is meant.",
        autocompletion=completion.complete_words("imagenet", "coco", "kinetics"),
    ),
]
#: So many reasons of unreadable items are printed.
_REASONS = 3


@app.command("guide", cls=Verb)
def guide(
    dataset: DataSetName,
    json: options.Json = False,
) -> None:
    """Say what to get for a data set and where: files, bytes, licence, access, layout.

    Example: repro data guide coco
    """
    from repro.data import guides

    described = guides.GUIDES[options.one_of("the data set", dataset, tuple(guides.GUIDES))]()
    if json:
        import json as json_
        from dataclasses import asdict

        print(json_.dumps(asdict(described), indent=1))
    else:
        for line in guides.describe(described):
            print_line(line)


@app.command("fetch", cls=Verb)
def fetch(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="coco",
            help="Only COCO's files can be had without a login.",
            autocompletion=completion.complete_words("coco"),
        ),
    ],
    root: Annotated[Path, typer.Option("--root", help="The data set's directory; it is made.")],
    split: Annotated[
        list[str] | None,
        typer.Option(
            "--split",
            help="Only this split, with its annotations; may be given again. train2017 and val2017 by default.",
            autocompletion=completion.complete_words(*_FETCHED),
        ),
    ] = None,
    unpack: Annotated[
        bool, typer.Option("--unpack", help="Also unpack the images, which takes as much room again.")
    ] = False,
) -> None:
    """Download COCO's official files, checked against their hashes. After an interruption, the same command continues.

    Images stay in their archives, from which they are read; annotations are unpacked.

    Examples:

      repro data fetch coco --root /data/coco --split val2017

      repro data fetch coco --root /data/coco
    """
    from repro.errors import ReproError
    from repro.planning.official_data import fetch_coco

    if dataset in ("imagenet", "kinetics"):
        raise ReproError(f"{dataset} cannot be fetched here: `repro data guide {dataset}` says where it is to be had")
    options.one_of("the data set", dataset, ("coco",))
    splits = [options.one_of("--split", name, _FETCHED) for name in split or ("train2017", "val2017")]
    with show_bars() as report:
        for line in fetch_coco(root, list(dict.fromkeys(splits)), report, unpack=unpack):
            print_line(line)


@app.command("verify", cls=Verb)
def verify(
    dataset: DataSetName,
    root: Annotated[Path, typer.Option("--root", help="The data set's directory.")],
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            help="Only this split; all by default.",
            autocompletion=completion.complete_words("train2017", "val2017", "train", "val"),
        ),
    ] = None,
    decode: Annotated[
        bool, typer.Option("--decode", help="Decode every file: takes minutes, for training sets hours.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Count images or videos and classes, compare with the official numbers, and name what is missing or unreadable.

    Exits with 1 if a split is not the official one, or not complete.

    Examples:

      repro data verify imagenet --root /data/imagenet

      repro data verify coco --root /data/coco --split val2017 --decode

      repro data verify kinetics --root /data/kinetics400 --split val
    """
    splits = _SPLITS[options.one_of("the data set", dataset, tuple(_SPLITS))]
    if split is not None:
        splits = (options.one_of("--split", split, splits),)

    from dataclasses import asdict

    from repro.data import kinetics_verification, verification
    from repro.errors import ReproError
    from repro.files.places import is_directory

    if not is_directory(root):
        raise ReproError(f"--root {root}: there is no such directory")
    checks: dict[str, Callable[..., DataReport]] = {
        "imagenet": verification.verify_imagenet,
        "coco": verification.verify_coco,
        "kinetics": kinetics_verification.verify_kinetics,
    }
    reports = []
    for name in splits:
        with show_bar(f"decoding {name}") as progress:
            reports.append(checks[dataset](root, name, decode=decode, progress=progress))
    if json:
        import json as json_

        print(json_.dumps([asdict(report) for report in reports], indent=1))
    else:
        for report in reports:
            _print(report)
    if bad := [report.split for report in reports if report.problems]:
        print(f"not verified: {', '.join(bad)}", file=sys.stderr)
        raise typer.Exit(1)


def _print(report: DataReport) -> None:
    print(f"{report.split}: {'not verified' if report.problems else 'verified'}")
    if report.place:
        print_line(
            f"  {report.images} of {report.required} {report.items}, {report.classes} classes, in {report.place}"
        )
        print(f"  {report.items} {'all decoded' if report.decoded else 'not decoded (--decode)'}")
        print(f"  sha256 of the ids: {report.ids_sha256}")
        print(f"  sha256 of the annotations: {report.annotations_sha256}")
    for problem in report.problems:
        print_line(f"  {problem}")
    for reason in report.reasons[:_REASONS]:
        print_line(f"    {reason}")
    if len(report.reasons) > _REASONS:
        print(f"    and {len(report.reasons) - _REASONS} more (--json)")
