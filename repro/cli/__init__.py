"""The command line. A verb imports what it needs when it is called, so that `--help` and `list` answer at once."""

from __future__ import annotations

import sys

import typer

from repro.cli import (
    analyze,
    bundle,
    cells,
    checkpoints,
    claims,
    complexity,
    data,
    diff,
    effects,
    explain,
    export,
    figure,
    hypotheses,
    plan,
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
from repro.errors import ReproError

app = typer.Typer(
    help="Every number that the GCNet paper prints, as a claim that a machine can check.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("cells")(cells.command)
app.command("list")(list_.command)
app.command("claims")(claims.command)
app.command("readings")(readings.command)
app.command("complexity")(complexity.command)
app.add_typer(checkpoints.app, name="checkpoints")
app.add_typer(data.app, name="data")
app.add_typer(export.app, name="export")
app.command("plan")(plan.command)
app.command("run")(run.command)
app.command("reproduce")(reproduce.command)
app.command("submit")(submit.command)
app.command("record-external")(record_external.command)
app.command("analyze")(analyze.command)
app.command("figure")(figure.command)
app.command("verify")(verify.command)
app.command("tolerances")(tolerances.command)
app.command("status")(status.command)
app.command("explain")(explain.command)
app.command("diff")(diff.command)
app.command("effects")(effects.command)
app.command("hypotheses")(hypotheses.command)
app.command("table")(table.command)
app.command("tables")(tables.command)
app.command("report")(report.command)
app.command("bundle")(bundle.command)


def main() -> None:
    """Entry point of `repro`: 0 done, 1 a verification failed, 2 bad input, 130 interrupted."""
    try:
        app()
    except ReproError as error:
        print(f"error: {_make_printable(str(error))}", file=sys.stderr)
        sys.exit(2)
    except SystemExit as end:
        if end.code == 130:  # typer's, for Ctrl-C
            print("interrupted: what was finished is kept, and the same command continues from there", file=sys.stderr)
        raise


def _make_printable(text: str) -> str:
    """`text` without characters that would command a terminal: a message may quote names from a hostile file."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)
