"""`repro checkpoints`: weights that others trained."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from repro.cli import options
from repro.cli.completion import complete_experiments, complete_weights, complete_words
from repro.cli.help import Verb, create_group
from repro.cli.progress import show_bar
from repro.cli.streams import print_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor

    from repro.checkpoints.choice import Choice
    from repro.checkpoints.hub_directories import HubDirectory
    from repro.checkpoints.registry import CheckpointEntry
    from repro.conversion.keys import Converted

app = create_group("Weights that others trained: which exist, and whether a file is what it should be.")

OfExperiment = Annotated[
    str | None, typer.Option("--experiment", help="Only this experiment.", autocompletion=complete_experiments)
]


@app.command("list", cls=Verb)
def list_(experiment: OfExperiment = None, table: options.AnyTable = None, json: options.Json = False) -> None:
    """List the public weights for each experiment, the nearest to the paper's first, and what prevents their use.

    Example: repro checkpoints list --table 3
    """
    from repro import paper
    from repro.checkpoints import registry

    known, names = registry.load(), _select_experiments(experiment, table)
    weights = {name: [*known.list_serving(name), *known.list_initial(name)] for name in names}
    if json:
        import json as json_

        rows = [
            {"experiment": name, **entry.model_dump(exclude={"serves"}), **serves.model_dump(exclude={"experiment"})}
            for name, pairs in weights.items()
            for entry, serves in pairs
        ]
        print(json_.dumps(rows, indent=1, ensure_ascii=False))
        return
    for name, pairs in weights.items():
        print(name)
        for entry, serves in pairs:
            reported = ", ".join(f"{paper.COLUMNS[column].heading} {value}" for column, value in entry.reported.items())
            print(f"  {serves.match:<7}  {entry.id}" + (f"  ({reported})" if reported else ""))
            if serves.differs:
                print(f"           differs: {serves.differs}")
            if entry.obstacle:
                print(f"           in the way: {entry.obstacle}")
        if not pairs:
            print("  none")
    best = [pairs[0][1].match for pairs in weights.values() if pairs]
    print(f"{len(names)} experiments: the authors' weights of {best.count('exact')}, only near ones of "
          f"{best.count('near')}")  # fmt: skip


@app.command("fetch", cls=Verb)
def fetch(
    ids: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ID]...", help="Ids, as `repro checkpoints list` prints them.", autocompletion=complete_weights
        ),
    ] = None,
    experiment: OfExperiment = None,
    table: Annotated[
        str | None,
        typer.Option(
            "--table",
            metavar="N|all",
            help="All that this table needs, or all tables.",
            autocompletion=complete_words("1", "2", "3", "4", "5", "all"),
        ),
    ] = None,
) -> None:
    """Download weight files and print where they are. After an interruption, the same command continues.

    For an experiment, only the authors' own weights are fetched, or the nearest to them. For a table: the authors' own
    weights of its rows, and those that its trainings begin with. With `--table all`, machines without a network need
    nothing more, if they see the same REPRO_CACHE. Others must be named by their ids.

    Examples:

      repro checkpoints fetch gcnet/r50-syncbn-gc-r16-1x

      repro checkpoints fetch --table all
    """
    from repro.checkpoints import choice, fetching, registry
    from repro.errors import ReproError
    from repro.experiments import get

    if sum(given is not None for given in (ids or None, experiment, table)) > 1:
        raise ReproError("IDs, --experiment and --table each say what to fetch: give one of them")
    if ids:
        entries = [registry.load().get(id_) for id_ in ids]
    elif experiment is not None:
        entries = _list_entries([choice.choose(get(experiment), None)])
    elif table is not None:
        entries = _list_needed(_select_experiments(None, None if table == "all" else options.parse_table(table)))
        if not entries:
            raise ReproError(f"no row of Table {table} has public weights; `list` shows near ones, which ids name")
    else:
        raise ReproError("name what to fetch: an ID, --experiment NAME or --table N; `repro checkpoints list` has them")
    failed = []
    for entry in entries:
        try:
            with show_bar(entry.id, entry.size, of_bytes=True) as report:
                fetched = fetching.fetch(entry, report)
        except ReproError as error:
            if len(entries) == 1:
                raise
            print_line(f"{entry.id}: {error}", file=sys.stderr)
            failed.append(entry.id)
        else:
            print_line(f"{entry.id}  {fetched.path}")
    if failed:
        raise ReproError(f"{len(failed)} of {len(entries)} could not be fetched: {', '.join(failed)}")


@app.command("import", cls=Verb)
def import_(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Copies of public weight files, from anywhere.")
    ],
    id_: Annotated[
        str | None,
        typer.Option("--id", help="Id of the entry that the file should be.", autocompletion=complete_weights),
    ] = None,
) -> None:
    """Check copies of public files by their hashes, and put them where `fetch` and `run` look before they download.

    For machines without a network, and for hosts that are gone. The files themselves stay where they are.

    Example: repro checkpoints import downloads/mask_rcnn_r50_fpn_1x_20181010-069fa190.pth
    """
    from repro.checkpoints import fetching, registry
    from repro.errors import ReproError
    from repro.files.regular_files import hash_file

    if id_ is not None and len(files) > 1:
        raise ReproError("--id says what one file should be: import one at a time with it")
    known = registry.load()
    for file in files:
        digests = hash_file(file)
        entry = known.get(id_) if id_ is not None else known.identify(digests)
        if entry is None:
            raise ReproError(
                f"{file} is none of the files that {known.path.name} knows: its sha256 is {digests.sha256}. A file of "
                "yours needs no import: --weights FILE names it."
            )
        verified = entry.check(file, digests)
        fetched = fetching.store(entry, file)
        print_line(f"{entry.id}  {fetched.path}  (by {verified})")


@app.command("verify", cls=Verb)
def verify(
    file: Annotated[
        Path, typer.Argument(help="A weight file from any source, or a directory that `repro export hub` wrote.")
    ],
    id_: Annotated[
        str | None,
        typer.Option("--id", help="Id of the entry that the file should be.", autocompletion=complete_weights),
    ] = None,
) -> None:
    """Say whose a weight file is by its hash, whether it holds only weights, and whether they fit its network.

    Nothing that the file holds is executed. Exit 1 if it is not what --id says, not in the registry, or withdrawn. A
    directory says itself whose its weights are, and by their hash whether they are those.

    Example: repro checkpoints verify downloads/mask_rcnn_r50_fpn_1x_20181010-069fa190.pth
    """
    from repro.checkpoints import hub_directories, registry
    from repro.errors import ReproError
    from repro.files.regular_files import hash_file

    if exported := hub_directories.find(str(file)):
        if id_ is not None:
            raise ReproError(
                f"--id is of files that others published, and {file} is a directory of weights trained here"
            )
        _verify_exported(exported)
        return
    known = registry.load()
    digests = hash_file(file)
    entry = known.get(id_) if id_ is not None else known.identify(digests)
    print(f"sha256: {digests.sha256}")
    if entry is None:
        _fail(f"{file} is not in {known.path.name}")
    try:
        verified = entry.check(file, digests)
    except ReproError as error:
        _fail(str(error))
    print_line(f"entry: {entry.id} of {entry.source}, by {verified}")
    if entry.withdrawn:
        _fail(f"{file} is not to be used: {entry.obstacle}")
    tensors = _read_weights(file, digests.sha256)
    for serves in entry.serves:
        if serves.match != "initial":
            _check_keys(entry, serves.experiment, tensors)


@app.command("convert", cls=Verb)
def convert(
    weights: Annotated[
        str, typer.Argument(metavar="FILE|ID", help="A file, an id, or ID=FILE.", autocompletion=complete_weights)
    ],
    experiment: Annotated[
        str,
        typer.Option(
            "--experiment", help="Experiment whose network the weights are for.", autocompletion=complete_experiments
        ),
    ],
    output: Annotated[Path, typer.Option("--output", help="File to write the state dict to; - is stdout.")],
) -> None:
    """Translate weights into the state dict of an experiment's network; every key is accounted for.

    Example: repro checkpoints convert gcnet/r50-syncbn-gc-r16-1x --experiment coco-r50-gc-r16 --output r16.pt
    """
    import io

    from repro.checkpoints import choice, fetching, weight_files
    from repro.experiments import get
    from repro.files.outputs import write_output
    from repro.files.regular_files import hash_file

    say = options.say_beside(output)
    chosen = choice.choose(get(experiment), weights)
    entry = chosen.entry
    if chosen.file:
        path = chosen.file
        say(f"{path}: {f'by {entry.check(path, hash_file(path))}' if entry else 'unverified: not in the registry'}")
    elif entry:
        with show_bar(entry.id, entry.size, of_bytes=True) as report:
            path = fetching.fetch(entry, report).path
    tensors = weight_files.read(path, chosen.digest, chosen.part).tensors

    import torch

    from repro import conversion

    network = chosen.network(get(experiment))
    converted = conversion.convert(tensors, chosen.format or conversion.recognise(tensors), network)
    _print_account(converted, experiment, say)
    content = io.BytesIO()
    torch.save(conversion.build(converted).state_dict(), content)
    write_output(output, content.getvalue())
    say(f"written: {output}")


def _select_experiments(experiment: str | None, table: int | None) -> list[str]:
    from repro import paper
    from repro.errors import ReproError
    from repro.experiments import EXPERIMENTS, get

    if experiment is None:
        return list(EXPERIMENTS) if table is None else list(paper.load(table).experiments)
    if table is not None:
        raise ReproError("--experiment and --table do not go together")
    return [get(experiment).name]


def _verify_exported(directory: HubDirectory) -> None:
    from repro import conversion
    from repro.checkpoints import OWN_FORMAT
    from repro.experiments import is_published, mini

    digest, stated = directory.hash_weights(), directory.exported
    print(f"sha256: {digest}")
    print_line(
        f"exported: {stated.experiment} at profile {stated.profile}, seed {stated.seed}, trained by {stated.package}"
    )
    tensors = _read_weights(directory.weights, digest)
    if not is_published(stated.experiment):
        print("keys: not compared, the network is defined in a file of its own, which is not executed here")
        return
    experiment = mini.get_at_profile(stated.experiment, stated.profile)
    directory.require_network(experiment)
    _print_account(conversion.convert(tensors, OWN_FORMAT, experiment.network), experiment.name)


def _read_weights(file: Path, sha256: str) -> dict[str, Tensor]:
    """The tensors of a file with this hash, after printing how many."""
    from repro.checkpoints import weight_files

    contents = weight_files.read(file, f"sha256:{sha256}")
    numbers = sum(tensor.numel() for tensor in contents.tensors.values())
    print_line(
        f"contents: {len(contents.tensors)} tensors, {numbers / 1e6:.2f} M numbers, no code ({contents.container})"
    )
    return contents.tensors


def _list_needed(names: list[str]) -> list[CheckpointEntry]:
    """The authors' weights of experiments, and what their trainings begin with; what has none of its own is told."""
    from repro.checkpoints import choice, registry
    from repro.experiments import get

    exact = {name: choice.find_exact(get(name)) for name in names}
    for name, chosen in exact.items():
        if chosen is None:
            print(f"{name}: no weights of its own", file=sys.stderr)
    initial = [entry for name in names for entry, _ in registry.load().list_initial(name)]
    return list({entry.id: entry for entry in (*_list_entries(exact.values()), *initial)}.values())


def _check_keys(entry: CheckpointEntry, experiment: str, tensors: dict) -> None:
    """Convert `tensors` for the network of `experiment`, if this version can, and print what became of their keys."""
    from repro import conversion
    from repro.experiments import get

    if entry.format not in conversion.FORMATS:
        print(f"keys: not compared, files of the format {entry.format} are not converted")
        return
    network = entry.adapt_network(get(experiment).network)
    _print_account(conversion.convert(tensors, entry.format, network), experiment)


def _print_account(converted: Converted, experiment: str, say: Callable[[str], None] = print_line) -> None:
    say(f"keys: {len(converted.tensors)} fit the network of {experiment}")
    for name in ("missing", "unexpected", "reshaped"):
        if keys := getattr(converted, name):
            say(f"  {len(keys)} {name}, for known reasons: {keys[0]}{', ...' if len(keys) > 1 else ''}")


def _list_entries(choices: Iterable[Choice | None]) -> list[CheckpointEntry]:
    return [choice.entry for choice in choices if choice and choice.entry]


def _fail(message: str) -> NoReturn:
    print_line(f"not verified: {message}", file=sys.stderr)
    raise typer.Exit(1)
