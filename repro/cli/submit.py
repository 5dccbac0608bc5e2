"""`repro submit`: predictions for COCO's evaluation server."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from repro.cli import completion, options
from repro.cli.measuring_options import MeasuringOptions, measuring
from repro.cli.progress import show_stages
from repro.cli.streams import print_line
from repro.files.places import read_state
from repro.files.printable import join_words
from repro.settings import LARGEST_SEED, describe_place


@partial(
    measuring,
    profile="full",
    overrides=None,
    cuda_graphs=False,
    decode_on="cpu",
    workers=None,
    save_every="50",
    evaluate_every=None,
    tensorboard=False,
    wandb=False,
)
def command(
    experiment: Annotated[
        str,
        typer.Argument(help="Its name; `repro list` prints them all.", autocompletion=completion.complete_experiments),
    ],
    split: Annotated[
        str,
        typer.Option(
            "--split",
            help="test-dev2017, or val2017 to try out an upload.",
            autocompletion=completion.complete_words("test-dev2017", "val2017"),
        ),
    ] = "test-dev2017",
    output: Annotated[
        Path | None, typer.Option("--output", help="Directory for the files; in --results by default.")
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=LARGEST_SEED, help="Of the training whose weights are submitted.")
    ] = 0,
    threads: options.Threads = 1,
    *,
    chosen: MeasuringOptions,
) -> None:
    """Predict test-dev, whose annotations only COCO's server has, and write the two files to upload there.

    With the weights that `repro run` trained with the same options, or with public ones. Interrupted, it goes on. The
    server's answer is entered with `repro record-external`.

    Examples:

      repro submit coco-x101-cascade-gc-r4 --data-root /data/coco

      repro submit coco-x101-cascade-gc-r4 --source trained --seed 1 --data-root /data/coco
    """
    from repro.experiments import get
    from repro.files.locks import waiting

    get(experiment)
    options.one_of("--split", split, ("test-dev2017", "val2017"))
    settings, _ = chosen.settings(seed, threads)

    from repro.measuring.submission import submit

    with waiting(settings.wait), show_stages(f"{experiment}, {split}") as progress:
        directory, submission = submit(experiment, settings, split, output=output, progress=progress)
    for deviation in submission.deviations:
        print_line(f"deviation: {deviation}", file=sys.stderr)
    for task, archive in submission.archives.items():
        path = directory / archive.path
        print_line(f"{task}: {path}  {archive.detections} detections, {read_state(path).st_size / 1e6:.1f} MB")
    print("Upload each for its task, bbox or segm: https://cocodataset.org/#upload. Then enter the answer, in percent:")
    words = join_words(["repro", "record-external", experiment, "--submission", directory])
    print(f"  {words}{describe_place(settings.results)} --ap-box ... --ap50-box ... --ap75-box ... "
          "--ap-mask ... --ap50-mask ... --ap75-mask ...")  # fmt: skip
