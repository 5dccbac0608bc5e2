"""Rows of the user's own: experiments that the paper does not have, placed beside its rows. They get no verdict."""

from __future__ import annotations

from collections.abc import Sequence

from repro import paper
from repro.errors import ReproError, unknown
from repro.experiments import Experiment, get
from repro.paper import Group, Table


def choose_table(names: Sequence[str], table: int | None) -> int:
    """Choose the table that a command is about: the one asked for, or that in which the first experiment stands.

    Raises:
        ReproError: neither a table nor an experiment was named, or the experiment stands in none.
    """
    if table is not None:
        return table
    if not names:
        raise ReproError("name a table with --table, or experiments with --experiments")
    return place(get(names[0]))[0].number


def place(experiment: Experiment) -> tuple[Table, Group]:
    """The table and the group in which an experiment stands: the first that has what it was derived from.

    An experiment of the user's own may say another one (`Experiment.stands_in`).

    Raises:
        ReproError: there is none.
    """
    tables = paper.load_all()
    if experiment.stands_in:
        groups = {f"{table.number}/{group.name}": (table, group) for table in tables for group in table.groups}
        if experiment.stands_in not in groups:
            raise unknown(f"group of a table, stands_in of {experiment.name}", experiment.stands_in, groups)
        return groups[experiment.stands_in]
    for table in tables:
        for group in table.groups:
            if any(row.experiment == experiment.derived_from for row in group.rows):
                return table, group
    raise ReproError(
        f"{experiment.derived_from} stands in no table of the paper: say in which group {experiment.name} stands, as "
        "in stands_in='4/'"
    )
