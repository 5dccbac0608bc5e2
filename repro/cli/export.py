"""`repro export`: experiments in the forms that other tools take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from repro.cli import options
from repro.cli.completion import complete_experiments, complete_words
from repro.cli.help import Verb, create_group
from repro.cli.streams import print_line
from repro.settings import LARGEST_SEED, Profile

app = create_group("Write an experiment in the form that another tool takes.")


@app.command("detectron2", cls=Verb)
def detectron2(
    experiment: Annotated[
        str,
        typer.Argument(
            help="An experiment on COCO; `repro list` prints them all.", autocompletion=complete_experiments
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", help="FILE.py to write to; standard output by default.")
    ] = None,
) -> None:
    """Write a LazyConfig file that Detectron2's own tools train and evaluate. Needs Detectron2.

    Example: repro export detectron2 coco-r50-gc-r16 --output gc.py
    """
    from repro import experiments
    from repro.detection import engines
    from repro.errors import ReproError
    from repro.files.outputs import is_stdout, write_output

    chosen = experiments.get(experiment)
    engines.resolve("detectron2")
    from repro.detection.detectron2 import export

    text = export.format_source(chosen)
    if output is None:
        print(text, end="")
        return
    if output.suffix != ".py" and not is_stdout(output):
        raise ReproError(f"--output {output}: Detectron2 reads a LazyConfig from a file whose name ends in .py")
    write_output(output, text)
    options.say_beside(output)(
        f"{output}: train with Detectron2's tools/lazyconfig_train_net.py --config-file {output}"
    )


@app.command("hub", cls=Verb)
def hub(
    experiment: Annotated[
        str, typer.Argument(metavar="EXPERIMENT", help=options.EXPERIMENT, autocompletion=complete_experiments)
    ],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Directory to write; one of these is replaced.")],
    profile: Annotated[
        str,
        typer.Option(
            "--profile",
            help="full, mini, or auto: full where it was trained.",
            autocompletion=complete_words("auto", "full", "mini"),
        ),
    ] = "auto",
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, max=LARGEST_SEED, help="Of the training; the lowest by default.")
    ] = None,
    license_: Annotated[
        str, typer.Option("--license", metavar="ID", help="License of the weights, by the hub's identifier.")
    ] = "mit",
    results: options.Results = options.RESULTS,
) -> None:
    """Write weights that were trained here as a directory for the Hugging Face hub, with their record and verdicts.

    It holds the weights as safetensors, a model card with what was measured, and the rendered tables. `--weights DIR`
    takes it back, after it was downloaded from the hub, too.

    Examples:

      repro export hub coco-r50-gc-r16 exported --profile mini

      repro export hub mine.py:coordinate-attention exported --license cc-by-4.0
    """
    from repro.experiments import own
    from repro.planning.trained_weights import find_trained

    asked = options.one_of("--profile", profile, ("auto", "full", "mini"))
    at: Profile | None = None if asked == "auto" else "full" if asked == "full" else "mini"
    trained = find_trained(own.name_one(experiment), results, at, seed)

    from repro.inference import hub as exporting
    from repro.records import open_results
    from repro.rendering import model_card, tables

    store, record = open_results(results), trained.record
    content = exporting.build_files(trained, store)
    exporting.require_replaceable(directory)
    exporting.write_files(directory, content)
    files = [
        file
        for table in model_card.list_tables(record.experiment)
        for file in tables.write_renderings(table, store, directory / "tables")
    ]
    names = [file.relative_to(directory).as_posix() for file in files]
    card = model_card.write_card(record, trained.experiment, store, license_, names)
    exporting.write_files(directory, {exporting.CARD: card.encode()})
    print_line(
        f"{directory}: weights of record {record.filename}, {len(content) + len(files) + 1} files, license {license_}"
    )
    print_line(f"to predict with them: repro predict {experiment} --weights {directory} FILE")
    print_line(f"to upload them: hf upload USER/NAME {directory}")
