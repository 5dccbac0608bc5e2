"""What stands below a reproduced table: the tolerances in force, and where its numbers come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from repro import __version__
from repro.files.places import is_there
from repro.files.regular_files import sha256
from repro.paper import COLUMNS, Table
from repro.paper.hypotheses import HYPOTHESES, load_hypotheses
from repro.paper.tolerances import Fixed, Retrained, Tolerances
from repro.paths import PUBLISHED, TABLES
from repro.records import Record
from repro.verification import ledger
from repro.verification.integrity import Problem
from repro.verification.measurements import Measurement
from repro.verification.own_rows import is_placed
from repro.verification.verdicts import Verification

LOCK = TABLES.parent / "requirements.lock"


def describe_tolerances(table: Table, rules: Tolerances) -> tuple[tuple[str, str], ...]:
    """(what a tolerance applies to, its width and rationale) for every tolerance that the table needs."""
    columns = list(dict.fromkeys(cell.column for cell in table.cells))
    stated = []
    for rule in (rules.checkpoint, rules.converted):
        if widths := _list_by_column(table, partial(_write_widths, rule)):
            stated.append((rule.applies_to, f"half-width in %: {widths}. {rule.rationale}"))
    again = rules.retrained
    if priors := _list_by_column(table, partial(_write_priors, again)):
        text = f"{again.confidence:.0%}; prior deviation over seeds in %: {priors}. {again.rationale}"
        stated.append((again.applies_to, text))
    if without := [COLUMNS[c].heading for c in columns if c in rules.undeclared.metrics]:
        text = f"{', '.join(without)}: none is declared, and no verdict is given. {rules.undeclared.rationale}"
        stated.append((rules.undeclared.applies_to, text))
    if "params" in columns or "flops" in columns:
        text = "the exact count, rounded or truncated, is the print; what is not stands in the ledger with its reason."
        stated.append(("#param", text))
        text = "in the paper's convention, within one unit of the last printed digit."
        stated.append(("FLOPs", text))
    asked = load_hypotheses()
    if family := asked.of_table(table.number):
        number = "1 statement" if len(family) == 1 else f"{len(family)} statements"
        stated.append(("statements of the paper, asked of the mini profile", f"{number}. {asked.rationale}"))
    return tuple(stated)


def _write_widths(rule: Fixed, dataset: str) -> dict[str, str]:
    return {column: f"{width:g}" for column, width in rule.declared_on(dataset).items()}


def _write_priors(rule: Retrained, dataset: str) -> dict[str, str]:
    return {
        column: f"{prior.deviation:g} ({prior.freedom} degrees of freedom)"
        for column, prior in rule.declared_on(dataset).items()
    }


def _list_by_column(table: Table, declared_on: Callable[[str], Mapping[str, str]]) -> str:
    """List what is declared for each column on the data sets that the table has it on."""
    by_column: dict[str, dict[str, None]] = {}
    for group in table.groups:
        declared = declared_on(group.dataset)
        for column in (column for column in group.columns if column in declared):
            by_column.setdefault(column, {})[declared[column]] = None
    return ", ".join(f"{COLUMNS[column].heading} {' or '.join(texts)}" for column, texts in by_column.items())


def trace_provenance(
    table: Table, verification: Verification, mini: Iterable[Measurement], problems: Sequence[Problem]
) -> tuple[tuple[str, str], ...]:
    """(name, fact): package, records, commits, engines, inputs, what is wrong or unused, and how to render it again."""
    columns = [cell.column for cell in table.cells]
    used = [m for row in verification.rows for _, m in row.measurements] + list(mini)
    records = {record.filename: record for measurement in used for record in measurement.records_behind(columns)}
    counts = {row.count.filename: row.count for row in verification.rows if row.count}
    facts = [("package", f"gcnet-repro {__version__}")]
    if records:
        commits = sorted({_describe_commit(record) for record in records.values()})
        numbers = {p: sum(r.profile == p for r in records.values()) for p in ("full", "mini")}
        facts.append(("records", f"{numbers['full']} of the full profile, {numbers['mini']} of the mini profile"))
        facts.append(("measured at commit", ", ".join(commits)))
        facts.append(("engine", ", ".join(sorted({record.engine for record in records.values()}))))
        facts.append(("evaluator", ", ".join(sorted({record.evaluator for record in records.values()}))))
    if counts:
        counters = ", ".join(sorted({count.counter for count in counts.values()}))
        facts.append(("complexity", f"{len(counts)} networks counted by {counters}"))
    inputs = [PUBLISHED / f"table{table.number}.yaml", TABLES / "tolerances.yaml", HYPOTHESES, ledger.LEDGER, LOCK]
    facts += [(path.name, f"sha256 {sha256(path)}") for path in inputs if is_there(path)]
    facts += [(f"wrong: record {p.file}", p.text) for p in problems if is_placed(p.record.experiment, table)]
    facts += [(f"unused record {unused.filename}", unused.reason) for unused in verification.unused]
    again = f"`nox -s reproduce -- --table {table.number}`; from the records alone: `repro table {table.number}`"
    facts.append(("regenerate", again))
    return tuple(facts)


def _describe_commit(record: Record) -> str:
    commit = record.environment.get("commit") or "unknown"
    return f"{commit} with uncommitted changes" if record.environment.get("dirty") else str(commit)
