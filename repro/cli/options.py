"""Options that several verbs share, so that they read and behave the same everywhere."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from repro import settings
from repro.cli.completion import complete_experiments, complete_tables
from repro.cli.help import SEEN
from repro.cli.streams import print_line
from repro.settings import MOST_THREADS

Table = Annotated[
    int, typer.Option("--table", min=1, max=5, help="Table of the paper.", autocompletion=complete_tables)
]
AnyTable = Annotated[
    int | None,
    typer.Option("--table", min=1, max=5, help="Only this table; all by default.", autocompletion=complete_tables),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet", rich_help_panel=SEEN, help="Do not show how far it is; warnings, errors and the result are shown."
    ),
]
EXPERIMENT = (
    "Its name (`repro list` prints them all); or FILE.py:NAME, an experiment of your own in a Python file, or "
    "ENTRY:NAME in an installed package; these are executed."
)
Experiments = Annotated[
    list[str] | None,
    typer.Option(
        "--experiments",
        metavar="NAME|FILE.py[:NAME]",
        help="These instead of all of the table: names, or experiments of your own, all of a Python file or one. "
        "Repeatable.",
        autocompletion=complete_experiments,
    ),
]
With = Annotated[
    list[str] | None,
    typer.Option(
        "--with",
        metavar="FILE.py|ENTRY",
        help="Your own experiments, too: those of a Python file, or of an entry point of an installed package, which "
        "is executed. Repeatable.",
    ),
]
Results = Annotated[
    Path, typer.Option("--results", envvar="REPRO_RESULTS", help="Where records, weights and caches are kept.")
]
RESULTS = settings.RESULTS
Threads = Annotated[int, typer.Option("--threads", min=1, max=MOST_THREADS, help="CPU threads of this process.")]


def load_own(given: list[str] | None) -> None:
    """Load the experiments of the user's own that `--with` names.

    Raises:
        ReproError: as `own.list_names`.
    """
    from repro.experiments import own

    for reference in given or []:
        own.list_names(reference)


def parse_table(text: str) -> int:
    """The number of a table of the paper, of an option that takes "all" as well, which its verb has handled.

    Raises:
        ReproError: there is no such table.
    """
    return int(one_of("--table", text, ("1", "2", "3", "4", "5", "all")))


Choice = TypeVar("Choice", bound=str)


def one_of(option: str, value: str, allowed: tuple[Choice, ...]) -> Choice:
    """`value`, checked.

    Raises:
        ReproError: it is not among those allowed.
    """
    from repro.errors import unknown

    for known in allowed:
        if value == known:
            return known
    raise unknown(f"value of {option}", value, allowed)


def say_beside(output: Path | None) -> Callable[[str], None]:
    """Return what prints a line about `output`: on standard error where standard output is what is written to."""
    from repro.files.outputs import is_stdout

    return lambda text: print_line(text, file=sys.stderr if output is not None and is_stdout(output) else sys.stdout)
