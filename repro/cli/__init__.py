"""The command line. A verb imports what it needs when it is called, so that `--help` and `list` answer at once."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Annotated

import typer

from repro import __version__
from repro.cli import (
    analyze,
    bundle,
    cells,
    checkpoints,
    claims,
    compare,
    complexity,
    curves,
    data,
    diff,
    effects,
    explain,
    export,
    figure,
    hypotheses,
    jobs,
    plan,
    predict,
    readings,
    record_external,
    report,
    reproduce,
    run,
    status,
    submit,
    table,
    tables,
    tolerances,
    verify,
)
from repro.cli import list as list_
from repro.cli.help import COMPARE, DATA, LOOK, MEASURE, SHARE, WEIGHTS, Verb, create_group
from repro.cli.streams import guard_streams
from repro.engine import launch
from repro.engine.interruption import INTERRUPTED, ending_in_order
from repro.errors import ReaderLeftError, ReproError

app = create_group(
    "Every number that the GCNet paper prints, as a claim that a machine can check.\n\n"
    "`repro VERB -h` shows what a verb does, with examples.",
    completion=True,
)
_PANELS: dict[str, dict[str, Callable[..., None] | typer.Typer]] = {
    LOOK: {
        "list": list_.command,
        "cells": cells.command,
        "explain": explain.command,
        "claims": claims.command,
        "readings": readings.command,
    },
    MEASURE: {
        "plan": plan.command,
        "run": run.command,
        "reproduce": reproduce.command,
        "jobs": jobs.app,
        "status": status.command,
        "curves": curves.command,
        "complexity": complexity.command,
        "analyze": analyze.command,
        "figure": figure.command,
        "predict": predict.command,
        "submit": submit.command,
        "record-external": record_external.command,
    },
    COMPARE: {
        "verify": verify.command,
        "tolerances": tolerances.command,
        "effects": effects.command,
        "compare": compare.command,
        "hypotheses": hypotheses.command,
        "diff": diff.command,
        "table": table.command,
        "tables": tables.command,
    },
    WEIGHTS: {"checkpoints": checkpoints.app},
    DATA: {"data": data.app},
    SHARE: {"report": report.command, "bundle": bundle.command, "export": export.app},
}
for _panel, _verbs in _PANELS.items():
    for _name, _verb in _verbs.items():
        if isinstance(_verb, typer.Typer):
            app.add_typer(_verb, name=_name, rich_help_panel=_panel)
        else:
            app.command(_name, cls=Verb, rich_help_panel=_panel)(_verb)


def _print_version(asked: bool) -> None:
    if asked:
        from repro.records.environment import read_commit

        commit, changed = read_commit()
        built = f", commit {commit}" if commit else ""
        print(f"gcnet-repro {__version__}{built}{' with changes' if changed else ''}")
        raise typer.Exit


@app.callback()
def _choose(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version, and the commit if known."
        ),
    ] = False,
) -> None:
    """Takes what is asked of the program itself, not of a verb."""


_PLACES = ("REPRO_RESULTS", "REPRO_DATA", "REPRO_CACHE")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def main() -> None:
    """Run the verb that `sys.argv` names and end the process: 0 done, 1 a verification failed, 2 bad input, 130, 138 or
    143 interrupted, 141 the reader of the output left."""
    with guard_streams(), ending_in_order():
        code = _run()
    sys.exit(code)


def _check_words(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Refuse what no verb means something by, and a script's mistake leads to.

    Of a variable that is not set comes an empty argument: an empty path would be the current directory, an empty demand
    none. Of a command in the place of a name come several lines: a directory of that name would be made.

    Args:
        environment: of its variables, those that name places are looked at.

    Raises:
        ReproError: an argument is empty, or one or a variable has a control character or the end of a line.
    """
    for number, argument in enumerate(arguments):
        if not argument or re.fullmatch("--[a-z0-9-]+=", argument):
            where = argument.rstrip("=") or (arguments[number - 1] if number else "the verb")
            raise ReproError(f"an argument is empty, {where}: give a value, or leave it out. Is a variable not set?")
    named = [(repr(argument), argument) for argument in arguments]
    named += [(f"{name}, {environment[name]!r},", environment[name]) for name in _PLACES if name in environment]
    for name, text in named:
        if found := _CONTROL.search(text):
            raise ReproError(
                f"{name} has the control character {found[0]!a}: no name of ours has one, and commands that are shown "
                "could not be copied. Rename the file, or link to it by another name."
            )


def _tell_interruption() -> None:
    """Tell that it was interrupted, unless the process that started this one does, or the training itself did."""
    with suppress(ReproError):
        if launch.find_processes(None).launcher:
            return
    print("interrupted: what was finished is kept, and the same command continues from there", file=sys.stderr)


def _run() -> str | int | None:
    code: str | int | None = 0
    try:
        _check_words(sys.argv[1:], os.environ)
        try:
            app()
        except SystemExit as end:  # typer's, always
            code = end.code
        if code in INTERRUPTED:
            _tell_interruption()
        sys.stdout.flush()
    except ReaderLeftError:
        return 141
    except ReproError as error:
        message = str(error).replace("\n", "\n  ")  # a name with lines in it must not look like other messages
        print(f"error: {message}", file=sys.stderr)
        with suppress(ReproError, ReaderLeftError):
            sys.stdout.flush()
        return error.exit_code
    return code
