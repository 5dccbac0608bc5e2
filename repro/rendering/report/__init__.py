"""All results as one HTML page that needs nothing else: no network, no script.

It draws from the same views as the other formats and decides nothing itself. Same records and curves, same bytes; no
torch.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from repro import paper
from repro.files.places import is_there
from repro.files.printable import escape_controls
from repro.files.regular_files import sha256
from repro.paper import COLUMNS, Cell
from repro.paper.hypotheses import load_hypotheses
from repro.paths import REFERENCE, TEMPLATES
from repro.records import Count, ForeignFile, Record, Store, open_results
from repro.rendering import provenance, view
from repro.rendering.grid import NOT_RUN, write_signed
from repro.rendering.report import forest, lines, opening, plots, training_curves
from repro.rendering.report.forest import Forest
from repro.rendering.report.opening import Fact
from repro.rendering.report.plots import Scatter
from repro.rendering.report.training_curves import CurvesFigure
from repro.rendering.view import TableView
from repro.verification import ledger
from repro.verification.claims import audit
from repro.verification.claims.audit import Audited
from repro.verification.coverage import Coverage
from repro.verification.effects import paired_effects
from repro.verification.effects.paired_effects import RowEffects
from repro.verification.hypotheses import Answer, answer_family
from repro.verification.integrity import admit
from repro.verification.ledger import LedgerEntry
from repro.verification.orderings import effects_over_baseline
from repro.verification.verdicts import CellVerdict, Verdict

if TYPE_CHECKING:
    from markupsafe import Markup

#: How a verdict is marked, beside its word.
SYMBOLS: dict[Verdict, str] = {
    "compatible": "≈", "indistinct": "∼", "match": "✓", "off": "✗", "conflict": "⇄", "inconclusive": "?", "ledger": "§",
    "not run": NOT_RUN,
}  # fmt: skip
WORDS: dict[Verdict, str] = {
    "compatible": "compatible", "indistinct": "indistinct", "match": "match", "off": "off", "conflict": "conflict",
    "inconclusive": "inconclusive", "ledger": "explained in the ledger", "not run": "not run",
}  # fmt: skip
#: Of claims, in the same way.
CLAIM_KINDS = {
    "holds": "match", "holds within rounding": "ledger", "does not follow": "off",
    "agrees": "match", "disagrees": "off", "conflict": "conflict", "undecided": "inconclusive",
    "holds under every rounding": "match", "holds at the midpoints": "match",
    "not measured": "not run", "not comparable": "inconclusive",
}  # fmt: skip


@dataclass(frozen=True)
class CoverageLine:
    """How many cells of one table have which verdict; `numbers` are in the order of `WORDS`."""

    name: str
    anchor: str
    total: int
    numbers: dict[Verdict, int]


@dataclass(frozen=True)
class TableEffects:
    """What the rows of one table gain over their baselines."""

    view: TableView
    forest: Forest | None
    tested: tuple[RowEffects, ...]
    untested: dict[str, list[str]]  #: rows by the reason why they are not tested


@dataclass(frozen=True)
class ReportPage:
    """What the page shows."""

    views: tuple[TableView, ...]
    facts: tuple[Fact, ...]
    answers: tuple[Forest, ...]  #: what the mini profile answers, a plot for each table and way
    tradeoff: Scatter | None  #: accuracy against cost of the table with several backbones
    borrowed: int  #: networks whose counts are the committed ones
    headline: str  #: what was measured and counted, of all tables
    coverage: tuple[CoverageLine, ...]
    costs: tuple[tuple[str, tuple[Scatter, ...]], ...]
    agreement: tuple[Scatter, ...]
    effects: tuple[TableEffects, ...]
    claims: tuple[Audited, ...]
    ledger: tuple[tuple[Cell, LedgerEntry], ...]
    records: tuple[Record, ...]
    counts: tuple[Count, ...]
    curves: tuple[CurvesFigure, ...]
    foreign: tuple[ForeignFile, ...]
    versions: tuple[tuple[str, str], ...]

    @property
    def cells(self) -> tuple[CellVerdict, ...]:
        return tuple(cell for built in self.views for cell in built.verification.cells)

    @property
    def off(self) -> tuple[CellVerdict, ...]:
        return tuple(cell for cell in self.cells if cell.verdict in ("off", "conflict"))

    @property
    def occurring(self) -> tuple[Verdict, ...]:
        """The verdicts that any cell has; "off" is told if none has it."""
        return tuple(verdict for verdict, number in self.coverage[-1].numbers.items() if number or verdict == "off")

    @property
    def unused(self) -> dict[str, str]:
        """Why a record gives no number, by its file name."""
        return {unused.filename: unused.reason for built in self.views for unused in built.verification.unused}


def build(results: Path, with_curves: bool = True) -> ReportPage:
    """Collect what the page shows of what lies in `results`: all five tables and what belongs to them.

    Args:
        with_curves: of the trainings that are kept there. They are not of records: without them, the same records give
            the same page wherever they lie.

    Raises:
        ReproError: a record, a stored effect, the ledger, the claims or the tolerances are damaged; the file is named.
    """
    store = CountedStore(open_results(results).directory)
    admitted, stored = admit(store), paired_effects.load(results)
    records = admitted.records
    views = tuple(view.build(table, store) for table in paper.load_all())
    costs, effects, answers = [], [], []
    tables = [built.verification.table for built in views]
    tests = paired_effects.compare_pairs(
        paired_effects.pair_tables(tables, records, "full"), paired_effects.look_up(stored)
    )
    for built in views:
        if scatters := plots.plot_costs(built):
            costs.append((f"Table {built.number}", scatters))
        own = [row for row in tests if row.pair.table is built.verification.table]
        tested = tuple(row for row in own if row.columns)
        gained = effects_over_baseline(built.verification.rows)
        plot = forest.plot_effects(built.number, gained, tested)
        if plot or own:
            effects.append(TableEffects(built, plot, tested, paired_effects.group_missing(own)))
        asked = [(mini.way, mini.asked) for mini in built.mini] or [("", _leave_unanswered(built))]
        answers += [(built.number, way, found) for way, found in asked if found]
    claims = audit.audit(audit.load(), store)
    cells = [cell for built in views for cell in built.verification.cells]
    return ReportPage(
        views=views,
        facts=opening.list_facts(cells, claims, answers),
        answers=tuple(plot for number, way, own in answers if (plot := forest.plot_answers(number, own, way))),
        tradeoff=plots.choose_tradeoff([plot for _, found in costs for plot in found]),
        borrowed=len(store.list_borrowed()),
        headline=Coverage.count(cells).describe(),
        coverage=_count_coverage(views),
        costs=tuple(costs),
        agreement=plots.plot_agreement(views),
        effects=tuple(effects),
        claims=claims,
        ledger=_list_ledger(),
        records=tuple(admitted.files.values()),
        curves=training_curves.draw_trainings(results) if with_curves else (),
        counts=tuple(sorted(store.counts().values(), key=lambda count: count.filename)),
        foreign=admitted.foreign,
        versions=_list_versions(tuple(admitted.files.values())),
    )


class CountedStore(Store):
    """The user's records, and the committed counts of the networks that have no count of the user's.

    A count is a function of the network alone; `nox -s smoke` counts again and compares with the committed ones.
    """

    def counts(self) -> dict[str, Count]:
        return {**{count.spec_hash: count for count in self.list_borrowed()}, **super().counts()}

    def list_borrowed(self) -> list[Count]:
        """List the committed counts of networks that were not counted here."""
        own = super().counts()
        return [count for key, count in Store(REFERENCE / "records").counts().items() if key not in own]


def _leave_unanswered(built: TableView) -> tuple[Answer, ...]:
    """The statements about a table of which the mini profile ran nothing."""
    rules = load_hypotheses()
    return answer_family(rules.of_table(built.number), {}, rules)


def render(results: Path, with_curves: bool = True) -> str:
    """Render the page; the arguments are those of `build`.

    Raises:
        ReproError: as `build`.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        finalize=_escape_controls,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        code=_mark_code,
        anchor=write_anchor,
        signed=write_signed,
        row_name=paired_effects.name_row,
        fold=lines.fold,
    )
    return environment.get_template("report.html.j2").render(
        report=build(results, with_curves), symbols=SYMBOLS, words=WORDS, kinds=CLAIM_KINDS, columns=COLUMNS
    )


