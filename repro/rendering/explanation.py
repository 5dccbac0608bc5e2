"""Everything about one cell: what it is, what was measured, its verdict, and how to get it. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from repro import paper
from repro.checkpoints import registry
from repro.evaluation import is_attention
from repro.experiments import Experiment, description, get, readings
from repro.paper import COLUMNS, DATASETS, STATISTICS, Cell, Group
from repro.paper.readings import ReadingPoint, list_touching
from repro.records import Record, Store
from repro.settings import describe_place
from repro.verification import ledger
from repro.verification.judgement import verify_all
from repro.verification.verdicts import CellVerdict, RowVerdict, Verified

Use = Literal["used", "another measurement", "left out", "stale", "mini profile", "another data set", "another reading"]


@dataclass(frozen=True)
class Evidence:
    """A record of the cell's experiment, and what became of it."""

    file: str
    created: str
    use: Use
    value: float | None  #: of the cell's metric, in its unit; None where the record lacks it
    standard_error: float | None
    items: str
    seed: int
    source: str
    command: str
    commit: str | None
    wrong: str = ""  #: what is wrong with the record
    reading: str = ""  #: under which it was measured, where that is not the default


@dataclass(frozen=True)
class PublicWeights:
    """A published file that stands in for the experiment."""

    id: str
    match: str
    differs: str
    reported: float | None  #: of the cell's metric, by the publisher
    obstacle: str | None


@dataclass(frozen=True)
class Explanation:
    """What `repro explain` tells of one cell."""

    cell: Cell
    verdict: CellVerdict
    group: Group
    experiment: str
    network: str
    recipe: str
    also: tuple[str, ...]  #: other cells of the same experiment and column
    deviations: tuple[str, ...]  #: of the records that were used
    weights: tuple[PublicWeights, ...]
    history: tuple[Evidence, ...]  #: oldest first
    ledger: ledger.LedgerEntry | None
    commands: tuple[str, ...]
    open_points: tuple[ReadingPoint, ...]  #: of the protocol, that touch the cell

    def as_dict(self) -> dict[str, object]:
        """The fields for JSON."""
        return {
            "address": self.cell.address,
            "verdict": self.verdict.as_dict(),
            "group": self.group.title,
            "dataset": self.group.dataset,
            "experiment": self.experiment,
            "network": self.network,
            "recipe": self.recipe,
            "same_number_in": self.also,
            "deviations": self.deviations,
            "weights": [asdict(weights) for weights in self.weights],
            "history": [asdict(evidence) for evidence in self.history],
            "ledger": self.ledger and self.ledger.model_dump(),
            "commands": self.commands,
            "open_points": [
                {"point": point.point, "default": point.default, "choices": list(point.choices)}
                for point in self.open_points
            ],
        }


def explain(cells: Sequence[Cell], store: Store) -> list[Explanation]:
    """Explain each of `cells`, all of one table.

    Raises:
        ReproError: a record, the ledger or the tolerances are damaged; the file is named.
    """
    table = paper.load(cells[0].table)
    verified = verify_all((table,), store)
    rows = {(row.group.name, row.row.label): row for row in verified.verifications[0].rows}
    place = describe_place(store.directory.parent)
    return [_explain_cell(cell, rows[cell.group, cell.row], verified, place) for cell in cells]


def _explain_cell(cell: Cell, row: RowVerdict, verified: Verified, place: str) -> Explanation:
    experiment = get(row.row.experiment)
    verdict = next(verdict for verdict in row.cells if verdict.cell == cell)
    measured = COLUMNS[cell.column].measured
    used = _list_used(cell, row) if measured else []
    same = {
        other.address
        for table in paper.load_all()
        for group in table.groups
        for other_row in group.rows
        if other_row.experiment == experiment.name and group.dataset == row.group.dataset
        for other in other_row.cells
        if other.column == cell.column and other != cell
    }
    history = tuple(_list_history(cell, row, verified)) if measured else ()
    return Explanation(
        cell=cell,
        verdict=verdict,
        group=row.group,
        experiment=experiment.name,
        network=description.describe_network(experiment),
        recipe=description.describe_recipe(experiment),
        also=tuple(sorted(same)),
        deviations=tuple(dict.fromkeys(text for record in used for text in record.deviations)),
        weights=tuple(_list_weights(cell, experiment)) if measured else (),
        history=history,
        ledger=None if measured else ledger.load().entry(cell),
        commands=tuple(command + place for command in _list_commands(cell, row.group, experiment)),
        open_points=list_touching((cell,)),
    )


def _list_used(cell: Cell, row: RowVerdict) -> list[Record]:
    """The records that the verdicts of a cell rest on, in every way of measuring."""
    return [record for _, measurement in row.measurements for record in measurement.select_for(cell.column).records]


def _list_history(cell: Cell, row: RowVerdict, verified: Verified) -> Iterator[Evidence]:
    unused = {unused.filename: unused for unused in verified.verifications[0].unused}
    wrong = {problem.file: problem.text for problem in verified.problems}
    used_keys = {record.key for record in _list_used(cell, row)}
    mine = [
        (file, record)
        for file, record in verified.files.items()
        if record.experiment == row.row.experiment and is_attention(record.evaluator) == (cell.column in STATISTICS)
    ]
    for file, record in sorted(mine, key=lambda item: (item[1].created, item[0])):
        metric = record.metric(cell.column)
        left_out = unused.get(record.filename)
        if record.profile == "mini":
            use: Use = "mini profile"
        elif record.readings:
            use = "another reading"
        elif record.dataset.name != row.group.dataset:
            use = "another data set"
        elif left_out:
            use = "stale" if left_out.stale else "left out"
        else:
            use = "used" if record.key in used_keys else "another measurement"
        checkpoint, data = record.weights.checkpoint, record.dataset
        commit = record.environment.get("commit")
        yield Evidence(
            file=file,
            created=record.created,
            use=use,
            value=metric.value if metric else None,
            standard_error=metric.standard_error if metric else None,
            items=f"{data.evaluated} of {data.required} {DATASETS[row.group.dataset].items} of {data.name}",
            seed=record.seed,
            source=f"checkpoint {checkpoint.id}" if checkpoint else record.answered_by,
            command=record.command,
            commit=str(commit) if commit else None,
            wrong=wrong.get(file, ""),
            reading=readings.write(record.readings.items()),
        )


def _list_weights(cell: Cell, experiment: Experiment) -> Iterator[PublicWeights]:
    for entry, serves in registry.load().list_serving(experiment.name):
        yield PublicWeights(entry.id, serves.match, serves.differs, entry.reported.get(cell.column), entry.obstacle)


def _list_commands(cell: Cell, group: Group, experiment: Experiment) -> Iterator[str]:
    """List the commands that lead to a number in this cell."""
    name = experiment.name
    if not COLUMNS[cell.column].measured:
        yield f"repro complexity --table {cell.table}"
        return
    if cell.column in STATISTICS:
        yield f"repro reproduce --table {cell.table} --profile full --data-root DIR"
        return
    serving = registry.load().list_serving(name)
    exact = any(serves.match == "exact" and entry.obstacle is None for entry, serves in serving)
    source = "checkpoint" if exact else "trained"
    if group.dataset == "coco-test-dev2017":
        yield f"repro submit {name} --source {source} --data-root DIR"
        yield f"repro record-external {name} --submission DIR --ap-box ..."
        return
    yield f"repro run {name} --profile full --source {source} --data-root DIR"
    near = next((entry for entry, serves in serving if serves.match == "near" and entry.obstacle is None), None)
    if near and not exact:
        yield f"repro run {name} --weights {near.id} --data-root DIR"
