"""`repro complexity`: parameters and operations of the full-size networks, or of one module by its submodules."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repro.cli import completion, options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repro.rendering.counts import Form


def command(
    table: options.AnyTable = None,
    json: options.Json = False,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="md, csv or tex; md by default.",
            autocompletion=completion.complete_words("md", "csv", "tex"),
        ),
    ] = None,
    experiment: Annotated[
        str | None,
        typer.Option(
            "--experiment",
            metavar="NAME|FILE.py:NAME",
            help="Count only the network of this experiment, or of one of your own, module by module.",
            autocompletion=completion.complete_experiments,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="FILE.py:FACTORY",
            help="Count a module of your own, which a function in a Python file builds; the file is executed.",
        ),
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input", metavar="SHAPE", help="With --model: shape of an input, as in 1x3x224x224. Repeatable."
        ),
    ] = None,
    depth: Annotated[
        int | None,
        typer.Option(
            "--depth", min=0, max=100, help="With --experiment or --model: levels of submodules; 1 by default."
        ),
    ] = None,
    results: options.Results = options.RESULTS,
) -> None:
    """Count parameters and operations of the full-size networks beside the published cells.

    Exits with 1 if a cell is off. Counts are stored with the records and not repeated. No data, weights or
    GPU are needed.

    Examples:

      repro complexity --table 2 --json

      repro complexity --experiment coco-r50-gc-r16 --depth 2

      repro complexity --experiment mine.py:coordinate-attention

      repro complexity --model net.py:build --input 1x3x224x224
    """
    from repro.errors import ReproError

    levels = 1 if depth is None else depth
    if experiment is not None:
        _refuse("it is for the paper's tables, not for one network", {"--table": table, "--format": form})
        _refuse("an experiment has its own network and input", {"--model": model, "--input": inputs})
        print(_count_experiment(experiment, levels, json))
    elif model is not None:
        _refuse("it is for the paper's tables, not for one network", {"--table": table, "--format": form})
        if not inputs:
            raise ReproError("--model needs the shape of each input: --input 1x3x224x224")
        print(_count_model(model, inputs, levels, json))
    else:
        _refuse("it goes with --experiment or --model", {"--input": inputs, "--depth": depth})
        if json:
            _refuse("--json is a format of its own", {"--format": form})
        formats: tuple[Form, ...] = ("md", "csv", "tex")
        _print_tables(table, "json" if json else options.one_of("--format", form or "md", formats), results)


def _refuse(why: str, given: Mapping[str, object]) -> None:
    from repro.errors import ReproError

    for option, value in given.items():
        if value is not None:
            raise ReproError(f"{option}: {why}")


def _print_tables(table: int | None, form: Form, results: Path) -> None:
    from repro import complexity, paper
    from repro.errors import ReproError
    from repro.experiments import get
    from repro.records import Store
    from repro.rendering import counts

    counted = counts.list_counted_tables()
    if table is not None and table not in counted:
        raise ReproError(f"Table {table} prints neither parameters nor FLOPs; Tables {', '.join(map(str, counted))} do")
    numbers = counted if table is None else [table]
    experiments = dict.fromkeys(get(name) for number in numbers for name in paper.load(number).experiments)
    rows = counts.list_rows(numbers, complexity.count_experiments(experiments, Store(results / "records")))
    print(counts.render(rows, form), end="")
    if cells := counts.find_off(rows):
        print("off: " + "; ".join(map(str, cells)), file=sys.stderr)
        raise typer.Exit(1)


def _count_experiment(name: str, depth: int, as_json: bool) -> str:
    from repro.experiments import get, own
    from repro.planning.work_order import check_own

    name = own.name_one(name)
    check_own(get(name))
    network = get(name).network
    from repro.complexity import networks, tree
    from repro.rendering import counts

    shape, rois = networks.get_input_shape(network), networks.count_rois(network)
    counted = networks.count_whole(network)
    if as_json:
        return tree.format_json(counted, depth, experiment=name, inputs=[shape], rois=rois)
    between = " What chooses boxes and cuts features out for them is not counted." if rois else ""
    return tree.format_text(counted, depth, f"{name}. {counts.describe_input(shape, rois)}.{between}")


def _count_model(reference: str, given: list[str], depth: int, as_json: bool) -> str:
    from repro.complexity import custom, tree
    from repro.rendering import counts

    shapes = [custom.parse_shape(text) for text in given]
    counted = custom.count_file(reference, shapes)
    if as_json:
        return tree.format_json(counted, depth, model=reference, inputs=shapes)
    return tree.format_text(
        counted, depth, f"{reference}. {'; '.join(counts.describe_input(shape, {}) for shape in shapes)}."
    )