def write_anchor(text: str) -> str:
    """Turn `text` into the id of an element: letters, digits, dots and hyphens."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", text)


def _escape_controls(value: object) -> object:
    """Escape what turns the direction of text; HTML itself is escaped by Jinja."""
    if not isinstance(value, str):
        return value
    return type(value)(escape_controls(value))


def _mark_code(text: str) -> Markup:
    """Escape text and typeset `code` in it as such."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))


def _count_coverage(views: Sequence[TableView]) -> tuple[CoverageLine, ...]:
    tables = [(f"Table {built.number}", f"table-{built.number}", built.verification.cells) for built in views]
    tables.append(("All five", "coverage", tuple(cell for *_, cells in tables for cell in cells)))
    lines = []
    for name, anchor, cells in tables:
        coverage = Coverage.count(cells)
        lines.append(CoverageLine(name, anchor, coverage.total, {verdict: coverage[verdict] for verdict in WORDS}))
    return tuple(lines)


def _list_ledger() -> tuple[tuple[Cell, LedgerEntry], ...]:
    book = ledger.load()
    cells = (cell for table in paper.load_all() for cell in table.cells)
    return tuple((cell, entry) for cell in cells if (entry := book.entry(cell)))


def _list_versions(records: Sequence[Record]) -> tuple[tuple[str, str], ...]:
    """List what the records were measured with, all values of each fact; then the lock file of this version."""
    values: dict[str, set[str]] = {}
    for record in records:
        for name, value in record.environment.items():
            if value is not None:
                values.setdefault(name, set()).add(str(value))
    facts = [(name, ", ".join(sorted(texts))) for name, texts in sorted(values.items())]
    if is_there(provenance.LOCK):
        facts.append((f"{provenance.LOCK.name} of this version", f"sha256 {sha256(provenance.LOCK)}"))
    return tuple(facts)
