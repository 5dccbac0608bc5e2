"""Rows of the user's own: experiments that the paper does not have, placed beside its rows. They get no verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from repro import paper
from repro.complexity import COUNTER
from repro.errors import ReproError, unknown
from repro.experiments import Experiment, get, is_defined, is_published, list_own, mini, overrides
from repro.paper import COLUMNS, DATASETS, Group, Row, Table
from repro.records import Count, Record
from repro.verification.measurements import Measurement, Profile, collect
from repro.verification.orderings import pair_by_seed
from repro.verification.ways import name_way


def choose_table(names: Sequence[str], table: int | None) -> int:
    """Choose the table that a command is about: the one asked for, or that in which the first experiment stands.

    Raises:
        ReproError: neither a table nor an experiment was named, or the experiment stands in none.
    """
    if table is not None:
        return table
    if not names:
        raise ReproError("name a table with --table, or experiments with --experiments")
    experiment = get(names[0])
    if where := find_place(experiment):
        return where[0].number
    raise ReproError(
        f"{experiment.derived_from} stands in no table of the paper: name one with --table, or say in which group "
        f"{experiment.name} stands, as in stands_in='4/a'"
    )


def find_place(experiment: Experiment) -> tuple[Table, Group] | None:
    """Find the table and the group in which an experiment stands: the first that has what it was derived from.

    An experiment of the user's own may say another one (`Experiment.stands_in`).

    Raises:
        ReproError: there is no such group.
    """
    tables = paper.load_all()
    if experiment.stands_in:
        groups = {f"{table.number}/{group.name}": (table, group) for table in tables for group in table.groups}
        if experiment.stands_in not in groups:
            raise unknown(f"group of a table, stands_in of {experiment.name}", experiment.stands_in, groups)
        return groups[experiment.stands_in]
    return next(
        (
            (table, group)
            for table in tables
            for group in table.groups
            if any(row.experiment == experiment.derived_from for row in group.rows)
        ),
        None,
    )


def is_placed(name: str, table: Table) -> bool:
    """Whether an experiment stands in a table: one of the paper's in its rows, another one beside them."""
    if is_published(name):
        return name in table.experiments
    where = find_place(get(name))
    return where is not None and where[0].number == table.number


@dataclass(frozen=True)
class OwnRow:
    """An experiment that is not the paper's, in its group of a table: measured in one way at one profile, or not yet.

    The paper has no number for it, so there is no verdict.
    """

    experiment: Experiment  #: of the full profile
    group: Group
    baseline: Row | None  #: of its group
    count: Count | None  #: of the full-size network
    way: str = ""
    measurement: Measurement | None = None
    #: What it gains over the baseline, by column, for each seed that both have; none where they were not measured
    #: alike, but for the network.
    gains: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Its name; of one with overrides, that of the experiment and the options that override."""
        name, changes = overrides.split_name(self.experiment.name)
        return f"{name} {overrides.write(changes)}" if changes else name

    @property
    def shortfall(self) -> str:
        """What the paper's protocol evaluates or trains that these runs did not; empty if nothing, or of no runs."""
        return self.measurement.describe_shortfall(DATASETS[self.group.dataset]) if self.measurement else ""


def list_own_rows(
    table: Table, records: Sequence[Record], counts: Mapping[str, Count], profile: Profile
) -> tuple[OwnRow, ...]:
    """List the experiments that are not the paper's and stand in `table`, a row for each way of measuring.

    They are those of the files that were loaded, measured or not, and those with overrides among the records.

    Args:
        counts: by spec hash.
    """
    rows: list[OwnRow] = []
    for name in list_own_names(records):
        experiment = get(name)
        where = find_place(experiment)
        if where is None or not is_placed(name, table):
            continue
        group = where[1]
        baseline = find_own_baseline(experiment, group)
        count = counts.get(experiment.spec_hash)
        row = OwnRow(experiment, group, baseline, count if count and count.counter == COUNTER else None)
        measured = _collect_one(name, group, records, profile)
        compared = _collect_baseline(name, baseline, group, records, profile)
        rows += [
            replace(row, way=name_way(m.first), measurement=m, gains=_compute_gains(m, compared, group))
            for m in measured
        ] or [row]
    return tuple(rows)


def list_own_names(records: Iterable[Record]) -> list[str]:
    """Name the experiments that are not the paper's: of loaded files, and among records that are of known ones."""
    loaded = [experiment.name for experiment in list_own()]
    others = [r.experiment for r in records if not is_published(r.experiment) and is_defined(r.experiment)]
    return list(dict.fromkeys([*loaded, *sorted(others)]))


def find_own_baseline(experiment: Experiment, group: Group) -> Row | None:
    """Find the baseline of an own experiment: that of the row that it stands beside, else the first of the group."""
    beside = next((row for row in group.rows if row.experiment == experiment.derived_from), None)
    if beside is not None and not beside.is_baseline:
        return group.baseline(beside)
    return beside or next((row for row in group.rows if row.is_baseline), None)


def _collect_one(name: str, group: Group, records: Sequence[Record], profile: Profile) -> list[Measurement]:
    if not any(record.experiment == name and record.profile == profile for record in records):
        return []
    try:
        experiment = mini.get_at_profile(name, profile)
    except ReproError:  # it has no mini version any more
        return []
    found = collect(records, {name: experiment}, profile)[0][name]
    return [m for m in found if profile == "mini" or m.first.dataset.name == group.dataset]


def _collect_baseline(
    name: str, baseline: Row | None, group: Group, records: Sequence[Record], profile: Profile
) -> list[Measurement]:
    """The measurements of the baseline, with the same overrides first: of those of the recipe it is the one alike."""
    if baseline is None:
        return []
    _, *changes = name.split("+")
    names = dict.fromkeys(["+".join([baseline.experiment, *changes]), baseline.experiment])
    return [m for one in names if one != name and is_defined(one) for m in _collect_one(one, group, records, profile)]


def _compute_gains(
    measurement: Measurement, baselines: Iterable[Measurement], group: Group
) -> dict[str, tuple[float, ...]]:
    columns = [column for column in group.columns if COLUMNS[column].unit == "%"]
    for baseline in baselines:
        found = {column: tuple(pair_by_seed(measurement, baseline, column)) for column in columns}
        if any(found.values()):
            return {column: values for column, values in found.items() if values}
    return {}
