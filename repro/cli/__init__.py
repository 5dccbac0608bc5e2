"""The command line. A verb imports what it needs when it is called, so that `--help` and `list` answer at once."""

from __future__ import annotations

import sys
from contextlib import suppress

import typer

from repro.cli import (
    analyze,
    bundle,
    cells,
    checkpoints,
    claims,
    compare,
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
from repro.cli.streams import guard_streams
from repro.errors import ReaderLeftError, ReproError

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
app.command("compare")(compare.command)
app.command("hypotheses")(hypotheses.command)
app.command("table")(table.command)
app.command("tables")(tables.command)
app.command("report")(report.command)
app.command("bundle")(bundle.command)


def main() -> None:
    """Run the verb that `sys.argv` names and end the process: 0 done, 1 a verification failed, 2 bad input, 130
    interrupted, 141 the reader of the output left."""
    with guard_streams():
        code = _run()
    sys.exit(code)


def _run() -> str | int | None:
    code: str | int | None = 0
    try:
        try:
            app()
        except SystemExit as end:  # typer's, always
            code = end.code
        if code == 130:
            print("interrupted: what was finished is kept, and the same command continues from there", file=sys.stderr)
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
